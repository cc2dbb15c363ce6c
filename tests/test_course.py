"""The command `cifar-course` before anything runs: chapters, parameters, profiles, fingerprints, installation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from course_project import course, notebook

from cifar_utils.course import chapters, cli, environment, execute, fingerprint, project
from cifar_utils.course.chapters import Parameter
from cifar_utils.course.project import CourseError

HERE = Path(__file__).resolve().parents[1]


@pytest.fixture
def root(tmp_path):
    return course(tmp_path / "small", _01_first=["print(1)"], _02_second=["print(2)"])


def plan(root, *overrides, **rest):
    return execute.make_plan(root, overrides=overrides, **rest)


# ------------------------------------------------------------------------------------------------- parameters


def test_a_chapter_knows_its_parameters(root):
    first = chapters.list_chapters(root)[0]
    assert (first.name, first.title) == ("01_first", "01_first")
    assert first.parameters["epochs"] == Parameter("epochs", "int", 2, "passes over the training split", 1, 100)
    assert first.defaults() == {
        "epochs": 2,
        "learning_rate": 1e-3,
        "augment": False,
        "sizes": [1, 3],
        "name": "plain",
    }


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("epochs=7", "epochs", 7),
        ("learning_rate=1e-3", "learning_rate", 1e-3),
        ("learning_rate=1", "learning_rate", 1.0),
        ("augment=true", "augment", True),
        ("augment=off", "augment", False),
        ("sizes=3,5", "sizes", [3, 5]),
        ("sizes=[7]", "sizes", [7]),
        ("name=1e-3", "name", "1e-3"),
        ("02_second.name=a=b", "name", "a=b"),
    ],
)
def test_a_value_is_read_by_the_annotated_type(root, text, name, value):
    found = plan(root, text).given["02_second"][name]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epocs=3", "Did you mean epochs?"),
        ("02_second.epoch=3", "02_second has no parameter epoch. Did you mean epochs?"),
        ("02_secnd.epochs=3", "Did you mean 02_second?"),
        ("epochs=1e-3", "takes an int"),
        ("epochs=2.5", "takes an int"),
        ("epochs=", "takes an int"),
        ("learning_rate=fast", "takes a float"),
        ("learning_rate=nan", "takes a float"),
        ("augment=maybe", "takes a bool"),
        ("sizes=3,big", "takes an int"),
        ("sizes=[3", "takes list"),
        ("epochs=0", "out of range: it lies in [1, 100]"),
        ("epochs=101", "out of range"),
        ("sizes=3,11", "out of range"),
        ("epochs", "has no ="),
    ],
)
def test_a_wrong_value_is_refused_before_anything_runs(root, text, words):
    with pytest.raises(CourseError) as error:
        plan(root, text)
    assert words in str(error.value)
    assert not (root / "runs").exists()


def test_a_parameter_of_a_chapter_that_does_not_run_is_refused(root):
    notebook(root / "notebooks" / "03_third.ipynb", parameters="depth: int = 1  # layers [1, 9]")
    assert plan(root, "03_third.depth=2").given["03_third"] == {"depth": 2}
    with pytest.raises(CourseError, match="no chapter 03_third"):
        plan(root, "03_third.depth=2", names=["1"])
    with pytest.raises(CourseError, match="No chapter of this run has a parameter depth"):
        plan(root, "depth=2", names=["01", "02"])


def test_an_override_never_touches_a_profiles_own_run(root):
    assert plan(root).folder == root / "runs" / "quick"
    assert plan(root, "epochs=3").folder == root / "runs" / "custom"
    assert plan(root, "epochs=3", into="mine").folder == root / "runs" / "mine"
    for name in ("quick", "../quick", ""):
        if name:
            with pytest.raises(CourseError):
                plan(root, "epochs=3", into=name)


def test_a_profile_is_checked_like_the_command_line(root):
    folder = root / "notebooks" / "profiles"
    folder.mkdir()
    (folder / "full.yml").write_text("02_second:\n  epochs: 50\n  learning_rate: 1e-4\n", encoding="utf-8")
    assert plan(root, profile="full").given == {"01_first": {}, "02_second": {"epochs": 50, "learning_rate": 1e-4}}
    for text, words in [
        ("02_second:\n  epoch: 5\n", "Did you mean epochs?"),
        ("02_scond:\n  epochs: 5\n", "Did you mean 02_second?"),
        ("02_second:\n  epochs: 1e-4\n", "takes an int"),
        ("02_second:\n  epochs: true\n", "takes an int"),
        ("02_second: 5\n", "must hold chapters"),
        ("02_second: [\n", "is no YAML"),
    ]:
        (folder / "full.yml").write_text(text, encoding="utf-8")
        with pytest.raises(CourseError) as error:
            plan(root, profile="full")
        assert words in str(error.value)
    with pytest.raises(CourseError, match="Did you mean full"):
        plan(root, profile="ful")


def test_the_chapters_of_the_course_have_sound_parameters_and_profiles():
    for profile in chapters.profile_names(HERE):
        given = plan(HERE, profile=profile).given
        for chapter in chapters.list_chapters(HERE):
            for name, parameter in chapter.parameters.items():
                assert parameter.type_name != "None", f"{chapter.name}.{name} has no type"
                assert parameter.help, f"{chapter.name}.{name} has no comment"
                assert parameter.parse(parameter.default) == parameter.default
            assert set(given[chapter.name]) <= set(chapter.parameters)


# ------------------------------------------------------------------------------------------------ fingerprints


@pytest.fixture
def package(root):
    """A package whose `a` uses `b`; the first chapter imports `a`, the second only `c`."""
    folder = root / "small_package"
    folder.mkdir()
    for name, text in {
        "__init__": "",
        "a": "from . import b\n",
        "b": "x = 1\n",
        "c": "import json\n",
        "d": "",
    }.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    notebook(root / "notebooks" / "01_first.ipynb", "%matplotlib inline\nfrom small_package.a import b")
    notebook(root / "notebooks" / "02_second.ipynb", "import small_package.c as c\n!echo hello")
    return folder


def mark(root, name, **parameters):
    return fingerprint.fixed(root, root / "notebooks" / f"{name}.ipynb", parameters)


def test_a_fingerprint_holds_exactly_the_modules_that_a_chapter_imports(root, package):
    assert [Path(key).stem for key in mark(root, "01_first")["modules"]] == ["__init__", "a", "b"]
    assert [Path(key).stem for key in mark(root, "02_second")["modules"]] == ["__init__", "c"]


def test_a_changed_helper_changes_exactly_the_chapters_that_use_it(root, package):
    before = [mark(root, name) for name in ("01_first", "02_second")]
    (package / "d.py").write_text("unused = True\n", encoding="utf-8")
    assert before == [mark(root, name) for name in ("01_first", "02_second")]
    (package / "b.py").write_text("x = 2\n", encoding="utf-8")
    after = [mark(root, name) for name in ("01_first", "02_second")]
    assert before[1] == after[1]
    assert fingerprint.differences(before[0], after[0]) == ["small_package/b.py"]


def test_outputs_do_not_change_a_fingerprint_but_source_parameters_and_versions_do(root):
    path = root / "notebooks" / "01_first.ipynb"
    before = mark(root, "01_first")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
    content["cells"][2]["execution_count"] = 2
    path.write_text(json.dumps(content), encoding="utf-8")
    assert mark(root, "01_first") == before
    assert fingerprint.differences(before, mark(root, "01_first", epochs=3)) == ["epochs"]
    content["cells"][2]["source"] = ["print(2)"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert fingerprint.differences(before, mark(root, "01_first")) == ["the notebook"]
    (root / "constraints.txt").write_text("numpy==2\n", encoding="utf-8")
    assert fingerprint.differences(before, mark(root, "01_first")) == ["the notebook", "constraints.txt"]


def test_the_course_itself_imports_what_the_chapters_say():
    for chapter in chapters.list_chapters(HERE):
        found = fingerprint.fixed(HERE, chapter.path, {})["modules"]
        assert {"cifar_utils/__init__.py", "cifar_utils/runs.py", "cifar_utils/data.py"} <= set(found)
        assert not [key for key in found if "course" in key], "a notebook never imports what runs it"


# ------------------------------------------------------------------------------------------- installation, verbs


def test_the_command_starts_with_the_standard_library_alone(tmp_path):
    """As on a fresh clone: `python3 -m cifar_utils.course install` before anything is installed."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import cifar_utils.course.cli, cifar_utils.course.environment\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} - sys.stdlib_module_names - {'cifar_utils', '__main__'}))"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(HERE)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_an_installation_is_current_until_its_pins_change(tmp_path):
    root = course(tmp_path / "small")
    python = project.environment_python(root)
    python.parent.mkdir(parents=True)
    python.touch()
    assert not environment.installed(root)
    environment.stamp(root).write_text(json.dumps(environment._wanted(root)), encoding="utf-8")
    assert environment.installed(root)
    environment.install(root)  # returns at once
    (root / "constraints.txt").write_text("numpy==3\n", encoding="utf-8")
    assert not environment.installed(root)


