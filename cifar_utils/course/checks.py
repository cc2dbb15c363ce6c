"""What `cifar-course test` runs: style, types, tests, and the committed notebooks compared with a run of them."""

import sys
import tempfile
import time
from pathlib import Path

from cifar_utils import runs
from cifar_utils.course.project import CourseError, Stopwatch, call

CELL_TIMEOUT = 900  # seconds; nbval's own 2,000 would be waited for when a kernel dies


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


def _steps(root: Path, fast: bool) -> list[tuple[str, list[str]]]:
    steps = [
        ("style", ["-m", "ruff", "check", "."]),
        ("types", ["-m", "mypy", "cifar_utils"]),
        ("fast tests", ["-m", "pytest", "-m", "not slow", "tests"]),
    ]
    if fast:
        return steps
    notebooks = [
        path.relative_to(root).as_posix() for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    ]
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
