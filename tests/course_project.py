"""A small course made in a temporary folder, for the tests of the runner: real notebooks, run by a real kernel."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

FINISH = """
import json, os, pathlib
own = pathlib.Path(os.environ["CIFAR_COURSE_RUN"]) / {name!r}
claim = {{"id": "x", "source": "TDSE-03", "says": "so", "measured": "1", "verdict": "confirmed"}}
metrics = {{"cnn_best.test.accuracy": 0.5, "epochs": epochs}}
for file, content in (("claims.json", [claim]), ("metrics.json", metrics)):
    (own / ".writing").write_text(json.dumps(content))
    os.replace(own / ".writing", own / file)  # whole, as the real last cell does; the package would cost a second here
"""
PARAMETERS = """
epochs: int = 2  # passes over the training split [1, 100]
learning_rate: float = 1e-3  # step size of the optimizer [1e-6, 1]
augment: bool = False  # flip and shift
sizes: list[int] = [1, 3]  # kernel sizes [1, 9]
name: str = "plain"  # what it is called
"""


def notebook(path: Path, *cells: str, parameters: str = PARAMETERS, finish: bool = True) -> Path:
    """Write a chapter: title, parameters, the given code cells, and a last cell that leaves its results."""
    content = [
        new_markdown_cell(f"# {path.stem}"),
        new_code_cell(parameters.strip(), metadata={"tags": ["parameters"]}),
    ]
    content += [new_code_cell(cell) for cell in cells]
    if finish:
        content.append(new_code_cell(FINISH.format(name=path.stem).strip()))
    for number, cell in enumerate(content):
        cell["id"] = f"c{number}"
    path.parent.mkdir(parents=True, exist_ok=True)
    book = new_notebook(
        cells=content, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    nbformat.write(book, path)
    return path


def course(root: Path, **chapters: list[str]) -> Path:
    """Make a project whose chapters hold the given code cells; `_01_first=[...]` becomes notebooks/01_first.ipynb."""
    (root / "notebooks").mkdir(parents=True, exist_ok=True)
    (root / "pyproject.toml").write_text("[project]\nname = 'small'\n", encoding="utf-8")
    (root / "constraints.txt").write_text("numpy==1\n", encoding="utf-8")
    for name, cells in chapters.items():
        notebook(root / "notebooks" / f"{name.lstrip('_')}.ipynb", *cells)
    return root


def jupyter_book(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build the book at `project` by plain Jupyter Book, warnings as errors; its pages are in `_build/html`."""
    program = "from jupyter_book.cli.main import main; main()"
    words = ["build", ".", "-W", "-n", "--keep-going"]
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=project,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )


def warnings(built: subprocess.CompletedProcess[str]) -> str:
    """What a build complained of, or the end of what it said."""
    return "\n".join(re.findall(r".*(?:WARNING|ERROR).*", built.stdout)) or built.stdout[-3000:]


def summary(folder: Path) -> dict:
    """The `chapters` of a run's summary."""
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))["chapters"]


def outputs_of(folder: Path, name: str) -> str:
    """All text that an executed notebook printed."""
    cells = json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "".join("".join(output.get("text", [])) for cell in cells for output in cell.get("outputs", []))
