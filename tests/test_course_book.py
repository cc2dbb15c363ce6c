"""What becomes public: cleaned notebooks, the reference, tables, and a book that refuses what did not run."""

from pathlib import Path

import nbformat
import pytest
from course_project import course, notebook
from nbformat.v4 import new_code_cell, new_notebook, new_output

from cifar_utils import runs
from cifar_utils.course import book, chapters, execute, outputs, refresh, tables
from cifar_utils.course.project import CourseError

FIGURE = """
from IPython.display import display
picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
display({"image/png": picture}, raw=True, metadata={"image/png": {"alt": "A single grey pixel, which shows nothing"}})
"""
CONFIG = """
title: Small
copyright: "2026"
only_build_toc_files: true
exclude_patterns: ["_build/**"]
execute: {execute_notebooks: "off"}
sphinx: {config: {suppress_warnings: ["etoc.toctree"]}}
"""


def cell_with(**output):
    kind = output.pop("kind", "stream")
    return new_notebook(cells=[new_code_cell("x", outputs=[new_output(kind, **output)])])


def executed(root, **rest):
    plan = execute.make_plan(root, progress=False, **rest)
    plan.say = lambda text: None
    execute.run(plan)
    return plan


# ---------------------------------------------------------------------------------------------------- cleaning


def test_cleaning_takes_out_what_belongs_to_one_run(tmp_path):
    cells = [
        new_code_cell("epochs = 3", metadata={"tags": ["injected-parameters"]}),
        new_code_cell(
            "x",
            metadata={
                "papermill": {"status": "completed"},
                "execution": {"iopub.status.busy": "now"},
                "tags": ["keep"],
            },
        ),
    ]
    cells[1]["outputs"] = [
        new_output(
            "stream",
            name="stderr",
            text="epoch 1:  50%|#####     | 1/2 [00:01<00:01]\repoch 1: 100%|##########| 2/2 [00:02<00:00]\n",
        ),
        new_output("stream", name="stdout", text=f"\x1b[32msaved in {tmp_path}/runs/x and {tmp_path}\x1b[0m\n"),
    ]
    made = new_notebook(
        cells=cells, metadata={"papermill": {"duration": 1}, "kernelspec": {"name": "other", "display_name": "mine"}}
    )
    assert outputs.clean(made, tmp_path) == []
    assert [cell.source for cell in made.cells] == ["x"]
    assert made.cells[0].metadata == {"tags": ["keep"]}
    assert made.cells[0].outputs == [new_output("stream", name="stdout", text="saved in runs/x and .\n")]
    assert made.metadata.kernelspec.name == "python3" and "papermill" not in made.metadata
    assert "version" not in made.metadata.language_info
    once = outputs.text_of(made)
    outputs.clean(made, tmp_path)
    assert outputs.text_of(made) == once, "cleaning what is clean changes nothing"


def test_alternative_texts_go_to_the_cells_metadata(tmp_path):
    made = cell_with(kind="display_data", data={"image/png": "AA=="}, metadata={"image/png": {"alt": "a figure"}})
    assert outputs.clean(made, tmp_path) == []
    assert made.cells[0].metadata["mystnb"]["image"]["alt"] == "a figure"


def test_a_tables_address_goes_and_its_face_stays(tmp_path):
    faces = {"text/html": "<table></table>", "text/plain": "<pandas.io.formats.style.Styler at 0x7f12ab34cd56>"}
    made = cell_with(kind="display_data", data=faces)
    assert outputs.clean(made, tmp_path) == [] and list(made.cells[0].outputs[0].data) == ["text/html"]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"name": "stderr", "text": "UserWarning: deprecated\n"}, "text on stderr: UserWarning"),
        ({"name": "stdout", "text": "in /home/someone/course/x.png\n"}, "a path of this machine: /home/someone"),
        ({"name": "stdout", "text": "in C:\\Users\\someone\\x\n"}, "a path of this machine: C:"),
        ({"name": "stdout", "text": "<torch.Generator object at 0x7f12ab34cd56>\n"}, "an object's address"),
        ({"name": "stdout", "text": "10%\r20%\n"}, "a progress bar"),
        ({"kind": "error", "ename": "ValueError", "evalue": "no", "traceback": []}, "ValueError: no"),
        ({"kind": "display_data", "data": {"image/png": "AA=="}}, "without alternative text"),
        (
            {"kind": "display_data", "data": {"text/html": "<a href='/tmp/x.png'>x</a>"}},
            "a path of this machine: /tmp/x.png",
        ),
    ],
)
def test_what_cleaning_cannot_mend_it_names(tmp_path, output, words):
    problems = outputs.clean(cell_with(**output), tmp_path / "elsewhere")
    assert any(words in problem and problem.startswith("cell 1") for problem in problems), problems