def test_a_failing_pip_ends_with_its_own_words(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "environment_python", lambda root: Path(sys.executable))
    with pytest.raises(CourseError, match=r"pip failed:\n  ERROR.*constraints.txt"):
        environment._pip(tmp_path, ["-c", tmp_path / "constraints.txt", "nothing-such"])


def test_remove_and_clean_take_only_what_can_be_made_again(tmp_path):
    root = course(tmp_path / "small", _01_first=["print(1)"])
    part, copies = "runs/quick/.summary.json.1.part", "notebooks/.ipynb_checkpoints/x"
    for name in (".venv/x", "_build/html/x", "runs/quick/x", part, copies):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert len(environment.clean(root)) == 3
    assert (root / "runs/quick/x").exists() and (root / ".venv/x").exists() and not (root / "_build").exists()
    environment.remove(root)
    assert not (root / ".venv").exists() and (root / "notebooks/01_first.ipynb").exists()
    environment.clean(root, with_runs=True)
    assert not (root / "runs").exists()


def test_doctor_says_what_is_wrong_and_how_to_mend_it(tmp_path, monkeypatch, capsys):
    root = course(tmp_path / "small")
    (root / "pyproject.toml").write_text(
        '[project]\nname = "small"\ndependencies = ["torch>=2", "no-such-package>=1"]\n'
        "[project.optional-dependencies]\ncourse = []\ntest = []\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(root)
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "missing: no-such-package" in said and "thing" in said and "threads" in said


def test_a_wrong_command_is_explained_without_a_traceback(root, monkeypatch, capsys):
    monkeypatch.chdir(root / "notebooks")  # a folder below the root will do
    assert cli.main(["run", "-p", "epocs=3"]) == 1
    said = capsys.readouterr().err
    assert "Did you mean epochs?" in said and "Traceback" not in said
    monkeypatch.chdir(root.parent)
    with pytest.raises(SystemExit):
        cli.main(["runn"])


def test_make_has_a_target_for_every_verb():
    text = (HERE / "Makefile").read_text(encoding="utf-8")
    for target in [
        "install",
        "data",
        "train",
        "analysis",
        "run",
        "lab",
        "bench",
        "refresh",
        "book",
        "test",
        "test-fast",
        "clean",
        "remove",
        "doctor",
    ]:
        assert f"\n{target}:" in text
    assert max(len(line) for line in text.splitlines()) < 130
