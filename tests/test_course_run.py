"""Papermill runs that cannot lie: real notebooks, real kernels, real faults, all in a small course of their own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from course_project import course, notebook, outputs_of, summary

from cifar_utils import runs
from cifar_utils.course import book, execute, fingerprint, refresh
from cifar_utils.course.project import CourseError

OWN = "import os, pathlib\nown = pathlib.Path(os.environ['CIFAR_COURSE_RUN'])"
LEAVE_PID = OWN + "\n(own / 'pid').write_text(str(os.getpid()))"
WAIT = "import time\n(own / 'waits').touch()\nfor _ in range(600): time.sleep(0.1)"  # after LEAVE_PID
COUNT = """
import os, pathlib
log = pathlib.Path(os.environ["CIFAR_COURSE_RUN"]) / "{name}.log"
log.write_text((log.read_text() if log.exists() else "") + "x")
"""


def counting(*names):
    """Chapters that leave one letter in a log for each time that they run."""
    return {f"_{name}": [COUNT.format(name=name)] for name in names}


def times(root, name, run="quick"):
    log = root / "runs" / run / f"{name}.log"
    return len(log.read_text()) if log.exists() else 0


def run(root, *overrides, **rest):
    plan = execute.make_plan(root, overrides=overrides, progress=False, **rest)
    said: list[str] = []
    plan.say = said.append
    execute.run(plan)
    return said


def until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_chapters_run_in_order_with_their_parameters_and_surroundings(tmp_path):
    look = OWN + "\nprint(pathlib.Path.cwd().name, epochs, learning_rate, own.name)"
    more = "print(*(os.environ[name] for name in ('CIFAR_COURSE_PROFILE', 'CIFAR_COURSE_CONTINUE', 'TQDM_DISABLE')))"
    root = course(tmp_path / "small", _01_first=[look, more], _02_second=["print(epochs)"])
    here = Path.cwd()
    run(root, "epochs=5", "02_second.epochs=6", into="mine")
    assert Path.cwd() == here
    assert outputs_of(root / "runs" / "mine", "01_first") == "notebooks 5 0.001 mine\nquick 1 1\n"
    assert outputs_of(root / "runs" / "mine", "02_second") == "6\n"
    content = json.loads((root / "runs" / "mine" / "summary.json").read_text())
    assert {"versions", "device", "threads", "precision", "commit", "profile"} <= set(content)
    entry = content["chapters"]["01_first"]
    assert entry["status"] == "done" and entry["parameters"]["epochs"] == 5 and entry["seconds"] > 0
    claims = json.loads((root / "runs" / "mine" / "claims.json").read_text())
    assert [claim["chapter"] for claim in claims] == ["01_first", "02_second"]


@pytest.mark.slow
def test_only_what_changed_is_run_again(tmp_path):
    root = course(tmp_path / "small", **counting("01_first", "02_second"))
    (root / "small_helper.py").write_text("x = 1\n", encoding="utf-8")
    notebook(root / "notebooks" / "02_second.ipynb", COUNT.format(name="02_second"), "import small_helper")
    run(root)
    assert run(root)[:2] == ["[1/2] 01_first: nothing changed", "[2/2] 02_second: nothing changed"]
    assert (times(root, "01_first"), times(root, "02_second")) == (1, 1)
    (root / "small_helper.py").write_text("x = 2\n", encoding="utf-8")
    assert "(changed: small_helper.py)" in "".join(run(root))
    assert (times(root, "01_first"), times(root, "02_second")) == (1, 2)
    run(root, names=["1"], force=True)
    assert (times(root, "01_first"), times(root, "02_second")) == (2, 2)
    (root / "runs" / "quick" / "01_first" / "metrics.json").unlink()  # somebody removed a result
    run(root)
    assert (times(root, "01_first"), times(root, "02_second")) == (3, 2)


@pytest.mark.slow
def test_a_new_checkpoint_is_a_reason_to_run_the_chapter_that_read_it(tmp_path):
    write = OWN + "\n(own / '01_first' / 'model').write_text(str(epochs))"
    read = (
        "import hashlib, json\nfile = own / '01_first' / 'model'\n"
        "digest = hashlib.sha256(file.read_bytes()).hexdigest()\n"
        "(own / '02_second' / 'inputs.json').write_text(json.dumps({'runs/quick/01_first/model': digest}))"
    )
    root = course(tmp_path / "small", _01_first=[write], _02_second=[OWN, read])
    run(root)
    assert "running" not in "".join(run(root))
    notebook(root / "notebooks" / "01_first.ipynb", write, "print('another cell, the same weights')")
    assert "02_second: nothing changed" in "".join(run(root))
    notebook(root / "notebooks" / "01_first.ipynb", write.replace("epochs", "epochs + 1"))
    assert "02_second: running (changed: runs/quick/01_first/model)" in "".join(run(root))


@pytest.mark.slow
def test_a_failing_cell_stops_the_run_is_shown_and_the_next_run_goes_on_from_there(tmp_path):
    root = course(tmp_path / "small", **counting("01_first", "02_second", "03_third"))
    keep = "mark = own / 'kept'\nprint('found it' if mark.exists() else 'new')\nmark.write_text('')"
    start = OWN + " / '02_second'"
    fail = "a = 1\nif not (own.parent / 'mended').exists():\n    raise ValueError('no good')"
    notebook(root / "notebooks" / "02_second.ipynb", start, keep, fail)
    with pytest.raises(CourseError) as error:
        run(root)
    said = str(error.value)
    assert "02_second failed in cell 5 of 6" in said
    assert "    a = 1\n" in said and "ValueError: no good" in said and "runs/quick/02_second.ipynb" in said
    assert len(said.splitlines()) < 20, "short enough to read"
    entries = summary(root / "runs" / "quick")
    assert [entries[name]["status"] for name in entries] == ["done", "failed"]
    assert entries["02_second"]["error"] == "ValueError: no good"
    assert "no good" in (root / "runs" / "quick" / "02_second.ipynb").read_text(encoding="utf-8")
    with pytest.raises(CourseError, match="02_second"):
        book.build(root, execute.make_plan(root))  # what failed never reaches the book
    with pytest.raises(CourseError, match="02_second"):
        refresh.refresh(root, execute.make_plan(root))
    (root / "runs" / "quick" / "mended").touch()  # nothing that a fingerprint sees
    assert "    going on from where it stopped" in run(root)
    assert outputs_of(root / "runs" / "quick", "02_second") == "found it\n"
    assert (times(root, "01_first"), times(root, "03_third")) == (1, 1)
    notebook(root / "notebooks" / "02_second.ipynb", start, keep, "b = 2")
    run(root)
    assert outputs_of(root / "runs" / "quick", "02_second") == "new\n", (
        "another fingerprint begins with an empty folder"
    )


def test_a_killed_kernel_ends_as_failed(tmp_path):
    """papermill's own metadata says *completed* then."""
    root = course(
        tmp_path / "small",
        _01_first=["import os, signal\nos.kill(os.getpid(), getattr(signal, 'SIGKILL', 9))", "x = 1"],
    )
    with pytest.raises(CourseError, match="its kernel died"):
        run(root)
    assert summary(root / "runs" / "quick")["01_first"]["status"] == "failed"
    assert execute.pending(execute.make_plan(root)) == ["01_first"]


