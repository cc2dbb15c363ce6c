"""Plants one fault at a time in a copy of the project and runs the checks: which of them catches it, and how soon."""

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cifar_utils import runs
from cifar_utils.course.project import CourseError

_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "_build", "runs", "__pycache__", ".*_cache", "*.egg-info", "shared")
_SECONDS = 900  # a check that a fault makes endless has caught it
_FAST, _SLOW = ["-m", "not slow", "tests"], ["-m", "slow", "tests"]
Say = Callable[[str], None]


def listed(root: Path) -> list[Any]:
    """The faults of tests/faults.py: each has id, what, file, old, new and likely (the tests to run first)."""
    return runpy.run_path(str(root / "tests" / "faults.py"))["FAULTS"]


def chosen(faults: list[Any], names: Iterable[str]) -> list[Any]:
    """Those with the given ids; all without names. Raises CourseError for an id that no fault or two faults have."""
    ids = [fault.id for fault in faults]
    wanted = list(names) or ids
    for name in wanted:
        if ids.count(name) != 1:
            raise CourseError(f"{ids.count(name)} faults in tests/faults.py are called {name}.")
    return [fault for fault in faults if fault.id in wanted]


def planted(text: str, fault: Any) -> str:
    """The file's text with the fault in it; for a notebook, in the source of the one cell that has the old text.

    Raises CourseError where the old text does not occur exactly once: then the list has to follow the code.
    """
    if not fault.file.endswith(".ipynb"):
        _once(text.count(fault.old), fault)
        return text.replace(fault.old, fault.new)
    notebook = json.loads(text)
    cells = [cell for cell in notebook["cells"] if fault.old in "".join(cell["source"])]
    _once(sum("".join(cell["source"]).count(fault.old) for cell in cells), fault)
    cells[0]["source"] = "".join(cells[0]["source"]).replace(fault.old, fault.new)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _once(count: int, fault: Any) -> None:
    if count != 1:
        raise CourseError(f"{fault.id}: the text to replace occurs {count} times in {fault.file}, not once.")


def run(root: Path, names: Iterable[str] = (), *, say: Say = print) -> list[str]:
    """Plant each fault, write runs/faults.json after each, and return the ids of those that nothing caught.

    Raises CourseError where a check fails without any fault, or a fault no longer fits the code.
    """
    faults = chosen(listed(root), names)
    for fault in faults:
        planted((root / fault.file).read_text(encoding="utf-8"), fault)  # all fit, before the first is planted
    with tempfile.TemporaryDirectory(prefix="cifar-course-faults-") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(root, copy, ignore=_LEFT_OUT)
        likely = sorted({test for fault in faults for test in fault.likely})
        if complaint := _caught_by(copy, likely + ["-m", "not slow"]):
            raise CourseError(f"Without any fault {complaint} fails already: mend that first.")
        results = _earlier(root, faults) if names else []
        for number, fault in enumerate(faults, start=1):
            result = _try(copy, fault)
            results.append(result)
            found = result["caught_by"] or "NOTHING"
            say(f"[{number}/{len(faults)}] {fault.id}: caught by {found} in {result['seconds']:.0f} s")
            write(root / "runs" / "faults.json", results)
    return [result["id"] for result in results if not result["caught_by"]]


def write(path: Path, results: list[dict[str, Any]]) -> None:
    """Write the table of faults with its two totals."""
    caught = sum(bool(result["caught_by"]) for result in results)
    runs.write_json(path, {"planted": len(results), "caught": caught, "faults": results})


def _earlier(root: Path, again: list[Any]) -> list[dict[str, Any]]:
    """What runs/faults.json says of the faults that are not planted again."""
    path = root / "runs" / "faults.json"
    before = runs.read_json(path)["faults"] if path.is_file() else []
    return [result for result in before if result["id"] not in {fault.id for fault in again}]


def _try(copy: Path, fault: Any) -> dict[str, Any]:
    path = copy / fault.file
    right = path.read_bytes()
    began = time.monotonic()
    path.write_text(planted(right.decode(), fault), encoding="utf-8")
    try:
        steps = (["-m", "not slow", *fault.likely], _FAST, ["-m", "slow", *fault.likely], _SLOW)
        caught = next((found for step in steps if (found := _caught_by(copy, step))), None)
    finally:
        path.write_bytes(right)
    seconds = round(time.monotonic() - began, 1)
    return {"id": fault.id, "what": fault.what, "caught_by": caught, "seconds": seconds}


def _caught_by(copy: Path, words: list[str]) -> str | None:
    """The first test that fails, None where all pass."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=no", "-rfE", *words]
    process = subprocess.Popen(
        command, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=os.name != "nt",
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=_SECONDS)
    except BaseException as error:
        _end(process)
        if isinstance(error, subprocess.TimeoutExpired):
            return "a test that does not end"
        raise
    if process.returncode in (0, 5):  # 5: the file has no tests of this kind
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
    return found[1] if found else "pytest: " + (said.strip().splitlines() or ["it died"])[-1]


def _end(process: subprocess.Popen[str]) -> None:
    """End pytest and all that its tests started."""
    if os.name == "nt":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
