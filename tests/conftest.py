"""What several test files share: the book of the committed notebooks, built once."""

import shutil
from pathlib import Path

import pytest
from course_project import jupyter_book, warnings

from cifar_utils.course import vendor

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def built_book(tmp_path_factory) -> Path:
    """The pages of the book, built by plain Jupyter Book, warnings as errors, in a copy of the project."""
    vendor.fetch(ROOT / "_build" / "vendor")
    copy = tmp_path_factory.mktemp("book") / "project"
    left_out = shutil.ignore_patterns(".venv", ".git", "_build", "runs", ".*_cache", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=left_out)
    shutil.copytree(ROOT / "_build" / "vendor", copy / "_build" / "vendor")
    built = jupyter_book(copy, PYTHONPATH=str(copy))
    assert built.returncode == 0, warnings(built)
    return copy / "_build" / "html"
