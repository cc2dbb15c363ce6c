"""`cifar-course test`: long checks run two at a time, in an order that the chapters allow; no failure is lost."""

from pathlib import Path

from cifar_utils.course import checks
from cifar_utils.course.checks import Check
from cifar_utils.course.project import Stopwatch

ROOT = Path(__file__).parents[1]


def program(name, code, *after):
    return Check(name, ["-c", code], frozenset(after))


def test_checks_wait_for_those_they_come_after_and_failures_are_named(tmp_path, capfd):
    def noting(name, wait="", ends=0):
        return f"""
import pathlib, sys, time
path = pathlib.Path("log.txt")
def note(words):
    with path.open("a") as log:
        print(words, file=log)
note("begin {name}")
for _ in range(200):
    if {wait!r} in path.read_text():
        break
    time.sleep(0.1)
note("end {name}")
print("said by {name}")
sys.exit({ends})"""

    watch = Stopwatch()
    wanted = [program("third", noting("third"), "first", "second"),
              program("first", noting("first", wait="begin second", ends=3)), program("second", noting("second"))]
    failed = checks.side_by_side(tmp_path, wanted, {}, watch)
    assert failed == ["first"]
    lines = (tmp_path / "log.txt").read_text().split("\n")[:-1]
    assert lines.index("begin third") > max(lines.index("end first"), lines.index("end second"))
    assert lines.index("begin second") < lines.index("end first")  # at the same time
    assert {name: note for name, _, note in watch.parts} == {"first": "FAILED", "second": "", "third": ""}
    said = capfd.readouterr().out
    assert said.count("said by") == 3 and "== first: FAILED" in said and "== third: passed" in said


def test_not_more_than_two_run_at_once_and_each_has_its_share_of_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    code = ("import os, pathlib, time; p = pathlib.Path(os.environ['NAME'] + str(os.getpid())); p.touch(); "
            "n = len(list(pathlib.Path('.').glob('busy*'))); time.sleep(0.6); p.unlink(); "
            "pathlib.Path(f'seen{os.getpid()}').write_text(f'{n} ' + os.environ['OMP_NUM_THREADS'])")
    checks.side_by_side(tmp_path, [program(str(k), code) for k in range(4)], {"NAME": "busy"}, Stopwatch())
    seen = [path.read_text().split() for path in tmp_path.glob("seen*")]
    assert len(seen) == 4 and {threads for _, threads in seen} == {"4"}
    assert max(int(count) for count, _ in seen) <= 2


def test_chapters_come_after_those_that_they_name():
    found = {check.name: check for check in checks.notebook_checks(ROOT)}
    assert len(found) == len(list((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")))
    assert found["notebook 03_cnn"].after == {"notebook 02_mlp"}
    assert found["notebook 06_vae"].after == {"notebook 03_cnn", "notebook 05_autoencoder"}
    assert found["notebook 07_error_analysis"].after >= {"notebook 02_mlp", "notebook 03_cnn"}
    assert found["notebook 01_data_exploration"].after == frozenset()
    order = list(found)
    waited_for, alone = "notebook 05_autoencoder", "notebook 04_kernel_experiment"
    assert order.index(waited_for) < order.index(alone)  # both take about as long, but chapter 6 waits for one
    for check in found.values():
        assert check.after <= set(order[: order.index(check.name)]) and "--nbval" in check.command
        assert (ROOT / check.command[-1]).is_file()


def test_the_fast_checks_hold_every_test_file_once():
    commands = [word for check in checks.fast_checks(ROOT) for word in check.command if word.startswith("tests/")]
    assert sorted(commands) == sorted(f"tests/{path.name}" for path in (ROOT / "tests").glob("test_*.py"))
    assert {check.name for check in checks.fast_checks(ROOT)} >= {"types", "style"}


def test_a_run_says_what_failed_and_returns_one(tmp_path, monkeypatch, capfd):
    wanted = [program("quick one", "import sys; sys.exit(2)"), program("other", "print('still done')")]
    monkeypatch.setattr(checks, "fast_checks", lambda root: list(wanted))
    assert checks.run(tmp_path, fast=True) == 1
    said = capfd.readouterr()
    assert "Failed: quick one." in said.err and "still done" in said.out
    del wanted[0]
    assert checks.run(tmp_path, fast=True) == 0
