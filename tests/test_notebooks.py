"""The committed notebooks and the book made of them: complete, clean, compared, and what a reader may see."""

import ast
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from cifar_utils import runs
from cifar_utils.course import chapters, checks, fingerprint, outputs

ALT = "A line that rises from left to right, said in enough words to be an alternative text."
COMPARED = 0.7  # at least this share of the cells with output is compared as text; raise it, never lower it
EXACTLY = 0.41  # and this share to the last character
LARGEST = 1_500_000  # bytes of a stored notebook
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def code_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def test_there_are_chapters():
    assert [path.stem for path in NOTEBOOKS[:3]] == ["01_data_exploration", "02_mlp", "03_cnn"]


def shows_a_figure(source):
    """Whether a cell itself calls `plotting.show`; a function that it only defines shows nothing yet."""
    statements = [line for line in ast.parse(source).body if not isinstance(line, ast.FunctionDef | ast.ClassDef)]
    return any(isinstance(call, ast.Call) and ast.unparse(call.func) == "plotting.show"
               for statement in statements for call in ast.walk(statement))


def stored_badly(path):
    """What a stored notebook must not have or lack: a list of complaints, empty where all is well."""
    complaints = []
    counts = [cell.execution_count for cell in code_cells(path)]
    if counts != list(range(1, len(counts) + 1)):
        complaints.append("not run in order from a fresh kernel, or stripped")
    for number, cell in enumerate(code_cells(path), start=1):
        pictures = sum("image/png" in output.get("data", {}) for output in cell.outputs)
        if shows_a_figure(cell.source) and pictures != 1:
            complaints.append(f"code cell {number} shows a figure and has none stored, or too many")
    if not any(cell.outputs for cell in code_cells(path)[-1:]):
        complaints.append("the last cell says nothing")
    notebook = outputs.read(path)
    complaints += outputs.clean(notebook, ROOT)
    if outputs.text_of(notebook) != outputs.text_of(outputs.read(path)):
        complaints.append("cifar-course refresh would change it")
    if path.stat().st_size > LARGEST:
        complaints.append(f"{path.stat().st_size / 1e6:.2f} MB are too many")
    return complaints


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_notebooks_are_whole_clean_and_small(path):
    """Run in order, nothing stripped; no error, stderr, path, object's address, figure without alternative text."""
    assert stored_badly(path) == []


def stored(folder):
    """A small notebook stored as a chapter is: a figure and a sentence."""
    picture = nbformat.v4.new_output("display_data", {"image/png": PIXEL, "text/plain": ALT},
                                     metadata={"image/png": {"alt": ALT}})
    said = nbformat.v4.new_output("stream", name="stdout", text="All is well.\n")
    cells = [nbformat.v4.new_code_cell(source, id=f"c{number}", execution_count=number, outputs=[output])
             for number, (source, output) in enumerate([("plotting.show(figure)", picture), ("finish()", said)], 1)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    outputs.clean(notebook, ROOT)
    return notebook, folder / "01_small.ipynb"


def strip(figure, last):
    figure.outputs, figure.execution_count = [], None


def lose_the_figure(figure, last):
    figure.outputs = []


def lose_the_sentence(figure, last):
    last.outputs = []


def count_wrongly(figure, last):
    last.execution_count = 7


def fail(figure, last):
    last.outputs.append(nbformat.v4.new_output("error", ename="ValueError", evalue="no good", traceback=[]))


def complain(figure, last):
    last.outputs.append(nbformat.v4.new_output("stream", name="stderr", text="UserWarning: old\n"))


def show_a_path(figure, last):
    last.outputs[0].text = "saved in /home/somebody/course/figure.png\n"


def forget_the_alternative_text(figure, last):
    figure.outputs[0].metadata = {}


def grow(figure, last):
    last.outputs[0].text = "long " * 400_000


@pytest.mark.parametrize(("harm", "complaint"), [
    (strip, "stripped"), (lose_the_figure, "has none stored"), (lose_the_sentence, "says nothing"),
    (count_wrongly, "in order"), (fail, "ValueError: no good"), (complain, "stderr"),
    (show_a_path, "a path of this machine: /home/somebody"), (forget_the_alternative_text, "alternative text"),
    (grow, "MB are too many")])
def test_every_kind_of_bad_notebook_is_noticed(tmp_path, harm, complaint):
    notebook, path = stored(tmp_path)
    nbformat.write(notebook, path)
    assert stored_badly(path) == []
    harm(*notebook.cells)
    nbformat.write(notebook, path)
    assert complaint in "; ".join(stored_badly(path))


def test_most_outputs_are_compared_as_text():
    found = checks.compared(NOTEBOOKS)
    print(found)
    assert found.exactly + found.in_words >= COMPARED * found.cells
    assert found.exactly >= EXACTLY * found.cells


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_only_known_tags_keep_a_cell_from_comparison(path):
    for cell in code_cells(path):
        tags = set(cell.metadata.get("tags", ()))
        assert not {tag for tag in tags if tag.startswith(("nbval", "compare"))} - {checks.IGNORED, checks.IN_WORDS}
        assert len(tags & {checks.IGNORED, checks.IN_WORDS}) < 2
    assert not {checks.IGNORED, checks.IN_WORDS} & set(code_cells(path)[-1].metadata.get("tags", ()))


def nbval_agrees(folder, source, output, tags):
    """What nbval, with the notebooks' own conftest, says of one cell: does the stored output agree with a new one?"""
    (folder / "conftest.py").write_bytes((ROOT / "notebooks" / "conftest.py").read_bytes())
    cell = nbformat.v4.new_code_cell(source, id="c", execution_count=1, outputs=[output], metadata={"tags": tags})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "one.ipynb")
    words = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "one.ipynb"]
    return subprocess.run(words, cwd=folder, capture_output=True, timeout=120).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("tags", "printed", "agrees"), [
    ([], "0.512 of them", False), (["compare-words"], "0.512 of them", True), ([], "0.498 of them", True),
    (["compare-words"], "0.498 of those", False), (["compare-words"], "0.498 of 3 of them", False),
    ([checks.IGNORED], "anything", True)])
