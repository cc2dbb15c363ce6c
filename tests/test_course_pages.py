import ast
import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

from cifar_utils import runs
from cifar_utils.course import api, pages
from cifar_utils.course.project import CourseError

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
ROLE = re.compile(r"\{(metric|which-run|claim|measured|section)\}`([^`]+)`")


def claim(id, verdict, **rest):
    return {
        "id": id,
        "source": "TDSE-03",
        "says": f"says {id}",
        "measured": f"{verdict} it is",
        "verdict": verdict,
        "guess": "",
        **rest,
    }


@pytest.fixture
def facts(tmp_path):
    """Two chapters with a quick and a full reference; a claim that only the full run tests."""
    reference = tmp_path / "notebooks" / "reference"
    accuracy = {"quick": 0.5, "full": 0.75}
    for profile, value in accuracy.items():
        runs.write_json(
            reference / profile / "summary.json",
            {
                "versions": {"torch": "2.0"},
                "device": "cpu: some",
                "threads": 2,
                "precision": "bfloat16",
                "chapters": {"01_look": {"seconds": 61.0, "peak_memory_mb": 2048.0, "finished": "2026-01-02T03:04:05"}},
            },
        )
        runs.write_json(
            reference / profile / "01_look" / "metrics.json",
            {
                "linear.test.accuracy": value,
                "linear.train.accuracy": value + 0.05,
                "linear.parameters": 30730,
                "linear.seconds": 3.0,
                "linear.train_mflop_per_image": 0.12,
                "shared": 1,
                "unknown_model.test.accuracy": 0.9,
            },
        )
        runs.write_json(
            reference / profile / "01_look" / "claims.json",
            [claim("first", "not tested" if profile == "quick" else "confirmed"), claim("twice", "corrected")],
        )
        runs.write_json(reference / profile / "02_learn" / "metrics.json", {"linear.test.accuracy": 0.6, "shared": 1})
        runs.write_json(
            reference / profile / "02_learn" / "claims.json", [claim("twice", "refuted", source="Exercise 5")]
        )
    runs.write_json(reference / "quick" / "03_quick" / "metrics.json", {"linear.test.accuracy": 0.4})
    cells = {
        "01_look": ["# Look at it\n\ntext\n\n## Count\n\n```python\n# no heading\n```\n", "### Is it *really* so?"],
        "02_learn": ["# Learn\n\n## Count"],
        "03_quick": ['# Learn quickly\n\n## "Said by someone"'],
    }
    for name, sources in cells.items():
        content = {"cells": [{"cell_type": "markdown", "source": [source]} for source in sources]}
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text(json.dumps(content), encoding="utf-8")
    return pages.Facts(tmp_path)


# ------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("quick:01_look/linear.test.accuracy:.1%", "50.0%"),
        ("full:linear.parameters:,", "30,730"),
        ("full:shared", "1"),
        ("full:linear.train.accuracy - 01_look/linear.test.accuracy:points", "5.0"),
        ("full:01_look/linear.test.accuracy / 02_learn/linear.test.accuracy:.2f", "1.25"),
        ("full:05_later/anything.at.all:.3f", "not measured yet"),
        ("full:01_look/linear.test.accuracy - 05_later/x:.1f", "not measured yet"),
        ("best:01_look/linear.test.accuracy:.1%", "75.0%"),
        ("best:01_look/linear.test.accuracy - 03_quick/linear.test.accuracy:points", "10.0"),
        ("best:05_later/anything:.1%", "not measured yet"),
    ],
)
def test_a_number_is_found_by_its_name(facts, text, shown):
    assert facts.metric(text) == shown


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("full:linear.parametres:,", "Did you mean linear.parameters"),
        ("full:01_look/linear.test.acuracy:.1%", "Did you mean linear.test.accuracy"),
        ("ful:linear.parameters", "Did you mean full"),
        ("full:01look/linear.parameters", "is no chapter's name"),
        ("full:linear.test.accuracy:.1%", "say 01_look/linear.test.accuracy or 02_learn/linear.test.accuracy"),
        ("linear.parameters", "names no number"),
        ("full:linear.parameters + shared", "names no number"),
        ("full:linear.parameters:.1q", "cannot be shown as “.1q”"),
        ("best:linear.parameters:,", "An empty word is no chapter's name"),
    ],
)
def test_an_unknown_number_is_an_error_with_the_nearest_name(facts, text, words):
    with pytest.raises(CourseError, match=re.escape(words)):
        facts.metric(text)


