"""What `cifar-course test` runs: style, types, tests, and the committed notebooks compared with a run of them."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cifar_utils import runs
from cifar_utils.course import outputs
from cifar_utils.course.project import CourseError, Stopwatch, call

CELL_TIMEOUT = 1800  # seconds; nbval's own 2,000 would be waited for when a kernel dies
IGNORED = "nbval-ignore-output"  # the tag of a cell whose text nbval does not compare
IN_WORDS = "compare-words"  # the tag of one whose words are compared, without the numbers
LANES = 2  # checks that run at the same time, each on its share of the cores


@dataclass(frozen=True)
class Check:
    """One program; it starts when the checks named in `after` have ended."""

    name: str
    command: list[str]
    after: frozenset[str] = frozenset()


def run(root: Path, *, fast: bool = False) -> int:
    """Run all checks, or with `fast` those that take seconds. Goes through all of them; returns 1 where one failed."""
    watch, began = Stopwatch(), time.monotonic()
    checks, failed = fast_checks(root), []
    if not fast:
        checks += long_checks(root)
        with watch.part("data"):
            failed += ["data"] * bool(call([sys.executable, "-m", "cifar_utils.course", "data"], cwd=root))
        print(compared(_chapters(root)), flush=True)
    with tempfile.TemporaryDirectory(prefix="cifar-course-") as scratch:  # checks never write into runs/
        environment = {"CIFAR_COURSE_RUN": scratch, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        failed += side_by_side(root, checks, environment, watch)
    print(f"\n{watch.table()}\n  by the clock: {runs.duration(time.monotonic() - began)}")
    if failed:
        print(f"\nFailed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def side_by_side(root: Path, checks: Iterable[Check], environment: dict[str, str], watch: Stopwatch) -> list[str]:
    """Run checks, two at a time, in their order as far as `after` allows; returns the names of those that failed.

    Small networks leave half of a second core idle: two programs with a core each do a third more. What a check says
    is printed when it has ended, in one piece.
    """
    share = str(max(1, (os.cpu_count() or 1) // LANES))
    environment = {**os.environ, **environment, "OMP_NUM_THREADS": share, "MKL_NUM_THREADS": share}
    waiting, failed = list(checks), []
    running: list[tuple[Check, subprocess.Popen[bytes], IO[bytes], float]] = []
    try:
        while waiting or running:
            open_ends = {check.name for check in waiting} | {check.name for check, *_ in running}
            for check in [check for check in waiting if not check.after & open_ends][: LANES - len(running)]:
                waiting.remove(check)
                said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (open until the check has ended)
                print(f"== {check.name}: begins", flush=True)
                quiet = {"TQDM_DISABLE": "1"} if "--nbval" in check.command else {}  # a bar's text would be compared
                process = subprocess.Popen(
                    [sys.executable, *check.command],
                    cwd=root,
                    env=environment | quiet,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                )
                running.append((check, process, said, time.monotonic()))
            time.sleep(0.2)
            for ended in [entry for entry in running if entry[1].poll() is not None]:
                running.remove(ended)
                check, process, said, began = ended
                seconds = time.monotonic() - began
                watch.add(check.name, seconds, "FAILED" if process.returncode else "")
                failed += [check.name] * bool(process.returncode)
                said.seek(0)
                how = "FAILED" if process.returncode else "passed"
                print(f"\n== {check.name}: {how} after {runs.duration(seconds)}")
                print(said.read().decode(errors="replace").strip(), flush=True)
                said.close()
    finally:  # Ctrl-C reaches the programs, too, and each ends by itself
        for _, process, said, _ in running:
            process.wait()
            said.close()
    return failed


@dataclass(frozen=True)
class Compared:
    """How many of the code cells with output nbval compares: to the last character, in their words, and all."""

    exactly: int
    in_words: int
    cells: int

    def __str__(self) -> str:
        if not self.cells:
            return "No cell has an output, so none is compared as text."
        part = self.exactly + self.in_words
        return (
            f"{part} of {self.cells} cells with output are compared as text: {part / self.cells:.0%}; "
            f"{self.exactly} to the last character: {self.exactly / self.cells:.0%}"
        )


def compared(notebooks: list[Path]) -> Compared:
    """Count by the cells' tags what nbval compares."""
    cells = [
        cell for path in notebooks for cell in outputs.read(path).cells if cell.cell_type == "code" and cell.outputs
    ]
    tagged = {
        tag: sum(tag in cell.metadata.get("tags", ()) for cell in cells) for tag in (IGNORED, IN_WORDS)
    }
    return Compared(len(cells) - sum(tagged.values()), tagged[IN_WORDS], len(cells))


def _chapters(root: Path) -> list[Path]:
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def fast_checks(root: Path) -> list[Check]:
    """Style, types, and the fast tests in two halves of about the same size."""
    files = sorted((root / "tests").glob("test_*.py"), key=lambda path: path.stat().st_size)
    halves = [sorted(path.relative_to(root).as_posix() for path in files[start::2]) for start in (0, 1)]
    tests = [
        Check(f"fast tests, half {number}", ["-m", "pytest", "-m", "not slow", *half])
        for number, half in enumerate(halves, start=1)
    ]
    return [*tests, Check("types", ["-m", "mypy", "cifar_utils"]), Check("style", ["-m", "ruff", "check", "."])]


def long_checks(root: Path) -> list[Check]:
    """The slow tests and the chapters. Raises CourseError where there is no chapter."""
    if not _chapters(root):
        raise CourseError("There is no chapter in notebooks/ to test.")
    return [Check("slow tests", ["-m", "pytest", "-m", "slow", "--durations=12", "tests"]), *notebook_checks(root)]


def notebook_checks(root: Path) -> list[Check]:
    """A check for each chapter by nbval, after the chapters that its code names.

    First comes the one from which the way to the end is longest: its own time and that of the chapters that wait for
    it, one after the other. So no lane is left alone with them at the end.
    """
    compare = ["-m", "pytest", "--nbval", "--nbval-current-env", f"--nbval-cell-timeout={CELL_TIMEOUT}"]
    summary = root / "notebooks" / "reference" / "quick" / "summary.json"
    entries = runs.read_json(summary)["chapters"] if summary.is_file() else {}

    def seconds(path: Path) -> float:
        return float(entries.get(path.stem, {}).get("seconds", 0))

    def way(path: Path) -> float:
        return seconds(path) + max((way(other) for other in chapters if path in named[other]), default=0.0)

    chapters = _chapters(root)
    named: dict[Path, list[Path]] = {}
    for path in chapters:
        source = "\n".join(cell.source for cell in outputs.read(path).cells if cell.cell_type == "code")
        named[path] = [other for other in chapters if other != path and f'"{other.stem}"' in source]
    return [
        Check(
            f"notebook {path.stem}",
            [*compare, path.relative_to(root).as_posix()],
            frozenset(f"notebook {other.stem}" for other in named[path]),
        )
        for path in sorted(chapters, key=way, reverse=True)
    ]
