"""Where the project lies, and small things that every verb needs. Standard library only."""

import difflib
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar_utils.runs import duration


class CourseError(RuntimeError):
    """Something that the reader can mend: printed as it stands, without a traceback."""


def is_project(folder: Path) -> bool:
    """True where `folder` looks like this course's root."""
    return (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file()


def find_root(start: Path | None = None) -> Path:
    """The project's root: the current folder or one above it, otherwise where this package lies.

    Raises CourseError where neither holds `notebooks/` and `pyproject.toml`.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if is_project(folder):
            return folder
    raise CourseError(
        "This is not the course's folder (it has no notebooks/ and pyproject.toml): go there first, or use --root."
    )


def environment_python(root: Path) -> Path:
    """The interpreter of the project's own `.venv`, whether it exists or not."""
    return root / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint that names the choice most like `word`, or all of them when none is like it."""
    known = sorted(set(choices))
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]}?"
    return f"There are: {', '.join(known)}." if known else "There are none."


def relative(path: Path, root: Path) -> str:
    """`path` as the reader would type it in the project's folder, with forward slashes."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return str(path)


class Stopwatch:
    """Times the parts of a command and prints them at its end."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, float, str]] = []

    def add(self, name: str, seconds: float, note: str = "") -> None:
        """Add a part that somebody else timed."""
        self.parts.append((name, seconds, note))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what happens inside the `with` block."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - began)

    def table(self) -> str:
        """One line a part, and their sum."""
        rows = [*self.parts, ("together", sum(seconds for _, seconds, _ in self.parts), "")]
        width = max(len(name) for name, _, _ in rows)
        return "\n".join(
            f"  {name:<{width}}  {duration(seconds):>12}  {note}".rstrip() for name, seconds, note in rows
        )


def call(command: list[str | Path], *, cwd: Path, environment: dict[str, str] | None = None) -> int:
    """Run a program in the foreground and return its exit status. Ctrl-C reaches it; it ends by itself."""
    sys.stdout.flush()
    process = subprocess.Popen([str(part) for part in command], cwd=cwd, env={**os.environ, **(environment or {})})
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the terminal has told the program as well
            continue


def commit_of(root: Path) -> str | None:
    """The git commit of the project, with "+changes" where files differ from it; None without git."""
    try:
        answers = [
            subprocess.run(
                ["git", *words], cwd=root, capture_output=True, text=True, timeout=20, check=True
            ).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return answers[0] + ("+changes" if answers[1] else "")