def test_a_notebook_without_results_is_not_done(tmp_path):
    root = course(tmp_path / "small")
    notebook(root / "notebooks" / "01_first.ipynb", "x = 1", finish=False)
    with pytest.raises(CourseError, match="ended without results"):
        run(root)
    assert execute.pending(execute.make_plan(root)) == ["01_first"]


def test_results_of_an_earlier_attempt_do_not_count(tmp_path):
    root = course(tmp_path / "small", _01_first=["x = 1"])
    run(root)
    notebook(root / "notebooks" / "01_first.ipynb", "import sys\nsys.exit('left early')", finish=False)
    with pytest.raises(CourseError):
        run(root)
    assert not (root / "runs" / "quick" / "01_first" / "metrics.json").exists()


def test_results_of_the_attempt_that_is_gone_on_with_do_not_count(tmp_path):
    """Stopped after its last cell, the same chapter goes on with what it has, but for the results themselves."""
    root = course(tmp_path / "small")
    notebook(root / "notebooks" / "01_first.ipynb", "x = 1", finish=False)
    plan = execute.make_plan(root)
    own = plan.folder / "01_first"
    runs.write_json(own / "attempt.json", fingerprint.fixed(root, plan.chapters[0].path, {}))
    runs.write_json(own / "metrics.json", {"of.an.earlier.attempt": 1})
    with pytest.raises(CourseError, match="ended without results"):
        run(root)


