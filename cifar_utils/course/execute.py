"""Executes notebooks under a profile with papermill, and keeps account in the run's summary.json."""

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cifar_utils import runs
from cifar_utils.course import chapters as course_chapters
from cifar_utils.course import fingerprint as marks
from cifar_utils.course import outputs
from cifar_utils.course.chapters import Chapter
from cifar_utils.course.project import CourseError, commit_of, relative

CUSTOM = "custom"
KERNEL_LOG = "kernel.log"  # what the kernel itself says, beside its cells: the last words of one that dies
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_HEARTBEAT = 20.0  # seconds between two lines of progress where the output is no terminal


class ChapterFailed(CourseError):
    """A chapter did not run to its end. `short` says why in one line, the message also where and what to do."""

    def __init__(self, message: str, short: str = "") -> None:
        super().__init__(message)
        self.short = short or message.splitlines()[0]


@dataclass
class Plan:
    """One run: which chapters, with which values, into which folder."""

    root: Path
    profile: str
    folder: Path
    chapters: list[Chapter]
    given: dict[str, dict[str, Any]]
    force: bool = False
    progress: bool = True
    becomes_reference: bool = False
    environment: dict[str, str] = field(default_factory=dict)  # of its kernels, besides the usual
    say: Callable[[str], None] = field(default=print)


def make_plan(
    root: Path,
    *,
    profile: str = course_chapters.BUILT_IN_PROFILE,
    names: list[str] | tuple[str, ...] = (),
    overrides: list[str] | tuple[str, ...] = (),
    into: str | None = None,
    force: bool = False,
    progress: bool = True,
) -> Plan:
    """Check everything that can be checked before a run. Raises CourseError for what `chapters.resolve` refuses.

    Overridden parameters go to runs/custom (or runs/<into>), never into a profile's own folder.
    """
    chosen = course_chapters.select(course_chapters.list_chapters(root), names)
    given = course_chapters.resolve(root, chosen, profile, overrides)
    target = into or (CUSTOM if overrides else profile)
    if not re.fullmatch(r"\w[\w.-]*", target):
        raise CourseError(f"--into takes the name of a folder in runs/; {target} is none.")
    if target != profile and target in course_chapters.profile_names(root):
        raise CourseError(f"runs/{target} belongs to the profile {target}: give --into another name.")
    if overrides and target == profile:
        raise CourseError(f"runs/{target} holds the profile's own values: a run with -p goes to another name.")
    return Plan(root, profile, root / "runs" / target, chosen, given, force, progress)


def read_summary(folder: Path) -> dict[str, Any]:
    """A run's summary.json; an empty one where it is missing or unreadable."""
    try:
        summary = runs.read_json(folder / "summary.json")
    except (OSError, ValueError):
        summary = {}
    return summary if isinstance(summary.get("chapters"), dict) else {"chapters": {}}