def test_the_best_profile_is_the_full_one_where_it_has_run(facts):
    assert [facts.best_profile(*names) for names in (["01_look"], ["03_quick"], ["01_look", "03_quick"])] == [
        "full",
        "quick",
        "quick",
    ]
    with pytest.raises(CourseError, match="look is no chapter's name"):
        facts.best_profile("look")


# -------------------------------------------------------------------------------------------------------- claims


def test_the_full_run_decides_where_it_tests_and_the_quick_one_where_only_it_does(facts):
    first = facts.claim("first")
    assert (first.profile, first.shown, first.anchor) == ("full", "✔ confirmed", "claim-01-first")
    first.by_profile["full"], first.by_profile["quick"] = first.by_profile["quick"], first.by_profile["full"]
    assert (first.profile, first.verdict) == ("quick", "confirmed")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("frist", "Did you mean first"),
        ("twice", "say 01_look/twice or 02_learn/twice"),
        ("02_learn/first", "There is no claim 02_learn/first"),
        ("first = refuted", "first is confirmed, and this text was written for refuted"),
    ],
)
def test_a_claim_that_is_unknown_shared_or_decided_otherwise_is_an_error(facts, name, words):
    with pytest.raises(CourseError, match=re.escape(words)):
        facts.claim(name)


def test_a_claim_may_say_which_verdict_the_text_was_written_for(facts):
    assert facts.claim("02_learn/twice = refuted").claim["source"] == "Exercise 5"


def test_counts_add_up(facts):
    assert pages.counts(facts.claims) == {"confirmed": 1, "corrected": 1, "refuted": 1, "undecided": 0, "not tested": 0}
    table = pages.counts_table(facts)
    assert table.rows[-1] == ["**All**", "1", "1", "1", "–", "–", "3"]
    assert [int(row[-1]) for row in table.rows] == [0, 1, 0, 2, 0, 3]


def test_the_claims_table_shows_both_profiles_and_where_they_differ(facts):
    table = pages.claims_table(facts, "TDSE-03")
    assert table.rows[0][:4] == ["says first", "not tested it is (– not tested)", "confirmed it is", "**✔ confirmed**"]
    assert table.rows[1][1:3] == ["corrected it is", "the same"]
    del facts.claim("first").by_profile["full"]
    assert pages.claims_table(facts, "TDSE-03").rows[0][2] == "not run yet"
    assert table.anchors == ["claim-01-first", "claim-01-twice"]
    assert table.classes == ["claim verdict-confirmed", "claim verdict-corrected"]
    with pytest.raises(CourseError, match="Did you mean TDSE-03"):
        pages.claims_table(facts, "TDSE-3")


# -------------------------------------------------------------------------------------------------------- places


def test_a_section_is_found_and_a_chapter_to_come_is_no_error(facts):
    assert facts.place("01_look#Is it really so?").shown == "chapter 1, “Is it really so?”"
    assert facts.place("02_learn").shown == "chapter 2, Learn"
    assert facts.place('03_quick#"Said by someone"').shown == "chapter 3, “Said by someone”"
    assert facts.place("09_later#Anything").shown == "chapter 9, which is not written yet"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("01_look#Cuont", "Did you mean Count"),
        ("01_look#no heading", "has no section"),
        ("look", "Did you mean 01_look"),
    ],
)
def test_a_section_that_is_not_there_is_an_error(facts, target, words):
    with pytest.raises(CourseError, match=re.escape(words)):
        facts.place(target)


# -------------------------------------------------------------------------------------------------------- tables


def test_the_results_table_takes_the_models_that_have_a_name(facts):
    table = pages.results_table(facts, "01_look")
    assert table.rows == [["Softmax regression", "50.0 %<br>1 run", "75.0 %<br>1 run", "30,730", "0.120", "3 s", "3 s"]]
    assert pages.results_table(facts, "03_quick").head[1:3] == ["accuracy, quick", "parameters"]
    assert pages.chapters_with_results(facts) == ["01_look", "02_learn", "03_quick"]
    assert pages.images_table(facts, "01_look") is None