def test_nbval_compares_what_the_tags_say(tmp_path, tags, printed, agrees):
    output = nbformat.v4.new_output("stream", name="stdout", text="0.498 of them\n")
    assert nbval_agrees(tmp_path, f"print({printed!r})", output, tags) == agrees


@pytest.mark.slow
@pytest.mark.parametrize(("tags", "alt", "agrees"), [
    ([], "a curve that ends at 0.6", False), (["compare-words"], "a curve that ends at 0.6", True),
    (["compare-words"], "a line that ends at 0.5", False)])
def test_nbval_compares_a_figures_alternative_text(tmp_path, tags, alt, agrees):
    stored = {"image/png": "iVBORw0KGgo=", "text/plain": "a curve that ends at 0.5"}
    new = {**stored, "image/png": "iVBORw0KGgA=", "text/plain": alt}
    source = f"from IPython.display import display\ndisplay({new!r}, raw=True)"
    assert nbval_agrees(tmp_path, source, nbformat.v4.new_output("display_data", stored), tags) == agrees


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_alternative_texts_say_something_and_differ(path):
    texts = [cell.metadata["mystnb"]["image"]["alt"] for cell in code_cells(path) if "mystnb" in cell.metadata]
    assert min(map(len, texts)) >= 60
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("place", [
    "/home/me/a.png", "/Users/me/a.png", "/tmp/a.png", "/mnt/a.png", r"C:\Users\me\a.png"])
