"""Executed notebooks made fit to publish: no traces of the run or the machine, figures with their alternative texts."""

import base64
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat

from cifar_utils import runs
from cifar_utils.course import setup_cell

_PROGRESS = re.compile(r"(^|[\r\n])[^\r\n]*\d+%\|[^\r\n]*|[^\r\n]*\d+(\.\d+)?(it|s)/(s|it)\b[^\r\n]*")
_FOREIGN = re.compile(
    r"(?<![\w.:/~-])(/(?:home|root|Users|tmp|var|opt|usr|private|mnt|workspace|content)/[^\s'\"<>)\]]+)|([A-Za-z]:\\[^\s'\"<>]+)"
)
_ADDRESS = re.compile(r"<[\w.]+ [^<>]*at 0x[0-9a-fA-F]{6,}>")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_RUN_METADATA = ("papermill", "execution", "ExecuteTime", "scrolled", "collapsed")


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook, in nbformat 4.5, whose cells have ids."""
    return nbformat.read(path, as_version=4)


def errors(notebook: nbformat.NotebookNode) -> list[str]:
    """The errors that the notebook's outputs hold."""
    return [
        f"cell {number}: {output.ename}: {output.evalue}"
        for number, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "error"
    ]


def save_figures(notebook: nbformat.NotebookNode, folder: Path) -> list[Path]:
    """Write the notebook's figures as PNG files named by cell; returns them. Figures of an earlier run go."""
    wanted = {}
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                wanted[folder / f"cell_{number:03d}.png"] = base64.b64decode(output.data["image/png"])
    for path in folder.glob("cell_*.png"):
        if path not in wanted:
            path.unlink()
    return [runs.write_whole(path, picture) for path, picture in wanted.items()]


def clean(notebook: nbformat.NotebookNode, root: Path, *, keep_injected: bool = False) -> list[str]:
    """Take out of a notebook, in place, what belongs to one run or machine; return what it could not mend.

    Out go papermill's cell and metadata, times, widgets' state, progress bars and the project's own path; in comes
    each figure's alternative text, from the output's metadata into the cell's, as `mystnb.image.alt`, and the set-up
    cell with the course's public address. `keep_injected` leaves papermill's cell, which shows the values used.
    """
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {
                "name": "python",
                "file_extension": ".py",
                "mimetype": "text/x-python",
                "pygments_lexer": "ipython3",
            },
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    if not keep_injected:
        notebook.cells = [
            cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])
        ]
    problems = []
    for number, cell in enumerate(notebook.cells, start=1):
        cell.setdefault("id", f"cell-{number:03d}")
        for key in _RUN_METADATA:
            cell.metadata.pop(key, None)
        if setup_cell.is_setup(cell):
            cell.source = setup_cell.source(setup_cell.address(root))
        if cell.cell_type == "code":
            problems += [f"cell {number}: {problem}" for problem in _clean_outputs(cell, root)]
    return problems


def _clean_outputs(cell: nbformat.NotebookNode, root: Path) -> list[str]:
    kept, problems, alts = [], [], []
    for output in cell.outputs:
        if output.output_type == "error":
            problems.append(f"{output.ename}: {output.evalue}")
        elif output.output_type == "stream":
            output.text = (
                _local(_PROGRESS.sub("", output.text), root) if output.name == "stderr" else _local(output.text, root)
            )
            if not output.text.strip():
                continue
            if output.name == "stderr":
                problems.append(f"text on stderr: {output.text.strip().splitlines()[0][:160]}")
            problems += _debris(output.text)
        else:
            if "application/vnd.jupyter.widget-view+json" in output.data:
                continue
            if "text/html" in output.data and _ADDRESS.fullmatch(output.data.get("text/plain", "").strip()):
                del output.data["text/plain"]  # a table's other face: no reader wants an object's address
            for kind, content in output.data.items():
                if kind.startswith("text/") and isinstance(content, str):
                    output.data[kind] = _local(content, root)
                    problems += _debris(output.data[kind])
            if any(kind.startswith("image/") for kind in output.data):
                alts.append(_alternative_text(output.metadata))
        kept.append(output)
    cell.outputs = kept
    if alts:
        if not all(alts):
            problems.append("a figure without alternative text (plotting.show gives it one)")
        if len(alts) > 1:
            problems.append("more than one figure: one a cell, since the book takes one alternative text a cell")
        cell.metadata.setdefault("mystnb", {}).setdefault("image", {})["alt"] = alts[0]
    return problems


def _alternative_text(metadata: dict[str, Any]) -> str:
    return next(
        (str(value["alt"]) for kind, value in metadata.items() if kind.startswith("image/") and "alt" in value), ""
    )


def _local(text: str, root: Path) -> str:
    """Text without the project's and the user's own paths, and without colour codes."""
    text = _COLOURS.sub("", text)
    for folder, short in ((str(root.resolve()), "."), (str(Path.home()), "~")):
        if len(folder) > 1:
            text = text.replace(folder + "/", "" if short == "." else "~/").replace(
                folder + "\\", "" if short == "." else "~\\"
            )
            text = re.sub(re.escape(folder) + r"(?![\w.-])", short, text)
    return text


def _debris(text: str) -> list[str]:
    found = []
    path = _FOREIGN.search(text)
    if path or tempfile.gettempdir() + "/" in text:
        found.append(f"a path of this machine: {path[0] if path else tempfile.gettempdir()}")
    if "\r" in text.replace("\r\n", "\n"):
        found.append("a progress bar")
    if _ADDRESS.search(text):
        found.append(f"an object's address: {_ADDRESS.search(text)[0]}")  # type: ignore[index]
    return found


def text_of(notebook: nbformat.NotebookNode) -> str:
    """The notebook as it is stored: the same text for the same notebook."""
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT).rstrip("\n") + "\n"
