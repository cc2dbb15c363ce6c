"""The set-up cell of every notebook: in Colab and Binder it installs the course's package, elsewhere it does nothing.

A notebook that was opened there has no `_config.yml` beside it, so the course's public address stands in the cell
itself. It is written there from `_config.yml`, the only place where a person writes it, whenever a notebook is made
ready to be published.
"""

from pathlib import Path
from typing import Any

MARK = 'importlib.util.find_spec("cifar_utils")'  # what only a set-up cell says
_SOURCE = """\
# In Colab and Binder this cell installs the course's package; where it is installed, the cell does nothing.
import importlib.util
import os
import subprocess
import sys

REPOSITORY = "{address}"  # the course's public address; cifar-course refresh takes it from _config.yml
if importlib.util.find_spec("cifar_utils") is None:
    away = "google.colab" in sys.modules or "BINDER_REPO_URL" in os.environ
    if not (away and REPOSITORY):
        raise ModuleNotFoundError("cifar_utils is not installed: run `pip install -e .` in the course's folder, "
                                  "then restart the kernel")
    package = f"cifar-course @ git+{{REPOSITORY}}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)
    importlib.invalidate_caches()"""


def address(root: Path) -> str:
    """The course's public address: `repository_url` of `_config.yml`, which the book's buttons use; "" while unset."""
    import yaml

    path = root / "_config.yml"
    config: Any = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for key in ("sphinx", "config", "html_theme_options"):
        config = (config or {}).get(key)
    return str((config or {}).get("repository_url") or "").rstrip("/")


def source(repository: str) -> str:
    """The cell's code for the course at an address such as `https://github.com/someone/course`, or at none: ""."""
    return _SOURCE.format(address=repository)


def is_setup(cell: Any) -> bool:
    """Whether a cell of a notebook (a mapping as in its JSON) is the set-up cell."""
    return cell["cell_type"] == "code" and MARK in "".join(cell["source"])