@pytest.mark.parametrize("kind", ["text/plain", "text/markdown", "text/html"])
def test_a_path_of_any_system_is_noticed_in_any_kind_of_output(tmp_path, place, kind):
    notebook, path = stored(tmp_path)
    data = {"text/plain": "saved", kind: f"saved in {place} and shown"}
    notebook.cells[-1].outputs = [nbformat.v4.new_output("execute_result", data, execution_count=2)]
    nbformat.write(notebook, path)
    assert "a path of this machine" in "; ".join(stored_badly(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_those_of_the_code_beside_them(path):
    """A split, a variable or a column exchanged in a cell: then what stands below it was made by other code."""
    entry = runs.read_json(ROOT / "notebooks" / "reference" / "quick" / "summary.json")["chapters"][path.stem]
    assert entry["code"] == fingerprint.code(path), "run the chapter again, then cifar-course refresh"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks" / "reference").glob("*/*/metrics.json")),
                         ids=lambda path: "/".join(path.parts[-3:-1]))
def test_no_split_was_measured_under_anothers_name(path):
    """Two splits never give the very same loss."""
    metrics = runs.read_json(path)
    for name, value in metrics.items():
        if (kind := re.search(r"\.val\.(loss|mse|recon_nats)$", name)):
            others = [name.replace(".val.", f".{other}.") for other in ("train", "test")]
            assert all(metrics.get(other) != value for other in others), (name, kind[1])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_chapter_ends_by_comparing_itself_with_the_reference(path):
    assert code_cells(path)[-1].source.strip() == "regression.finish(run, ledger)"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_those_that_the_reference_was_measured_with(path):
    """Otherwise the last cell compares nothing: a changed setting has to be measured anew."""
    measured = runs.read_json(ROOT / "notebooks" / "reference" / "tolerances.json")["chapters"]
    defaults = chapters.select(chapters.list_chapters(ROOT), [path.stem])[0].defaults()
    assert path.stem not in measured or measured[path.stem]["parameters"] == defaults


def claims_of(path):
    """The calls `ledger.<kind>(id, source, says, …)` of a notebook whose texts are plain: kind, texts, next numbers."""
    for cell in code_cells(path):
        for call in ast.walk(ast.parse(cell.source)):
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("ledger.") and len(call.args) >= 3:
                texts = [getattr(argument, "value", None) for argument in call.args[:3]]
                if all(isinstance(text, str) for text in texts):
                    numbers = [getattr(argument, "value", None) for argument in call.args[3:5]]
                    yield call.func.attr, texts, [value for value in numbers if isinstance(value, int | float)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_claims_say_what_the_stored_run_was_asked(path):
    """A source's words are quoted once, here; whoever changes them has to run the chapter again."""
    stored = runs.read_json(ROOT / "notebooks" / "reference" / "quick" / path.stem / "claims.json")
    known = {claim["id"]: [claim["source"], claim["says"]] for claim in stored}
    for _, (name, *said), _ in claims_of(path):
        assert known.get(name) == said


def numbers_in(text):
    """The numbers that a sentence says, and their product: "60k", "43.03 %", "~5–7 points", "32x32 pixels, 3 …"."""
    found = []
    for digits, unit in re.findall(r"(\d[\d,]*(?:\.\d+)?)\s*(k\b|K\b|%|points)?", text.replace("ten ", "10 ")):
        found.append(float(digits.replace(",", "")) * {"k": 1000, "K": 1000, "%": 0.01}.get(unit, 1))
    if "points" in text or "%" in text:  # "62–63 %": the unit stands behind the last one only
        found = [value / 100 if value > 1 else value for value in found]
    return [*found, math.prod(found)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_claimed_numbers_are_those_of_the_claims_own_words(path):
    """The value that is put to the test is a number of the sentence beside it, give or take its rounding."""
    for kind, (name, _, says), numbers in claims_of(path):
        if kind == "count" and numbers:
            assert numbers[0] in numbers_in(says), name
        if kind == "value" and len(numbers) == 2:
            low, high = numbers
            inside = [value for value in numbers_in(says) if low <= value <= high]
            assert inside and high - low <= 1.5 * (max(inside) - min(inside)) + 0.011, name


@pytest.mark.parametrize(("chapter", "model", "prefix"), [
    ("02_mlp", "mlp_best", "best_"), ("03_cnn", "cnn_best", "best_"), ("03_cnn", "cnn_two_layer", "")])
def test_settings_are_those_that_did_best_on_validation(chapter, model, prefix):
    """The log of the search is what the chapters show; their parameters are its winner, for each profile searched."""
    log = pd.read_csv(ROOT / "notebooks" / "reference" / "recipes.csv")
    found = chapters.select(chapters.list_chapters(ROOT), [chapter])
    for profile, tries in log[log["model"] == model].groupby("profile"):
        parameters = found[0].defaults() | chapters.resolve(ROOT, found, profile)[chapter]
        best = tries.loc[tries["val_accuracy"].idxmax()]
        for name in ("epochs", "learning_rate", "dropout", "weight_decay", "shift", "batch_size", "pixels"):
            if prefix + name in parameters:
                assert parameters[prefix + name] == best[name], f"{model}, {profile}: {name}"


@pytest.mark.parametrize("optimizer", ["adamw", "nesterov", "muon"])
def test_each_optimiser_of_the_ladder_has_the_rate_that_did_best_on_validation(optimizer):
    log = pd.read_csv(ROOT / "notebooks" / "reference" / "recipes.csv")
    tries = log[log["model"] == f"ladder_{optimizer}"]
    parameters = chapters.select(chapters.list_chapters(ROOT), ["08_to_94_percent"])[0].defaults()
    best = tries.loc[tries["val_accuracy"].idxmax()]
    assert best["learning_rate"] == parameters[f"{optimizer}_rate"]
    assert min(tries["learning_rate"]) < best["learning_rate"] < max(tries["learning_rate"])  # no end of the range
    assert best["weight_decay"] == parameters[f"{optimizer}_decay"]
    for column, name in (("images", "ladder_images"), ("epochs", "ladder_epochs"), ("batch_size", "batch_size")):
        assert set(tries[column]) == {parameters[name]}


def test_the_full_recipe_of_chapter_8_is_the_one_that_did_best_on_validation():
    log = pd.read_csv(ROOT / "notebooks" / "reference" / "recipes.csv")
    tries = log[log["model"] == "ninety_four"]
    best = tries.loc[tries["val_accuracy_six_views"].idxmax()]
    found = chapters.select(chapters.list_chapters(ROOT), ["08_to_94_percent"])
    parameters = found[0].defaults() | chapters.resolve(ROOT, found, "full")["08_to_94_percent"]
    epochs, sizes = parameters["final_epochs"], parameters["final_sizes"]
    assert best["sizes"].split() == [str(sizes[min(epoch, len(sizes) - 1)]) for epoch in range(epochs)]
    for column, name in (("learning_rate", "muon_rate"), ("weight_decay", "muon_decay"), ("shift", "shift"),
                         ("batch_size", "final_batch_size"), ("images", "train_size")):
        assert set(tries[column]) == {parameters[name]}


class Images(HTMLParser):
    """Collects the alternative text of every image on a page."""

    def __init__(self):
        super().__init__()
        self.alts = []

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.alts.append(dict(attributes).get("alt") or "")


@pytest.mark.slow
def test_the_book_of_the_committed_notebooks_builds_without_a_warning(built_book):
    for path in NOTEBOOKS:
        page = Images()
        page.feed((built_book / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8"))
        figures = [cell for cell in code_cells(path) if "mystnb" in cell.metadata]
        described = [alt for alt in page.alts if len(alt) >= 60]
        assert len(described) == len(figures)
