"""`cifar-course faults`: what it reports is what the checks of the copy say, and the project itself stays as it is."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from course_project import notebook

from cifar_utils.course import faults
from cifar_utils.course.project import CourseError

ROOT = Path(__file__).parents[1]
LIST = '''
from types import SimpleNamespace as S
LIKELY = ("tests/test_a.py",)
FAULTS = [
    S(id="sign", what="adds with the wrong sign", file="small.py", old="a + b", new="a - b", likely=LIKELY),
    S(id="wide", what="noticed by another file", file="small.py", old="= 7", new="= 8", likely=LIKELY),
    S(id="slow", what="noticed by a slow test", file="small.py", old="= 5", new="= 6", likely=LIKELY),
    S(id="text", what="nobody looks at it", file="small.py", old="Adds.", new="Subtracts.", likely=LIKELY),
]
'''


@pytest.fixture
def project(tmp_path):
    """A project of one module, three test files and four faults."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "small.py").write_text('"""Adds."""\nSEVEN = 7\nFIVE = 5\n\n\ndef add(a, b):\n    return a + b\n')
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\nmarkers = ['slow: slow']\n")
    (tmp_path / "tests" / "test_a.py").write_text("import small\n\ndef test_sum():\n    assert small.add(1, 2) == 3\n")
    (tmp_path / "tests" / "test_b.py").write_text("import small\n\ndef test_seven():\n    assert small.SEVEN == 7\n")
    (tmp_path / "tests" / "test_c.py").write_text(
        "import pytest, small\n\n@pytest.mark.slow\ndef test_five():\n    assert small.FIVE == 5\n")
    (tmp_path / "tests" / "faults.py").write_text(LIST)
    return tmp_path


@pytest.mark.slow
def test_each_fault_is_reported_with_the_test_that_caught_it(project):
    before = (project / "small.py").read_bytes()
    said: list[str] = []
    assert faults.run(project, say=said.append) == ["text"]
    result = json.loads((project / "runs" / "faults.json").read_text())
    assert (result["planted"], result["caught"]) == (4, 3)
    assert [(fault["id"], fault["caught_by"]) for fault in result["faults"]] == [
        ("sign", "tests/test_a.py::test_sum"), ("wide", "tests/test_b.py::test_seven"),
        ("slow", "tests/test_c.py::test_five"), ("text", None)]
    assert all(fault["seconds"] > 0 and fault["what"] for fault in result["faults"])
    assert "NOTHING" in said[-1] and (project / "small.py").read_bytes() == before
    (project / "tests" / "test_d.py").write_text(
        "import small\n\ndef test_words():\n    assert small.__doc__ == 'Adds.'\n")
    assert faults.run(project, ["text"], say=said.append) == []  # the others' results stay
    assert json.loads((project / "runs" / "faults.json").read_text())["caught"] == 4


def test_checks_that_fail_without_a_fault_prove_nothing(project):
    (project / "small.py").write_text((project / "small.py").read_text().replace("a + b", "a + b + 1"))
    with pytest.raises(CourseError, match=r"Without any fault .*test_sum fails already"):
        faults.run(project)


def test_a_fault_that_no_longer_fits_is_an_error_before_anything_runs(project):
    (project / "small.py").write_text("def add(a, b):\n    return b + a\n")
    with pytest.raises(CourseError, match=r"sign: the text to replace occurs 0 times in small\.py, not once"):
        faults.run(project)
    with pytest.raises(CourseError, match=r"0 faults in tests/faults\.py are called nonsense"):
        faults.run(project, ["nonsense"])


def test_a_test_that_does_not_end_has_noticed_something(project, monkeypatch):
    monkeypatch.setattr(faults, "_SECONDS", 3)
    (project / "tests" / "test_a.py").write_text("import time\n\ndef test_wait():\n    time.sleep(600)\n")
    assert faults._caught_by(project, ["tests/test_a.py"]) == "a test that does not end"


def test_a_fault_of_a_notebook_is_planted_in_one_cells_source(tmp_path):
    path = notebook(tmp_path / "01_first.ipynb", "x = 1\ny = 2", "z = 3")
    fault = SimpleNamespace(id="x", file="01_first.ipynb", old='x = 1\ny', new='x = "one"\ny')
    text = faults.planted(path.read_text(), fault)
    assert [cell["source"] for cell in json.loads(text)["cells"] if "one" in cell["source"]] == ['x = "one"\ny = 2']
    with pytest.raises(CourseError, match="not once"):
        faults.planted(path.read_text(), SimpleNamespace(id="x", file="01_first.ipynb", old=" = ", new=""))


def test_every_listed_fault_fits_the_code_and_changes_it():
    listed = faults.listed(ROOT)
    assert len(listed) >= 30 and len({fault.id for fault in listed}) == len(listed)
    for fault in listed:
        text = (ROOT / fault.file).read_text(encoding="utf-8")
        assert faults.planted(text, fault) != text
        assert all((ROOT / test).is_file() for test in fault.likely), fault.id
        if fault.file.endswith(".py"):
            compile(faults.planted(text, fault), fault.file, "exec")  # a fault that does not even compile is none
