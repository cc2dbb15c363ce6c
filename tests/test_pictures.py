"""The pictures and the print that the installed browser makes of a book."""

import re

import pytest
from PIL import Image

from cifar_utils.course import browser
from cifar_utils.course.project import CourseError

pytestmark = pytest.mark.slow
with_browser = pytest.mark.skipif(browser.find() is None, reason="no Chromium or Chrome is installed")


@pytest.fixture
def small(tmp_path):
    """A site of one page with a fold."""
    html = tmp_path / "site"
    (html / "book").mkdir(parents=True)
    style = "<style>html[data-theme=dark] { background: #000 } p { height: 3000px }</style>"
    text = "<details><summary>Fold</summary><p>inside</p></details><p>outside</p>"
    (html / "book" / "index.html").write_text(f"<!doctype html><title>x</title>{style}{text}", encoding="utf-8")
    return html


@with_browser
def test_pictures_show_each_page_light_dark_and_narrow_from_top_to_bottom(small, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "old.png").write_bytes(b"")
    taken = browser.photograph(small, tmp_path / "pictures")
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == sorted(path.name for path in taken)
    looks = ("light", "dark", "narrow")
    assert [path.stem for path in taken] == [f"book-index-{look}-0{part}" for look in looks for part in (1, 2)]
    light, _, dark, _, narrow, _ = (Image.open(path).convert("L") for path in taken)
    assert light.getpixel((600, 2000)) == 255 and dark.getpixel((600, 2000)) == 0
    assert light.width == browser.WIDE and narrow.width == browser.NARROW


@with_browser
def test_a_printed_book_has_its_folds_open(small, tmp_path):
    def sheets(pdf):
        return len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))

    folded = sheets(browser.print_pdf(small / "book" / "index.html", tmp_path / "book.pdf"))
    text = (small / "book" / "index.html").read_text(encoding="utf-8")
    (small / "book" / "index.html").write_text(text.replace("<p>inside</p>", ""), encoding="utf-8")
    assert folded > sheets(browser.print_pdf(small / "book" / "index.html", tmp_path / "less.pdf")) >= 2


def test_without_a_browser_the_reader_is_told(small, tmp_path, monkeypatch):
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    with pytest.raises(CourseError, match="install Chromium or Chrome"):
        browser.photograph(small, tmp_path / "pictures")
    with pytest.raises(CourseError, match="install Chromium or Chrome"):
        browser.print_pdf(small / "book" / "index.html", tmp_path / "book.pdf")