@pytest.mark.parametrize(
    "text",
    ["see https://www.cs.toronto.edu/home/x.html", "3/4 of them", "either/or", "runs/quick/x", "5 s", "12/345"],
)
def test_ordinary_text_is_left_alone(tmp_path, text):
    made = cell_with(name="stdout", text=text)
    assert outputs.clean(made, tmp_path) == [] and made.cells[0].outputs[0].text == text


# ----------------------------------------------------------------------------------------------------- refresh


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory):
    root = course(
        tmp_path_factory.mktemp("refresh") / "small", _01_first=["print('hello')", FIGURE], _02_second=["print(2)"]
    )
    (root / "README.md").write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n", encoding="utf-8")
    stale = root / "notebooks" / "reference" / "quick" / "09_gone"
    stale.mkdir(parents=True)
    (stale.parent.parent / "tolerances.json").write_text("[]", encoding="utf-8")
    plan = executed(root)
    refresh.refresh(root, plan)
    return root, plan


def test_refresh_makes_the_committed_notebooks_and_leaves_the_run_current(refreshed):
    root, plan = refreshed
    made = nbformat.read(root / "notebooks" / "01_first.ipynb", as_version=4)
    assert made.cells[2].outputs[0].text == "hello\n"
    assert made.cells[3].metadata["mystnb"]["image"]["alt"] == "A single grey pixel, which shows nothing"
    assert [cell.execution_count for cell in made.cells if cell.cell_type == "code"] == [1, 2, 3, 4]
    assert [cell.id for cell in made.cells] == ["c0", "c1", "c2", "c3", "c4"]
    assert "papermill" not in (root / "notebooks" / "01_first.ipynb").read_text(encoding="utf-8")
    assert execute.pending(plan) == []
    assert refresh.refresh(root, plan) == [root / "notebooks" / "reference" / "quick" / "summary.json"]


def test_refresh_makes_the_reference_and_keeps_the_tolerances(refreshed):
    root, _ = refreshed
    reference = root / "notebooks" / "reference"
    assert runs.read_json(reference / "quick" / "01_first" / "metrics.json")["cnn_best.test.accuracy"] == 0.5
    assert runs.read_json(reference / "quick" / "02_second" / "claims.json")[0]["verdict"] == "confirmed"
    entry = runs.read_json(reference / "quick" / "summary.json")["chapters"]["01_first"]
    assert entry["parameters"]["epochs"] == 2 and isinstance(entry["fingerprint"], str) and "finished" not in entry
    assert not (reference / "quick" / "09_gone").exists() and (reference / "tolerances.json").exists()


def test_refresh_writes_the_tables(refreshed):
    root, _ = refreshed
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("before\n") and readme.endswith("after\n") and "old" not in readme
    assert "](notebooks/01_first.ipynb)" in readme and "50.0%" in readme and "1 confirmed" in readme
    assert "](../notebooks/01_first.ipynb)" in (root / "book" / "_generated" / "chapters.md").read_text(
        encoding="utf-8"
    )


def test_refresh_of_one_chapter_leaves_the_others_as_they_are(tmp_path):
    root = course(tmp_path / "small", _01_first=["print('fine')"], _02_second=["print('fine')"])
    refresh.refresh(root, executed(root))
    summary = root / "notebooks" / "reference" / "quick" / "summary.json"
    before = runs.read_json(summary)["chapters"]
    other = (root / "notebooks" / "02_second.ipynb").read_bytes()
    text = (root / "notebooks" / "01_first.ipynb").read_text(encoding="utf-8")
    (root / "notebooks" / "01_first.ipynb").write_text(text.replace("'fine'", "'better'"), encoding="utf-8")
    refresh.refresh(root, executed(root, names=["01"]))
    after = runs.read_json(summary)["chapters"]
    assert list(after) == ["01_first", "02_second"] and after["02_second"] == before["02_second"]
    assert after["01_first"]["fingerprint"] != before["01_first"]["fingerprint"]
    assert (root / "notebooks" / "02_second.ipynb").read_bytes() == other
    assert (root / "notebooks" / "reference" / "quick" / "02_second" / "metrics.json").exists()


def test_refresh_replaces_nothing_when_one_output_is_unfit(tmp_path):
    root = course(
        tmp_path / "small", _01_first=["print('fine')"], _02_second=["import sys\nprint('noise', file=sys.stderr)"]
    )
    before = (root / "notebooks" / "01_first.ipynb").read_bytes()
    with pytest.raises(CourseError, match="02_second, cell 3: text on stderr: noise"):
        refresh.refresh(root, executed(root))
    assert (root / "notebooks" / "01_first.ipynb").read_bytes() == before
    assert not (root / "notebooks" / "reference").exists()


