"""The committed notebooks and the book made of them: complete, clean, and what a reader may see."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from cifar_utils.course import chapters, outputs

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def code_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def test_there_are_chapters():
    assert [path.stem for path in NOTEBOOKS[:3]] == ["01_data_exploration", "02_mlp", "03_cnn"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_was_run_in_order_from_a_fresh_kernel(path):
    assert [cell.execution_count for cell in code_cells(path)] == list(range(1, len(code_cells(path)) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_hold_nothing_that_must_not_be_published(path):
    """No error, no text on stderr, no path of a machine, no object's address, no figure without alternative text."""
    notebook = outputs.read(path)
    assert outputs.clean(notebook, ROOT) == []
    assert outputs.text_of(notebook) == outputs.text_of(outputs.read(path)), "cifar-course refresh would change it"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_alternative_texts_say_something_and_differ(path):
    texts = [cell.metadata["mystnb"]["image"]["alt"] for cell in code_cells(path) if "mystnb" in cell.metadata]
    assert min(map(len, texts)) >= 60
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_chapter_ends_by_comparing_itself_with_the_reference(path):
    assert code_cells(path)[-1].source.strip() == "regression.finish(run, ledger)"


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


class Images(HTMLParser):
    """Collects the alternative text of every image on a page."""

    def __init__(self):
        super().__init__()
        self.alts = []

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.alts.append(dict(attributes).get("alt") or "")


@pytest.mark.slow
def test_the_book_of_the_committed_notebooks_builds_without_a_warning(tmp_path):
    left_out = shutil.ignore_patterns(".venv", ".git", "_build", "runs", ".*_cache", "__pycache__", "*.egg-info")
    copy = tmp_path / "project"
    shutil.copytree(ROOT, copy, ignore=left_out)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()",
               "build", ".", "-W", "-n", "--keep-going"]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    built = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, "\n".join(re.findall(r".*WARNING.*", built.stdout + built.stderr))
    for path in NOTEBOOKS:
        page = Images()
        page.feed((copy / "_build" / "html" / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8"))
        figures = [cell for cell in code_cells(path) if "mystnb" in cell.metadata]
        described = [alt for alt in page.alts if len(alt) >= 60]
        assert len(described) == len(figures)
