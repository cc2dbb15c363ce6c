"""What a chapter's results depend on. When any of it changes, the chapter is done again."""

import ast
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from cifar_utils.course import setup_cell

Fingerprint = dict[str, Any]


def digest(content: bytes | str) -> str:
    """SHA-256 of text or bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file, None where it is missing."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def fixed(root: Path, notebook: Path, parameters: dict[str, Any]) -> Fingerprint:
    """The part that is known before a run: notebook source, parameters, project modules, pinned versions.

    Without the set-up cell, which does nothing where a run is made: the course may move to another address.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    source = [
        [cell["cell_type"], sorted(cell["metadata"].get("tags", [])), "".join(cell["source"])]
        for cell in cells
        if not setup_cell.is_setup(cell)
    ]
    return {
        "notebook": digest(json.dumps(source)),
        "parameters": json.loads(json.dumps(parameters)),
        "modules": modules(root, [text for kind, _, text in source if kind == "code"]),
        "constraints": file_digest(root / "constraints.txt"),
    }


def code(notebook: Path) -> str:
    """SHA-256 of a notebook's code cells: what its outputs were made by. Text may change without a run."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code_cells = [cell for cell in cells if cell["cell_type"] == "code" and not setup_cell.is_setup(cell)]
    return digest(json.dumps(["".join(cell["source"]) for cell in code_cells]))


def inputs(root: Path, recorded: dict[str, str | None]) -> dict[str, str | None]:
    """What the files that a chapter read (`inputs.json`: path → SHA-256, null for one it missed) are now."""
    return {path: file_digest(root / path) for path in recorded}


def short(fingerprint: Fingerprint) -> str:
    """One SHA-256 for all of a fingerprint."""
    return digest(json.dumps(fingerprint, sort_keys=True))


def differences(old: Fingerprint, new: Fingerprint) -> list[str]:
    """What changed, in words: for the line that says why a chapter runs again."""
    words = []
    if old.get("notebook") != new.get("notebook"):
        words.append("the notebook")
    for part in ("parameters", "modules", "inputs"):
        before, after = old.get(part) or {}, new.get(part) or {}
        words += sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    if old.get("constraints") != new.get("constraints"):
        words.append("constraints.txt")
    return words


def modules(root: Path, sources: list[str]) -> dict[str, str]:
    """The project's modules that the given code imports, directly or through each other: path → SHA-256."""
    found: dict[str, str] = {}
    waiting = [name for text in sources for name in _imports(_plain(text), package="")]
    while waiting:
        for path in _files(root, waiting.pop()):
            key = path.relative_to(root).as_posix()
            if key in found:
                continue
            content = path.read_bytes()
            found[key] = digest(content)
            folder = path.parent.relative_to(root)
            if folder.parts[:1] == ("notebooks",):
                folder = folder.relative_to("notebooks")
            waiting += _imports(content.decode("utf-8", "replace"), package=".".join(folder.parts))
    return dict(sorted(found.items()))


def _plain(text: str) -> str:
    """A cell without IPython's own lines (`%magic`, `!command`), which Python cannot parse."""
    return "\n".join("pass" if line.startswith(("%", "!")) else line for line in text.splitlines())


@lru_cache(maxsize=1024)
def _imports(text: str, package: str) -> tuple[str, ...]:
    """Dotted names that the code imports; `from a import b` gives both `a` and `a.b`, for b may be a module."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return ()  # such code fails when it runs, and says why
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(names)


def _files(root: Path, name: str) -> list[Path]:
    """The files of the project that importing `name` executes: packages' `__init__.py` on the way, and the module."""
    for start in (root, root / "notebooks"):
        folder, files = start, []
        for part in name.split("."):
            package, module = folder / part / "__init__.py", folder / f"{part}.py"
            if package.is_file():
                files.append(package)
                folder = folder / part
            else:
                if module.is_file():
                    files.append(module)
                break
        if files:
            return files
    return []