def test_a_network_of_permuted_pixels_costs_what_its_twin_costs(facts):
    path = facts.folder / "full" / "02_learn" / "metrics.json"
    costs = {"mlp_best.parameters": 10, "mlp_best.train_mflop_per_image": 35.0004}
    runs.write_json(path, costs | {"mlp_best_permuted.test.accuracy": 0.5})
    assert pages.results_table(pages.Facts(facts.root), "02_learn").rows[-1][3:5] == ["10", "35.0"]


def test_models_that_give_images_back_have_a_table_of_their_own_in_the_order_of_their_sizes(facts):
    names = ("pca_1024", "pca_16", "ae_64_no_linear_path", "vae.x", "rate_9")
    others = {"vae.test.bits_per_dim": 5.0, "vae.test.bits_per_dim_png": 1.0, "vae.test.mse": 1.0}
    numbers = {f"{name}.test.bits_per_dim": 6.125 for name in names} | others
    runs.write_json(facts.folder / "full" / "06_vae" / "metrics.json", numbers)
    table = pages.images_table(pages.Facts(facts.root), "06_vae")
    assert table.head == ["Model", "bits a dimension, full<br>lower is better"]
    assert table.rows == [
        ["Autoencoder 64, no linear path", "6.12"],
        ["PCA 16", "6.12"],
        ["PCA 1,024", "6.12"],
        ["VAE", "5.00"],
    ]


def test_the_build_tables_say_what_the_runs_say(facts):
    rows = {row[0]: row[1:] for row in pages.machine_table(facts).rows}
    assert rows["device"] == ["cpu: some"] * 2 and rows["torch"] == ["2.0"] * 2
    assert rows["day of the run"] == ["2026-01-02"] * 2
    times = pages.times_table(facts)
    assert times.rows[0][1:] == ["1 min 1 s", "2.0 GB"] * 2 and times.rows[-1][1] == "**1 min 1 s**<br>1 of 1 chapters"


def test_the_figure_has_a_point_for_each_run_and_an_alternative_text(facts):
    figure = pages.accuracy_figure(facts)
    assert figure.count("<title>") == 5 and "Softmax regression, chapter 1, full run: 75.0%" in figure
    assert 'role="img"' in figure and len(re.search(r'aria-label="([^"]+)"', figure)[1]) > 60


def test_a_model_that_a_later_chapter_took_over_has_one_row_in_the_figure(facts):
    numbers = {"linear.test.accuracy": 0.5}
    runs.write_json(facts.folder / "quick" / "03_quick" / "metrics.json", numbers)
    figure = pages.accuracy_figure(pages.Facts(facts.root))
    assert "chapter 2" in figure and "chapter 3" not in figure


def test_a_run_stands_in_for_the_reference(tmp_path):
    runs.write_json(tmp_path / "summary.json", {"chapters": {}})
    runs.write_json(tmp_path / "01_look" / "metrics.json", {"a": 1})
    found = pages.run_as_reference(tmp_path, "quick", ["01_look", "02_learn"])
    assert {path.as_posix() for path in found} == {
        "notebooks/reference/quick/summary.json",
        "notebooks/reference/quick/01_look/metrics.json",
    }


# ----------------------------------------------------------------------------------------------------- reference


SOURCE = '''"""A module."""

def shown(count: int, *, name: str = "x") -> str:
    """Give a name.

    Raises:
        ValueError: there is none,
            or two.
    """

def _hidden():
    """Not shown."""

def bare():
    pass

class Broken(RuntimeError):
    """It broke."""

@dataclass
class Point:
    """A place."""

    x: float
    y: float = 0.0

    @property
    def length(self) -> float:
        """How far."""

    def moved(self, by: float) -> "Point":
        """Elsewhere."""
'''