@pytest.mark.parametrize("state", ["failed", "interrupted", "running"])
def test_results_beside_a_summary_that_does_not_say_done_do_not_count(tmp_path, state):
    """A chapter that was stopped after its last cell has results, and may lack the rest: its claims, its figures."""
    root = course(tmp_path / "small", _01_first=["x = 1"])
    plan = execute.make_plan(root)
    chapter = plan.chapters[0]
    entry = {"status": "done", "fingerprint": {**fingerprint.fixed(root, chapter.path, {}), "inputs": {}}}
    for path in (plan.folder / "01_first.ipynb", plan.folder / "01_first" / "metrics.json"):
        runs.write_json(path, {})
    runs.write_json(plan.folder / "summary.json", {"chapters": {"01_first": entry}})
    assert execute.pending(plan) == []
    runs.write_json(plan.folder / "summary.json", {"chapters": {"01_first": {**entry, "status": state}}})
    assert execute.pending(plan) == ["01_first"]


@pytest.mark.slow
def test_two_runs_into_one_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # two runs in one process: the second begins where the first one's thread has gone
    wait = "import time\nfor _ in range(1200):\n    if (own / 'go').exists(): break\n    time.sleep(0.1)"
    root = course(tmp_path / "small", _01_first=[LEAVE_PID, wait])
    outcome = []
    first = threading.Thread(target=lambda: outcome.append(run(root)), daemon=True)
    first.start()
    until(lambda: (root / "runs" / "quick" / "pid").exists())
    with pytest.raises(CourseError, match="Another run is writing to runs/quick"):
        run(root)
    (root / "runs" / "custom").mkdir()
    (root / "runs" / "custom" / "go").touch()
    run(root, "epochs=3")  # goes elsewhere, beside the first one, which still waits
    assert not outcome
    (root / "runs" / "quick" / "go").touch()
    first.join(timeout=120)
    assert outcome and summary(root / "runs" / "quick")["01_first"]["status"] == "done"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_stopped_in_the_middle_the_kernel_ends_and_the_next_run_goes_on(tmp_path, name):
    root = course(tmp_path / "small", **counting("01_first"), _02_second=[LEAVE_PID, WAIT])
    code = (  # a shell's background job ignores Ctrl-C; this process must not
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from cifar_utils.course.cli import main\nraise SystemExit(main(['run']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        until(lambda: (root / "runs" / "quick" / "waits").exists())
        kernel = psutil.Process(int((root / "runs" / "quick" / "pid").read_text()))
        process.send_signal(getattr(signal, name))
        said, _ = process.communicate(timeout=90)
        until(lambda: not kernel.is_running() or kernel.status() == psutil.STATUS_ZOMBIE)
    finally:
        process.kill()
    if name != "SIGKILL":
        assert process.returncode == 130 and "Stopped" in said and "Traceback" not in said
    entries = summary(root / "runs" / "quick")
    assert entries["01_first"]["status"] == "done" and entries["02_second"]["status"] != "done"
    assert not list((root / "runs").rglob("*.part"))
    notebook(root / "notebooks" / "02_second.ipynb", "x = 1")
    run(root)
    assert times(root, "01_first") == 1 and summary(root / "runs" / "quick")["02_second"]["status"] == "done"


def command(root, before=""):
    """Start `cifar-course run` as a program of its own, after some lines of Python."""
    code = (  # a shell's background job ignores Ctrl-C; this process must not
        "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"{before}\nfrom cifar_utils.course.cli import main\nraise SystemExit(main(['run']))"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])})


def ended_clearly(process, status=1):
    """What the program said at its end, which has to be for people: no traceback."""
    try:
        said, _ = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == status and "Traceback" not in said, said
    return said


def kernels_of(root):
    """The kernels of a course's quick run that are alive, whoever started them."""
    place, found = str((root / "runs" / "quick").resolve()), []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += [process] * (process.environ().get("CIFAR_COURSE_RUN") == place)
    return found


def nothing_half_written(root):
    assert not list((root / "runs").rglob("*.part"))
    for path in [*(root / "runs").rglob("*.json"), *(root / "runs").rglob("*.ipynb")]:
        runs.read_json(path)  # its error names the file


@pytest.mark.slow
def test_a_kernel_killed_from_outside_ends_the_run_as_failed_and_no_book_is_made_of_it(tmp_path):
    """`kill -9` in the middle of a cell, as the system does when memory is short; papermill says *completed* then."""
    root = course(tmp_path / "small", **counting("01_first"), _02_second=[LEAVE_PID, WAIT])
    process = command(root)
    try:
        until(lambda: (root / "runs" / "quick" / "waits").exists())  # now it is in cell 4 for certain
        psutil.Process(int((root / "runs" / "quick" / "pid").read_text())).kill()
    except BaseException:
        process.kill()
        raise
    said = ended_clearly(process)
    assert "02_second failed in cell 4 of 5: its kernel died" in said
    entries = summary(root / "runs" / "quick")
    assert [entry["status"] for entry in entries.values()] == ["done", "failed"]
    with pytest.raises(CourseError, match="02_second"):
        book.build(root, execute.make_plan(root))
    with pytest.raises(CourseError, match="02_second"):
        refresh.refresh(root, execute.make_plan(root))
    nothing_half_written(root)
    notebook(root / "notebooks" / "02_second.ipynb", "x = 1")
    run(root)
    assert times(root, "01_first") == 1 and summary(root / "runs" / "quick")["02_second"]["status"] == "done"


@pytest.mark.slow
def test_the_notebook_that_is_being_executed_is_never_written_over(tmp_path):
    """A second name for the file keeps what stood there when the cell ran: a new file takes the old one's place."""
    root = course(tmp_path / "small", _01_first=[OWN + "\nos.link(own / '01_first' / 'executing.ipynb', own / 'kept')"])
    run(root)
    kept = runs.read_json(root / "runs" / "quick" / "kept")
    finished = runs.read_json(root / "runs" / "quick" / "01_first.ipynb")
    assert kept["cells"][-1]["execution_count"] is None and finished["cells"][-1]["execution_count"]


MOMENTS = {  # the first sign in runs/quick that a moment has come
    "before the chapter": ".lock", "chapter entered": "summary.json", "kernel starting": "02_second/executing.ipynb",
    "in a cell": "pid", "after the last cell": "02_second/metrics.json",
}
SLOW_DISK = "import os, time\nfsync = os.fsync\nos.fsync = lambda file: (time.sleep(0.3), fsync(file))[1]"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
@pytest.mark.parametrize("sign", MOMENTS.values(), ids=MOMENTS.keys())
def test_ctrl_c_at_any_moment_leaves_nothing_half_written_and_the_next_run_goes_on(tmp_path, sign):
    stay = "import time\nif not (own / 'again').exists(): time.sleep(60)"
    root = course(tmp_path / "small", _02_second=[LEAVE_PID] if sign.endswith("metrics.json") else [LEAVE_PID, stay])
    process = command(root, SLOW_DISK)  # so that the signal meets a file that is being written
    try:
        until(lambda: (root / "runs" / "quick" / sign).exists())
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=90)
        until(lambda: not kernels_of(root))
    finally:
        process.kill()
    assert "Traceback" not in said
    finished = sign.endswith("metrics.json") and process.returncode == 0  # the signal came too late to stop anything
    assert finished or (process.returncode == 130 and "Stopped" in said)
    nothing_half_written(root)
    (root / "runs" / "quick" / "again").touch()
    run(root)
    assert summary(root / "runs" / "quick")["02_second"]["status"] == "done"
    assert (root / "runs" / "quick" / "claims.json").is_file()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize("there", ["runs", "runs/quick"])
def test_a_folder_that_cannot_be_written(tmp_path, there):
    root = course(tmp_path / "small", _01_first=["x = 1"])
    (root / there).mkdir(parents=True)
    (root / there).chmod(0o555)
    for place in list(root.parents)[:3]:  # the administrator becomes nobody, who has to get there
        place.chmod(0o755)
    before = (
        "import filelock\nfrom cifar_utils.course import execute\nrun = execute.run\n"
        "execute.run = lambda plan: [os.geteuid() or os.seteuid(65534), run(plan)]"
    )
    said = ended_clearly(command(root, before))
    assert f"{Path(there).name}" in said and "Permission denied" in said
    assert not list((root / there).iterdir())
    (root / there).chmod(0o755)
    run(root)
    assert summary(root / "runs" / "quick")["01_first"]["status"] == "done"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such limit")
def test_a_file_in_the_folders_place(tmp_path):
    root = course(tmp_path / "small", _01_first=["x = 1"])
    (root / "runs").write_text("in the way")
    said = ended_clearly(command(root))
    assert "runs" in said and (root / "runs").read_text() == "in the way"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such limit")
def test_a_system_that_refuses_to_write_more_is_a_clear_end(tmp_path):
    """A limit on the size of files: the notebook's long output cannot be stored. It works for every user."""
    root = course(tmp_path / "small", _01_first=["x = 1"], _02_second=["print('long ' * 100_000)"])
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))"
    said = ended_clearly(command(root, limit))
    assert "02_second could not be written to runs/quick: File too large" in said
    assert [entry["status"] for entry in summary(root / "runs" / "quick").values()] == ["done", "failed"]
    with pytest.raises(CourseError, match="02_second"):
        book.build(root, execute.make_plan(root))
    run(root)
    assert summary(root / "runs" / "quick")["02_second"]["status"] == "done"


@pytest.mark.slow
def test_a_full_disk_is_a_clear_end(tmp_path):
    """A real disk of 400 kB: the second chapter does not fit. With more room the next run goes on."""
    root = course(tmp_path / "small", **counting("01_first"), _02_second=["print('long ' * 100_000)"])
    (root / "runs").mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(root / "runs")]
    if not Path("/bin/mount").exists() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        assert "No space left on device" in ended_clearly(command(root))
        entries = summary(root / "runs" / "quick")
        assert entries["01_first"]["status"] == "done" and entries["02_second"]["status"] != "done"
        assert "02_second" in execute.pending(execute.make_plan(root))
        subprocess.run(["/bin/mount", "-o", "remount,size=10m", str(root / "runs")], check=True)
        run(root)
        assert times(root, "01_first") == 1 and summary(root / "runs" / "quick")["02_second"]["status"] == "done"
        nothing_half_written(root)
    finally:
        subprocess.run(["/bin/umount", str(root / "runs")], check=True)


