"""The first code cell of every notebook: installs in Colab and Binder once the course has an address, nowhere else."""

import importlib.util
import json
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
from course_project import course
from packaging.requirements import Requirement

from cifar_utils.course import chapters, fingerprint, refresh, setup_cell

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
ADDRESS = "https://github.com/someone/course"
CONFIG = f"sphinx: {{config: {{html_theme_options: {{repository_url: {ADDRESS}/}}}}}}\n"


@pytest.fixture
def commands(monkeypatch):
    """What the cell would run; nothing is run."""
    asked = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: asked.append(command))
    monkeypatch.delenv("BINDER_REPO_URL", raising=False)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    return asked


def go_to(place, monkeypatch):
    if place == "Colab":
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    if place == "Binder":
        monkeypatch.setenv("BINDER_REPO_URL", ADDRESS)


def without_the_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize("place", ["at home", "Colab", "Binder"])
@pytest.mark.parametrize("address", ["", ADDRESS])
def test_where_the_package_is_installed_nothing_happens(place, address, commands, monkeypatch):
    go_to(place, monkeypatch)
    exec(setup_cell.source(address), {})
    assert commands == []


@pytest.mark.parametrize("place", ["Colab", "Binder"])
def test_in_colab_and_binder_the_package_is_installed_from_the_address(place, commands, monkeypatch):
    go_to(place, monkeypatch)
    without_the_package(monkeypatch)
    exec(setup_cell.source(ADDRESS), {})
    [[python, *words, package]] = commands
    assert (python, words) == (sys.executable, ["-m", "pip", "install", "--quiet"])
    name = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
    assert (Requirement(package).name, Requirement(package).url) == (name, f"git+{ADDRESS}")


@pytest.mark.parametrize(("place", "address"), [("at home", ADDRESS), ("at home", ""), ("Colab", ""), ("Binder", "")])
def test_elsewhere_and_without_an_address_the_reader_is_told(place, address, commands, monkeypatch):
    go_to(place, monkeypatch)
    without_the_package(monkeypatch)
    with pytest.raises(ModuleNotFoundError, match="pip install -e"):
        exec(setup_cell.source(address), {})
    assert commands == []


@pytest.mark.parametrize(("config", "address"), [
    (CONFIG, ADDRESS), (CONFIG.replace(f"{ADDRESS}/", '""'), ""), ("title: Small\n", ""), ("", ""), (None, "")])
def test_the_address_is_the_one_of_the_books_buttons(tmp_path, config, address):
    if config is not None:
        (tmp_path / "_config.yml").write_text(config, encoding="utf-8")
    assert setup_cell.address(tmp_path) == address


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_begins_with_the_cell_and_the_projects_address(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert [setup_cell.is_setup(cell) for cell in cells] == [number == 1 for number in range(len(cells))]
    assert "".join(cells[1]["source"]) == setup_cell.source(setup_cell.address(ROOT))


def test_a_new_address_reaches_the_cells_and_leaves_finished_runs_current(tmp_path):
    root = course(tmp_path / "small", _01_first=[setup_cell.source(""), "print(1)"], _02_second=["print(2)"])
    first, second = (chapter.path for chapter in chapters.list_chapters(root))
    before, untouched = fingerprint.fixed(root, first, {}), second.read_bytes()
    assert refresh.write_address(root) == []
    (root / "_config.yml").write_text(CONFIG, encoding="utf-8")
    assert refresh.write_address(root) == [first]
    assert ADDRESS in first.read_text(encoding="utf-8") and second.read_bytes() == untouched
    assert fingerprint.fixed(root, first, {}) == before
    assert refresh.write_address(root) == []