def test_the_reference_holds_what_is_public_and_documented(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(SOURCE, encoding="utf-8")
    text, entries = api.read(path)
    assert text == "A module."
    assert [(e.kind, e.signature) for e in entries] == [
        ("function", "shown(count: int, *, name: str='x') -> str"),
        ("exception", "Broken"),
        ("class", "Point(x: float, y: float = 0.0)"),
    ]
    assert [(e.kind, e.signature) for e in entries[2].members] == [
        ("property", "length"),
        ("method", "moved(by: float) -> 'Point'"),
    ]
    assert "- `ValueError`: there is none,\n  or two." in entries[0].text
    markdown = api.markdown("some.module", path)
    assert "```````{py:function} shown" in markdown and "`````{py:method} moved" in markdown
    assert "_hidden" not in markdown and "bare" not in markdown


def test_every_public_module_of_the_package_can_be_read():
    found = api.modules(ROOT / "cifar_utils")
    assert "cifar_utils.data" in found and "cifar_utils.course.pages" in found
    assert not any("._" in name for name in found)
    assert all(api.read(path)[0] for path in found.values()), "every module says what it is"


# ---------------------------------------------------------------------------------------------- the book's pages


@pytest.fixture(scope="module")
def committed():
    return pages.Facts(ROOT)


def book_pages():
    return sorted(path for path in BOOK.rglob("*.md") if "_generated" not in path.parts)


def test_every_name_on_every_page_is_known(committed):
    """What the build would report, in a second and for all pages at once."""
    problems = []
    look = {
        "metric": committed.metric,
        "which-run": committed.best_profile,
        "claim": committed.claim,
        "measured": committed.claim,
        "section": lambda text: committed.place(re.sub(r"^.*<(.+)>$", r"\1", text, flags=re.DOTALL)),
    }
    for path in book_pages():
        for role, text in ROLE.findall(path.read_text(encoding="utf-8")):
            try:
                look[role](text)
            except CourseError as error:
                problems.append(f"{path.name}: {error}")
    assert not problems, "\n".join(problems)


def test_no_sentence_names_a_number_that_was_not_measured_yet(committed):
    """Only a table's cell may say so; the build reports the same."""
    missing = []
    for path in book_pages():
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("|")]
        names = [text for role, text in ROLE.findall("\n".join(lines)) if role == "metric"]
        missing += [f"{path.name}: {name}" for name in names if committed.metric(name) == pages.NOT_MEASURED]
    assert not missing, "\n".join(missing)


def test_every_source_document_has_its_page_in_the_book():
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    for name in pages.SHEETS.values():
        assert f"book/sheets/{name}" in toc and (BOOK / "sheets" / f"{name}.md").is_file()


HEADINGS = {  # what each document asks, in its own order; the words that the answer's heading keeps
    "exercise_4": """Objective, Task formalization, Inference, Training, CIFAR10 dataset, Data preparation,
        Data augmentation, Evaluation metrics, Loss functions, Selected loss, Possible architectures,
        Last layer activation, Other considerations, Training hyperparameters, Loss function graph,
        Discussion of the training process, Evaluation results, Discussion of the results, Design feedback loops,
        previous model, generalize well""",
    "exercise_5": """Objective, Task formalization, Evaluation metrics, Dataset description, Data preparation,
        Data augmentation, loss, Possible architectures, Last layer activation, Other considerations,
        Training hyperparameters, Loss function graph, Confusion matrices, Discussion of the results,
        Design feedback loops, previous model, generalize well""",
    "vae_exercise": """Objective, Task formalization, Inference, Training, Evaluation metrics, Data considerations,
        Model considerations, design feedback loops, previous model, generalize well""",
    "tdse_03": """Problem description, Dataset description, Architecture, Detailed specification,
        Architecture rationale, Experimental results, Baseline, kernel size, Interpretation, outperform, Inductive bias,
        not appropriate, Deployment, Built with""",
    "error_analysis": """Overview, Model selection, Data preprocessing, Model architecture, Training loop, Analysis,
        Data handling, Model convergence, Saving and visualizing, Importance of data preprocessing,
        Model architecture design, Debugging, Thoughts on results, Installation""",
}
QUESTIONS = [
    "How does the model solve the problem?",
    "Is there overfitting",
    "How can we improve the model?",
    "generalise to new data?",
]