@pytest.mark.slow
@pytest.mark.real_data
def test_every_chapter_runs_under_the_smoke_profile(tmp_path):
    """The real chapters, in a folder of their own, with the smallest budgets."""
    root = Path(__file__).resolve().parents[1]
    plan = execute.make_plan(root, profile="smoke", progress=False)
    plan.folder = tmp_path / "smoke"
    seconds = execute.run(plan)
    assert list(seconds) == [chapter.name for chapter in plan.chapters]
    entries = summary(plan.folder)
    assert {entry["status"] for entry in entries.values()} == {"done"}
    assert all(entry["peak_memory_mb"] for entry in entries.values())


RUN_SMOKE = """
import sys
from pathlib import Path
from cifar_utils.course import execute
plan = execute.make_plan(Path.cwd(), profile="smoke", names=["02_mlp"], progress=False)
plan.folder = Path(sys.argv[1])
execute.run(plan)
"""


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(os.name == "nt", reason="kills a group of processes")
def test_a_chapter_gives_the_same_numbers_again_and_after_kill_and_resume(tmp_path):
    """Chapter 2 twice with one thread: whole, and killed once its second network was stored, then resumed.

    What was trained before the kill is the same training again; what comes after it goes on from stored files.
    """
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}

    def begin(name):
        return subprocess.Popen([sys.executable, "-c", RUN_SMOKE, str(tmp_path / name)], cwd=root, env=environment,
                                stdout=subprocess.PIPE, text=True, start_new_session=True)

    def end(process):
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def two_are_stored():
        assert killed.poll() is None, "it has ended"
        files = (tmp_path / "killed" / "02_mlp").glob("*.safetensors")
        return len([path for path in files if ".resume." not in path.name]) >= 2

    started = []
    try:
        started.append(whole := begin("whole"))
        assert whole.wait(300) == 0
        started.append(killed := begin("killed"))
        until(two_are_stored, seconds=300)
        end(killed)
        assert not (tmp_path / "killed" / "02_mlp" / "metrics.json").exists()
        started.append(resumed := begin("killed"))
        assert "going on from where it stopped" in resumed.communicate(timeout=300)[0] and resumed.returncode == 0
    finally:
        for process in started:
            if process.poll() is None:
                end(process)
    numbers = [{name: value for name, value in runs.read_json(tmp_path / run / "02_mlp" / "metrics.json").items()
                if not name.endswith("seconds")} for run in ("whole", "killed")]
    assert numbers[0] == numbers[1] and len(numbers[0]) > 100
