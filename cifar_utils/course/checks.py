"""What `cifar-course test` runs: style, types, tests, and the committed notebooks compared with a run of them."""

import sys
import tempfile
import time
from pathlib import Path

from cifar_utils import runs
from cifar_utils.course import outputs
from cifar_utils.course.project import CourseError, Stopwatch, call

CELL_TIMEOUT = 900  # seconds; nbval's own 2,000 would be waited for when a kernel dies
IGNORED = "nbval-ignore-output"  # the tag of a cell whose text nbval does not compare


def run(root: Path, *, fast: bool = False) -> int:
    """Run all checks, or with `fast` those that take seconds. Goes through all of them; returns 1 where one failed."""
    watch, failed = Stopwatch(), []
    for name, command in _steps(root, fast):
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="cifar-course-") as scratch:  # checks never write into runs/
            environment = {"CIFAR_COURSE_RUN": scratch, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
            if "--nbval" in command:
                environment["TQDM_DISABLE"] = "1"  # a bar is text on stderr, and that text is compared
                part, whole = compared(_chapters(root))
                print(f"{part} of {whole} cells with output are compared as text: {part / whole:.0%}", flush=True)
            ended = call([sys.executable, *command], cwd=root, environment=environment)
        seconds = time.monotonic() - began
        watch.add(name, seconds, "" if ended == 0 else "FAILED")
        if ended:
            failed.append(name)
            print(f"== {name} failed after {runs.duration(seconds)}", flush=True)
    print(f"\n{watch.table()}")
    if failed:
        print(f"\nFailed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def compared(notebooks: list[Path]) -> tuple[int, int]:
    """How many code cells with output nbval compares as text, and how many there are: tags say which it leaves out."""
    cells = [
        cell for path in notebooks for cell in outputs.read(path).cells if cell.cell_type == "code" and cell.outputs
    ]
    left_out = sum(IGNORED in cell.metadata.get("tags", ()) for cell in cells)
    return len(cells) - left_out, len(cells)


def _chapters(root: Path) -> list[Path]:
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def _steps(root: Path, fast: bool) -> list[tuple[str, list[str]]]:
    steps = [
        ("style", ["-m", "ruff", "check", "."]),
        ("types", ["-m", "mypy", "cifar_utils"]),
        ("fast tests", ["-m", "pytest", "-m", "not slow", "tests"]),
    ]
    if fast:
        return steps
    notebooks = [path.relative_to(root).as_posix() for path in _chapters(root)]
    if not notebooks:
        raise CourseError("There is no chapter in notebooks/ to test.")
    compare = ["--nbval", "--nbval-current-env", f"--nbval-cell-timeout={CELL_TIMEOUT}"]
    return [
        *steps[:2],
        ("data", ["-m", "cifar_utils.course", "data"]),
        steps[2],
        ("slow tests", ["-m", "pytest", "-m", "slow", "tests"]),
        ("notebooks", ["-m", "pytest", *compare, *notebooks]),
    ]
