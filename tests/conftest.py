"""What several test files share: the book of the committed notebooks, built once."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cifar_utils.course import vendor

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def built_book(tmp_path_factory) -> Path:
    """The pages of the book, built by plain Jupyter Book, warnings as errors, in a copy of the project."""
    vendor.fetch(ROOT / "_build" / "vendor")
    copy = tmp_path_factory.mktemp("book") / "project"
    left_out = shutil.ignore_patterns(".venv", ".git", "_build", "runs", ".*_cache", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=left_out)
    shutil.copytree(ROOT / "_build" / "vendor", copy / "_build" / "vendor")
    return jupyter_book(copy)


def jupyter_book(project: Path, builder: str = "html") -> Path:
    """Build the book at `project`; fail with its warnings."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()",
               "build", ".", "-W", "-n", "--keep-going", "--builder", builder]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    built = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=600)
    said = built.stdout + built.stderr
    assert built.returncode == 0, "\n".join(re.findall(r".*(?:WARNING|ERROR).*", said)) or said[-3000:]
    return project / "_build" / builder