def test_refresh_of_another_profile_touches_no_notebook(tmp_path):
    root = course(tmp_path / "small", _01_first=["print('fine')"])
    (root / "notebooks" / "profiles").mkdir()
    (root / "notebooks" / "profiles" / "full.yml").write_text("01_first:\n  epochs: 9\n", encoding="utf-8")
    before = (root / "notebooks" / "01_first.ipynb").read_bytes()
    plan = execute.make_plan(root, profile="full")
    with pytest.raises(CourseError, match="Not current: 01_first"):
        refresh.refresh(root, plan)
    refresh.refresh(root, executed(root, profile="full"))
    assert (root / "notebooks" / "01_first.ipynb").read_bytes() == before
    assert runs.read_json(root / "notebooks" / "reference" / "full" / "01_first" / "metrics.json")["epochs"] == 9


# -------------------------------------------------------------------------------------------------------- book


def with_pages(root, text="# Small\n\nA page.\n"):
    (root / "_config.yml").write_text(CONFIG, encoding="utf-8")
    toc = (
        "format: jb-book\nroot: book/index\nchapters:\n  - file: notebooks/01_first\n  - file: notebooks/02_second\n"
    )
    (root / "_toc.yml").write_text(toc, encoding="utf-8")
    (root / "book").mkdir()
    (root / "book" / "index.md").write_text(text, encoding="utf-8")
    return root


def test_a_chapter_that_never_ran_or_failed_is_never_built_in(tmp_path):
    root = with_pages(course(tmp_path / "small", _01_first=["print(1)"], _02_second=["raise ValueError('no good')"]))
    plan = execute.make_plan(root)
    with pytest.raises(
        CourseError, match="01_first never ran\n  02_second never ran\nTo mend it: cifar-course run --profile quick"
    ):
        book.build(root, plan)
    with pytest.raises(CourseError):
        executed(root)
    with pytest.raises(CourseError, match="unfinished run:\n  02_second did not finish\n"):
        book.build(root, plan)
    assert not (root / "_build" / "html").exists()


def test_a_notebook_that_holds_an_error_is_refused_whatever_the_summary_says(tmp_path):
    root = with_pages(course(tmp_path / "small", _01_first=["print(1)"], _02_second=["print(2)"]))
    plan = executed(root)
    path = plan.folder / "02_second.ipynb"
    made = nbformat.read(path, as_version=4)
    made.cells[2].outputs = [new_output("error", ename="ValueError", evalue="no good", traceback=[])]
    nbformat.write(made, path)
    with pytest.raises(CourseError, match="02_second holds an error in cell 3: ValueError: no good"):
        book.build(root, plan)


@pytest.mark.slow
def test_a_book_is_built_from_the_runs_notebooks_and_again_only_where_they_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(book.vendor, "fetch", lambda folder: [])
    root = with_pages(
        course(tmp_path / "small", _01_first=["print('from the run')", FIGURE], _02_second=["print(2)"])
    )
    plan = executed(root)
    plan.say = print
    page = book.build(root, plan)
    first = root / "_build" / "html" / "notebooks" / "01_first.html"
    assert page == root / "_build" / "html" / "book" / "index.html" or page.is_file()
    text = first.read_text(encoding="utf-8")
    assert "from the run" in text and "A single grey pixel, which shows nothing" in text
    times = {path: path.stat().st_mtime_ns for path in (root / "_build" / "stage").rglob("*") if path.is_file()}
    before = first.stat().st_mtime_ns
    notebook(root / "notebooks" / "02_second.ipynb", "print('changed')")
    executed(root)
    book.build(root, plan)
    assert "changed" in (first.parent / "02_second.html").read_text(encoding="utf-8")
    assert first.stat().st_mtime_ns == before, "an unchanged page is not built again"
    touched = {path.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert touched <= {"02_second.ipynb", "chapters.md", "summary.json"}


@pytest.mark.slow
def test_a_warning_is_an_error_and_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(book.vendor, "fetch", lambda folder: [])
    root = with_pages(
        course(tmp_path / "small", _01_first=["print(1)"], _02_second=["print(2)"]), "# Small\n\n[gone](nowhere.md)\n"
    )
    with pytest.raises(CourseError, match=r"book/index.md.*nowhere"):
        book.build(root, executed(root))
    assert not (root / "_build" / "html").exists()


def test_committed_tables_are_those_of_the_reference():
    """README and book/_generated come from `refresh` and nothing else."""
    root = Path(__file__).resolve().parents[1]
    reference = root / "notebooks" / "reference" / "quick"
    if not (reference / "summary.json").is_file():
        pytest.skip("there is no quick reference yet")
    found = chapters.list_chapters(root)
    for name, text in tables.generated(root, reference, found).items():
        assert (root / "book" / "_generated" / name).read_text(encoding="utf-8") == text
    table = tables.chapter_table(root, reference, found, prefix="notebooks/")
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert tables.into_readme(readme, table) == readme and table in readme