def _recorded_inputs(folder: Path, chapter: str) -> dict[str, str | None]:
    try:
        content = json.loads((folder / chapter / "inputs.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def status(root: Path, folder: Path, chapter: Chapter, given: dict[str, Any]) -> tuple[str, list[str]]:
    """`done`, `changed` (done, but no longer current), `failed` or `missing`; and what changed.

    A chapter counts as done only where its results lie beside the summary that says so.
    """
    entry = read_summary(folder)["chapters"].get(chapter.name)
    if entry is None:
        return "missing", []
    files = (folder / f"{chapter.name}.ipynb", folder / chapter.name / "metrics.json")
    if entry.get("status") != "done" or not all(path.is_file() for path in files):
        return "failed", []
    old = entry.get("fingerprint", {})
    new = {**marks.fixed(root, chapter.path, given), "inputs": marks.inputs(root, old.get("inputs", {}))}
    return ("done", []) if old == new else ("changed", marks.differences(old, new))


def pending(plan: Plan) -> list[str]:
    """The chapters of the plan that are not current as things stand now (a checkpoint made anew may add later ones)."""
    return [
        c.name
        for c in plan.chapters
        if plan.force or status(plan.root, plan.folder, c, plan.given[c.name])[0] != "done"
    ]


def needs_data(plan: Plan) -> bool:
    """True where a chapter that will run imports the course's data module."""
    wanted = pending(plan)
    return any(
        "cifar_utils/data.py" in marks.fixed(plan.root, c.path, plan.given[c.name])["modules"]
        for c in plan.chapters
        if c.name in wanted
    )


def run(plan: Plan) -> dict[str, float]:
    """Execute what is not current, in order. Returns the seconds of each chapter; 0 for one that was current.

    Raises ChapterFailed at the first failing cell or dying kernel, CourseError where another run writes to the
    same folder, KeyboardInterrupt on Ctrl-C once the kernel has ended.
    """
    seconds: dict[str, float] = {}
    with _locked(plan):
        for number, chapter in enumerate(plan.chapters, start=1):
            state, changed = status(plan.root, plan.folder, chapter, plan.given[chapter.name])
            head = f"[{number}/{len(plan.chapters)}] {chapter.name}"
            if state == "done" and not plan.force:
                plan.say(f"{head}: nothing changed")
                seconds[chapter.name] = 0.0
                continue
            reason = "" if state == "missing" else f" ({_reason(state, changed)})"
            plan.say(f"{head}: running{reason}")
            seconds[chapter.name] = _run_chapter(plan, chapter)
            plan.say(f"{head}: done in {runs.duration(seconds[chapter.name])}")
        _merge_claims(plan)
    return seconds


def _reason(state: str, changed: list[str]) -> str:
    if state == "failed":
        return "it did not finish before"
    if not changed:
        return "again"
    return f"changed: {', '.join(changed[:3])}{' …' if len(changed) > 3 else ''}"


@contextlib.contextmanager
def _locked(plan: Plan) -> Iterator[None]:
    """The run's folder, for this process alone; the system frees it when the process ends, however it ends."""
    import filelock

    plan.folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(plan.folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        name = relative(plan.folder, plan.root)
        raise CourseError(
            f"Another run is writing to {name}: wait for its end or stop it, or send this one elsewhere with --into."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _run_chapter(plan: Plan, chapter: Chapter) -> float:
    """One chapter from its preparation to its entry in summary.json; returns its seconds."""
    given, own = plan.given[chapter.name], plan.folder / chapter.name
    fixed = marks.fixed(plan.root, chapter.path, given)
    resumed = _prepare(plan, chapter, fixed)
    if resumed:
        plan.say("    going on from where it stopped")
    executing, finished = own / "executing.ipynb", plan.folder / f"{chapter.name}.ipynb"
    entry: dict[str, Any] = {"status": "running", "parameters": {**chapter.defaults(), **given}}
    before = read_summary(plan.folder)["chapters"].get(chapter.name, {})
    spent = before.get("seconds", 0.0) if resumed else 0.0  # an interrupted chapter costs the sum of its attempts
    _enter(plan, chapter, entry)
    began = time.monotonic()
    try:
        _papermill(plan, chapter, executing)
        if not (own / "metrics.json").is_file():
            raise ChapterFailed(f"{chapter.name} ended without results: its last cell, regression.finish, writes them.")
        entry["status"] = "done"
    except BaseException as error:
        entry["status"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        entry["error"] = getattr(error, "short", "") or f"{type(error).__name__}: {error}".strip(": ")
        raise
    finally:
        entry["seconds"] = round(time.monotonic() - began + spent, 1)
        entry["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        if executing.is_file():
            os.replace(executing, finished)
        if entry["status"] == "done":
            recorded = _recorded_inputs(plan.folder, chapter.name)
            entry["fingerprint"] = {**fixed, "inputs": marks.inputs(plan.root, recorded)}
            entry["peak_memory_mb"] = _peak_memory(own)
            outputs.save_figures(outputs.read(finished), own / "figures")
            for path in (own / "attempt.json", own / KERNEL_LOG):
                path.unlink(missing_ok=True)
        _enter(plan, chapter, entry)
    return time.monotonic() - began


def _prepare(plan: Plan, chapter: Chapter, fixed: marks.Fingerprint) -> bool:
    """Empty the chapter's folder, unless it holds an unfinished attempt at the very same; True where it does."""
    own = plan.folder / chapter.name
    attempt = own / "attempt.json"
    try:
        before = json.loads(attempt.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    recorded = _recorded_inputs(plan.folder, chapter.name)
    same = not plan.force and before == fixed and recorded == marks.inputs(plan.root, recorded)
    if own.exists() and not same:
        shutil.rmtree(own)
    own.mkdir(parents=True, exist_ok=True)
    for path in own.glob(".*.part"):  # of an attempt that was killed while it wrote
        path.unlink()
    for path in (own / "metrics.json", own / "executing.ipynb", plan.folder / f"{chapter.name}.ipynb"):
        path.unlink(missing_ok=True)  # what stands there afterwards was written by this attempt
    runs.write_json(attempt, fixed)
    return same


def _enter(plan: Plan, chapter: Chapter, entry: dict[str, Any]) -> None:
    """Put a chapter's entry into summary.json, with what it ran on."""
    summary = read_summary(plan.folder)
    summary["chapters"][chapter.name] = entry
    summary["chapters"] = dict(sorted(summary["chapters"].items()))
    if entry["status"] == "done":
        from cifar_utils.course.environment import machine

        summary.update(machine())
    runs.write_json(plan.folder / "summary.json", {**summary, "profile": plan.profile, "commit": commit_of(plan.root)})


def _peak_memory(own: Path) -> float | None:
    try:
        return json.loads((own / "resources.json").read_text(encoding="utf-8")).get("peak_memory_mb")
    except (OSError, ValueError):
        return None


def _merge_claims(plan: Plan) -> None:
    """The chapters' claims as one list, each with its chapter."""
    rows = []
    for path in sorted(plan.folder.glob("[0-9][0-9]_*/claims.json")):
        claims = json.loads(path.read_text(encoding="utf-8"))
        rows += [
            {"chapter": path.parent.name, **claim}
            for claim in (claims["claims"] if isinstance(claims, dict) else claims)
        ]
    runs.write_json(plan.folder / "claims.json", rows)


# --- papermill -----------------------------------------------------------------------------------------------------


class _Watch:
    """What the waiting thread knows of the working one: the kernel's process and the cell that runs."""

    def __init__(self) -> None:
        self.kernel: Any = None
        self.cell = 0
        self.cells = 0
        self.stopped = False
        self.outcome: BaseException | None = None
        # Not Thread.join: where Ctrl-C meets it, Python 3.11 takes the thread for ended while it still writes.
        self.ended = threading.Event()

    def kill_kernel(self) -> None:
        """End the kernel and what it started, for good."""
        import psutil

        self.stopped = True
        process = getattr(getattr(self.kernel, "provisioner", None), "process", None)
        if process is None:
            return
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(process.pid)
            for child in [*parent.children(recursive=True), parent]:
                with contextlib.suppress(psutil.Error):
                    child.kill()


def _engine(watch: _Watch, environment: dict[str, str], log: Path) -> type:
    """papermill's engine, which tells `watch` how far it is and gives the kernel its own environment."""
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine

    quiet = logging.getLogger("cifar-course.kernel")  # what it would say of a dead kernel is said better below
    quiet.setLevel(logging.CRITICAL)

    class Client(PapermillNotebookClient):
        def create_kernel_manager(self) -> Any:
            watch.kernel = super().create_kernel_manager()  # before it starts, so that a starting one can be ended
            return watch.kernel

        def execute_cell(self, cell: Any, index: int, **rest: Any) -> Any:
            watch.cell = index + 1
            if watch.stopped:
                raise KeyboardInterrupt
            return super().execute_cell(cell, index, **rest)

    class CourseEngine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **rest: Any) -> Any:
            watch.cells = len(nb_man.nb.cells)
            client = Client(nb_man, kernel_name=kernel_name, timeout=None, startup_timeout=120, log=quiet)
            with log.open("w", encoding="utf-8") as stream:
                return client.execute(env=environment, stderr=stream)

    return CourseEngine


def _register_whole_files(folder: Path) -> None:
    """Have papermill write below `folder` whole or not at all: it may be stopped while it writes."""
    from papermill.iorw import LocalHandler, papermill_io

    class WholeFiles(LocalHandler):
        def write(self, buf: str, path: str) -> None:
            runs.write_whole(Path(path), buf)

    papermill_io.register(str(folder), WholeFiles())  # it chooses its handler by how a path begins


def kernel_environment(plan: Plan) -> dict[str, str]:
    """The environment variables of a chapter's kernel."""
    path = [str(plan.root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "CIFAR_COURSE_RUN": str(plan.folder.resolve()),
        "CIFAR_COURSE_PROFILE": plan.profile,
        "CIFAR_COURSE_CONTINUE": "1",
        "PYTHONPATH": os.pathsep.join(path),  # the project's own package, whichever is installed
        **({"CIFAR_COURSE_REFERENCE": "off"} if plan.becomes_reference else {}),
        "TQDM_DISABLE": "1",  # bars would end up in the notebook's outputs; the terminal shows the cells' progress
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        **plan.environment,
    }


def _papermill(plan: Plan, chapter: Chapter, output: Path) -> None:
    """Execute a notebook into `output`. Raises ChapterFailed, or KeyboardInterrupt once the kernel is gone."""
    import papermill
    from papermill.engines import papermill_engines

    logging.getLogger("papermill").setLevel(logging.ERROR)
    watch = _Watch()
    engine = f"cifar-course-{chapter.name}"
    output = output.resolve()
    papermill_engines.register(engine, _engine(watch, kernel_environment(plan), output.with_name(KERNEL_LOG)))
    _register_whole_files(output.parent)

    def work() -> None:
        try:
            papermill.execute_notebook(
                str(chapter.path),
                str(output),
                parameters=plan.given[chapter.name],
                engine_name=engine,
                kernel_name="python3",
                cwd=str(plan.root / "notebooks"),
                progress_bar=False,
            )
        except BaseException as error:
            watch.outcome = error
        finally:
            watch.ended.set()

    here = Path.cwd()
    worker = threading.Thread(target=work, daemon=True)
    with _ending_is_an_interrupt():
        worker.start()
        try:
            _show_progress(plan, chapter, watch)
        except BaseException:
            watch.kill_kernel()
            end = time.monotonic() + 60
            while not watch.ended.wait(timeout=1) and time.monotonic() < end:
                watch.kill_kernel()  # again: one that was being started is there a moment later
            raise
        finally:
            os.chdir(here)  # papermill's thread may have been left in notebooks/
    if watch.outcome is not None:
        raise _failure(plan, chapter, watch) from watch.outcome


@contextlib.contextmanager
def _ending_is_an_interrupt() -> Iterator[None]:
    """Treat a polite request to end (SIGTERM) as Ctrl-C, so that the kernel ends as well."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_progress(plan: Plan, chapter: Chapter, watch: _Watch) -> None:
    """Wait for the worker; a bar over the cells in a terminal, now and then a line elsewhere."""
    from tqdm import tqdm

    terminal = plan.progress and sys.stderr.isatty()
    layout = "    {n_fmt}/{total_fmt} cells |{bar:30}| {elapsed}"
    began = said = time.monotonic()
    with tqdm(total=1, disable=not terminal, leave=False, bar_format=layout) as bar:
        while not watch.ended.wait(timeout=0.5):
            bar.total, bar.n = max(watch.cells, 1), max(watch.cell - 1, 0)
            bar.refresh()
            if plan.progress and not terminal and time.monotonic() - said > _HEARTBEAT:
                said = time.monotonic()
                plan.say(f"    cell {watch.cell} of {watch.cells}, {runs.duration(said - began)}")


def _failure(plan: Plan, chapter: Chapter, watch: _Watch) -> ChapterFailed:
    """What went wrong, short enough to read: the cell, the error, where to look, how to go on."""
    from papermill.exceptions import PapermillExecutionError

    error = watch.outcome
    where = f"{chapter.name} failed in cell {watch.cell} of {watch.cells}"
    lines: list[str] = []
    if isinstance(error, PapermillExecutionError):
        short = f"{error.ename}: {error.evalue}".strip(": ")
        trace = _COLOURS.sub("", "\n".join(error.traceback)).splitlines()
        places = [line.strip() for line in trace if re.match(r"\s*(File|Cell|Input) ", line)]
        source = [f"    {line}" for line in error.source.strip().splitlines()]
        lines = ["", *source, "", short, *(f"  in {place}" for place in places[-1:])]
        head = f"{where}:"
    elif isinstance(error, OSError):
        short = f"{error.strerror or error}"
        head = f"{chapter.name} could not be written to {relative(plan.folder, plan.root)}: {short}"
    elif type(error).__name__ == "DeadKernelError":
        short = "its kernel died (killed, or out of memory)"
        head = f"{where}: {short}."
        log = plan.folder / chapter.name / KERNEL_LOG
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:] if log.is_file() else []
        lines = [f"    {line}" for line in last if "WARNING |" not in line]
    else:
        short = f"{type(error).__name__}: {error}"
        head = f"{where}: {short}"
    notebook = relative(plan.folder / f"{chapter.name}.ipynb", plan.root)
    lines += ["", f"The executed notebook to look at: {notebook}", "The next run goes on from this chapter."]
    return ChapterFailed("\n".join([head, *lines]), short)
