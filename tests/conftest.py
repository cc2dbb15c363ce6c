"""What several test files share: the book of the committed notebooks, built once; a Gaussian, fitted once."""

import shutil
from pathlib import Path

import pytest
from course_project import jupyter_book, warnings

from cifar_utils import data
from cifar_utils.course import vendor
from cifar_utils.gaussian import PixelGaussian

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


@pytest.fixture(scope="session")
def shapes() -> data.Cifar10:
    """Images that the Gaussian is fitted to; a file with other needs makes its own."""
    return data.synthetic_shapes(train_size=400, test_size=100, seed=1)


@pytest.fixture(scope="session")
def gaussian(shapes) -> PixelGaussian:
    return PixelGaussian.fit(shapes.train.images)
