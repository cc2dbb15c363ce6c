"""What the book's own Sphinx extensions do, on a book of two chapters."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from course_project import course, jupyter_book, warnings
from nbformat.v4 import new_markdown_cell

ROOT = Path(__file__).parents[1]
QUIZ = """
- question: How many colours has `{word}`?
  answers:
    - {{text: one, right: false, why: "Count: $1 < 3$."}}
    - {{text: three, right: true, why: Red and green and blue.}}
"""
INDEX = """# Small

An inline $x^2$.

```mermaid
flowchart LR
    A --> B
```

```{{chapter-figure}} {chapter}
:shows: {shows}
A caption.
```
"""
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path):
    """Two chapters under the course's own configuration and extensions; the first has a figure and key points."""
    root = course(tmp_path / "small", _01_first=["print(1)"], _02_second=["print(2)"])
    path = root / "notebooks" / "01_first.ipynb"
    made = nbformat.read(path, as_version=4)
    figure = nbformat.v4.new_output("display_data", data={"image/png": PIXEL})
    made.cells[2].update(outputs=[figure], metadata={"mystnb": {"image": {"alt": "a grey pixel of no importance"}}})
    made.cells.insert(3, new_markdown_cell("Before.\n\n## Key points\n\nAfter.", id="points"))
    nbformat.write(made, path)
    for folder in ("_ext", "_static"):
        shutil.copytree(ROOT / "book" / folder, root / "book" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "book" / "quizzes").mkdir()
    shutil.copy(ROOT / "_config.yml", root)
    (root / "book" / "references.bib").write_text("", encoding="utf-8")
    (root / "book" / "index.md").write_text(INDEX.format(chapter="01_first", shows="grey pixel"), encoding="utf-8")
    toc = "format: jb-book\nroot: book/index\nchapters: [file: notebooks/01_first, file: notebooks/02_second]\n"
    (root / "_toc.yml").write_text(toc, encoding="utf-8")
    return root


def build(project, **environment):
    built = jupyter_book(project, PYTHONPATH=str(ROOT), **environment)
    assert built.returncode == 0, warnings(built)
    return built.stdout


def page(project, name):
    return (project / "_build" / "html" / f"{name}.html").read_text(encoding="utf-8")


def test_without_npm_the_build_says_what_it_leaves_out_and_asks_no_other_host(project, tmp_path):
    said = build(project, PATH=str(tmp_path))
    assert "mermaid is left out (npm is not installed): the book shows its diagrams as text." in said
    assert "mathjax is left out (npm is not installed): the book shows its formulas as TeX." in said
    start = page(project, "book/index")
    assert r"\(x^2\)" in start and re.search(r'<pre[^>]*class="mermaid"[^>]*>\s*flowchart LR', start)
    for name in ("book/index", "notebooks/01_first", "search"):
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"([^\"]+)", page(project, name))
        assert loaded and not [address for address in loaded if re.match(r"(?:https?:)?//", address)]
    assert "a grey pixel of no importance" in start and "A caption." in start


def test_a_quiz_stands_before_the_key_points_and_a_new_or_changed_one_is_noticed(project):
    first = project / "book" / "quizzes" / "01_first.yml"
    first.write_text(QUIZ.format(word="red"), encoding="utf-8")
    build(project)
    text = page(project, "notebooks/01_first")
    marks = ("Before.", '<section id="quiz">', "data-right", '<section id="key-points">')
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places) and text.count("data-right") == 1
    assert '<span class="pre">red</span>' in text and "Red and green and blue." in text
    assert "fieldset" not in page(project, "notebooks/02_second")

    first.write_text(QUIZ.format(word="blue"), encoding="utf-8")
    (project / "book" / "quizzes" / "02_second.yml").write_text(QUIZ.format(word="green"), encoding="utf-8")
    build(project)
    assert '<span class="pre">blue</span>' in page(project, "notebooks/01_first")
    assert '<span class="pre">green</span>' in page(project, "notebooks/02_second")
    for path in (project / "notebooks").glob("*.ipynb"):
        assert "{quiz}" not in path.read_text(encoding="utf-8"), "JupyterLab would show the directive as it stands"


def test_a_style_sheet_that_alone_was_changed_is_taken_over(project):
    build(project)
    sheet = project / "book" / "_static" / "course.css"
    sheet.write_text("/* new */", encoding="utf-8")
    build(project)
    assert (project / "_build" / "html" / "_static" / "course.css").read_text(encoding="utf-8") == "/* new */"


@pytest.mark.parametrize(
    ("quiz", "words"),
    [
        (QUIZ.format(word="red").replace("right: true", "right: false"), "exactly one of them right"),
        (QUIZ.format(word="red").replace("Red and green and blue.", '""'), "needs a text and a why"),
        ("- question: What?\n", "answers"),
    ],
)
def test_a_quiz_that_cannot_be_answered_stops_the_build(project, quiz, words):
    (project / "book" / "quizzes" / "02_second.yml").write_text(quiz, encoding="utf-8")
    built = jupyter_book(project, PYTHONPATH=str(ROOT))
    assert built.returncode != 0 and words in warnings(built)


def test_a_figure_that_the_chapter_does_not_have_stops_the_build(project):
    text = INDEX.format(chapter="01_first", shows="an elephant")
    (project / "book" / "index.md").write_text(text, encoding="utf-8")
    built = jupyter_book(project, PYTHONPATH=str(ROOT))
    assert built.returncode != 0 and "01_first.ipynb has 0 figures" in warnings(built)


def test_colab_and_binder_are_offered_once_the_course_has_an_address_and_not_before(project):
    build(project)
    assert not re.search("colab|mybinder", page(project, "notebooks/01_first"), re.IGNORECASE)
    config = (project / "_config.yml").read_text(encoding="utf-8")
    changed = config.replace('repository_url: ""', "repository_url: https://github.com/someone/course")
    (project / "_config.yml").write_text(changed, encoding="utf-8")
    build(project)
    text = page(project, "notebooks/01_first")
    assert "https://colab.research.google.com/github/someone/course/blob/main/notebooks/01_first.ipynb" in text
    assert "https://mybinder.org/v2/gh/someone/course/main?urlpath=lab/tree/notebooks/01_first.ipynb" in text
    assert "colab" not in page(project, "book/index")


def test_a_number_that_was_not_measured_yet_may_stand_in_a_table_and_stops_the_build_in_a_sentence(project):
    page = project / "book" / "index.md"
    table = "| A | B |\n| :-- | --: |\n| one | {metric}`best:05_later/model.test.mse:.3f` |\n"
    page.write_text(f"# Small\n\n{table}", encoding="utf-8")
    build(project)
    page.write_text(f"# Small\n\n{table}\nIt is {{metric}}`best:05_later/model.test.mse:.3f`.\n", encoding="utf-8")
    built = jupyter_book(project, PYTHONPATH=str(ROOT))
    assert built.returncode != 0 and "A sentence names a number that was not measured yet" in warnings(built)