@pytest.mark.parametrize("name", HEADINGS)
def test_every_section_of_a_document_is_answered(name):
    text = (BOOK / "sheets" / f"{name}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    for wanted in map(str.strip, HEADINGS[name].split(",")):
        place = next((n for n, heading in enumerate(headings) if wanted.lower() in heading.lower()), None)
        assert place is not None, f"no answer to {wanted}, at least not in the document's order"
        headings = headings[place:]
    if name in ("exercise_4", "exercise_5"):
        assert not [question for question in QUESTIONS if question not in text]


@pytest.mark.parametrize("name", HEADINGS)
def test_every_answer_points_to_what_shows_it(name):
    """A section without a link, a verdict or a reference onwards would be an opinion."""
    text = (BOOK / "sheets" / f"{name}.md").read_text(encoding="utf-8")
    for part in re.split(r"^#+ ", text, flags=re.MULTILINE)[2:]:
        heading, _, body = part.partition("\n")
        if body.strip() and heading != "Conclusions":
            assert re.search(r"\{(section|claim|cite|verdicts|if-chapter)\}|\]\(|below", body), f"{name}: {heading}"


# -------------------------------------------------------------------------------------------------- troubleshooting


def templates():
    """Every text of the code and of the notebooks' code cells: literal, or with holes for values."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "cifar_utils").rglob("*.py")]
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    found = []
    for source in sources:
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        found += [parts for node in ast.walk(tree) if (parts := literal_parts(node))]
    return found


def literal_parts(node):
    """The literal parts of a string, in order, with None for each value put in; None where it is no string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return [part.value if isinstance(part, ast.Constant) else None for part in node.values]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = literal_parts(node.left), literal_parts(node.right)
        return [*(left or [None]), *(right or [None])] if left or right else None
    return None


def says(parts, message):
    """Whether a text with holes can produce a message, or begins, or ends, with it."""
    known = [part for part in parts if part]
    if sum(map(len, known)) < 12:
        return False
    if any(message in part for part in known):
        return True
    pattern = "".join(".+?" if part is None else re.escape(part) for part in parts)
    if re.search(pattern, message):
        return True
    best = [part for part in known if part.strip() and part.strip() in message]  # the message is a part of a longer one
    return sum(map(len, best)) >= max(20, 0.6 * len(message))


def messages(section):
    text = (BOOK / "troubleshooting.md").read_text(encoding="utf-8")
    course, other = text.split("## What other programs say")
    return re.findall(r"^### `+ ?(.+?) ?`+$", course if section == "course" else other, re.MULTILINE)


def test_the_test_of_messages_tells_a_quoted_one_from_an_invented_one():
    parts = ["there is no checkpoint ", None, "; run the chapter first"]
    assert says(parts, "there is no checkpoint x/y; run the chapter first")
    assert not says(parts, "there is no such checkpoint; run it")
    assert not says([None, " is none."], "anything is none.")


def test_every_quoted_message_of_the_course_is_one_that_the_code_says():
    known = templates()
    quoted = messages("course")
    assert len(quoted) > 25 and len(messages("other")) >= 8
    invented = [message for message in quoted if not any(says(parts, message) for parts in known)]
    assert not invented, "\n".join(invented)


def test_every_entry_has_a_reason_and_a_cure():
    text = (BOOK / "troubleshooting.md").read_text(encoding="utf-8")
    for entry in text.split("\n### ")[1:]:
        assert "**Why.**" in entry and "**Cure.**" in entry, entry.splitlines()[0]


# -------------------------------------------------------------------------------------------------------- quizzes


@pytest.mark.parametrize("path", sorted((BOOK / "quizzes").glob("*.yml")), ids=lambda path: path.stem)
def test_a_quiz_has_five_questions_with_one_right_answer_and_a_reason_for_each(path):
    assert re.fullmatch(r"\d\d_\w+", path.stem)
    questions = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert len(questions) >= 5 and len({question["question"] for question in questions}) == len(questions)
    places = []
    for question in questions:
        assert set(question) == {"question", "answers"} and question["question"].strip().endswith((".", "?"))
        answers = question["answers"]
        assert 3 <= len(answers) <= 4 and len({answer["text"] for answer in answers}) == len(answers)
        assert [answer["right"] for answer in answers].count(True) == 1
        for answer in answers:
            assert set(answer) == {"text", "right", "why"} and isinstance(answer["right"], bool)
            assert len(answer["why"].split()) >= 5, f"an explanation that teaches: {answer['why']}"
            assert answer["why"].strip()[-1] in ".!?*"
        places.append([answer["right"] for answer in answers].index(True))
    assert len(set(places)) > 1, "the right answer is not always in the same place"


def test_every_chapter_has_a_quiz():
    chapters = {path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert chapters <= {path.stem for path in (BOOK / "quizzes").glob("*.yml")}


# ------------------------------------------------------------------------------------------------------- datasheet


def test_the_code_that_swaps_in_another_set_works(tmp_path, monkeypatch):
    """The datasheet's own lines, run on a small set in the files' format."""
    import numpy as np

    from cifar_utils.data import synthetic_shapes
    from cifar_utils.models import Linear

    shapes = synthetic_shapes(train_size=200, test_size=50)
    monkeypatch.chdir(tmp_path)
    np.save("cifar10.1_v6_data.npy", shapes.test.images.permute(0, 2, 3, 1).numpy())
    np.save("cifar10.1_v6_labels.npy", shapes.test.labels.numpy().astype(np.int32))
    blocks = re.findall(r"```python\n(.*?)```", (BOOK / "datasheet.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    names = {"model": Linear().eval(), "my_training_examples": shapes.train, "my_test_examples": shapes.test}
    exec(blocks[0].replace("evaluation.report", "result = evaluation.report"), names)
    assert 0.0 <= names["result"] <= 1.0
    exec(blocks[1].replace("8_000", "100").replace("2_000", "50"), names)
    assert (len(names["splits"].train), len(names["splits"].val), len(names["splits"].test)) == (100, 50, 50)


# -------------------------------------------------------------------------------------------------------- glossary


@pytest.fixture(scope="module")
def first_uses():
    specification = importlib.util.spec_from_file_location("first_uses", BOOK / "_ext" / "first_uses.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_first_use_of_a_term_is_found_and_no_other(first_uses):
    entries = "batch\n  x\n\nbatch normalisation\nSGD\n  y\n\nclass\n  z"
    terms = first_uses.read_terms(f"# G\n\n```{{glossary}}\n:sorted:\n\n{entries}\n```\n")
    assert terms == ["batch", "batch normalisation", "SGD"]
    names, done = {name.lower(): name for name in terms} | {name: name for name in terms}, set()
    pattern = first_uses.pattern_of(terms)
    cut = first_uses.pieces("Batches of a mini-batch; batch normalisation, batch, sgd, SGD.", pattern, names, done)
    assert [(text, term) for text, term in cut if term] == [
        ("Batches", "batch"),
        ("batch normalisation", "batch normalisation"),
        ("SGD", "SGD"),
    ]
    assert "".join(text for text, _ in cut) == "Batches of a mini-batch; batch normalisation, batch, sgd, SGD."
    assert first_uses.pieces("batch again", pattern, names, done) == [("batch again", "")]


def test_the_glossary_is_in_order_and_explains_each_term(first_uses):
    text = (BOOK / "glossary.md").read_text(encoding="utf-8")
    entries = re.split(r"\n\n(?=\S)", text.split(":sorted:\n\n")[1].split("\n```")[0])
    names = [entry.splitlines()[0] for entry in entries]
    first = [name.lower() for name in names]
    assert first == sorted(first) and len(set(first)) == len(first)
    assert all(re.search(r"\n  \S.*[.)]$", entry, re.DOTALL) for entry in entries)
    letters = dict(re.findall(r"\{term\}`([A-Z]) <([^>]+)>`", text))
    assert letters == {name[0].upper(): name for name in reversed(names)}, "each letter leads to its first term"
    used = "".join(path.read_text(encoding="utf-8") for path in book_pages())
    for word in re.findall(r"\{term\}`(?:[^<`]*<)?([^>`]+)>?`", used):
        assert re.search(rf"^{re.escape(word)}$", text, re.MULTILINE), word
