"""The book in a real browser: the machine's own Chromium, driven by Playwright. Pictures of every page, and a PDF."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cifar_utils.course.project import CourseError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
WIDE, NARROW = 1280, 390  # pixels: a laptop and a phone
_SLICE = 2400  # pixels of height: a picture that can be looked at whole
_DRAWN = """async () => {
  await window.MathJax?.startup?.promise;
  await window.diagramsDrawn;
  await Promise.all([...document.images].map((image) => {
    image.loading = "eager";
    return image.decode().catch(() => {});
  }));
}"""
_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
_THEME = "theme => { document.documentElement.dataset.theme = document.documentElement.dataset.mode = theme }"


def find() -> str | None:
    """The first Chromium-like browser that is installed, or None."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser without a window. Raises CourseError where none is installed; none is ever downloaded."""
    program = find()
    if program is None:
        raise CourseError("This needs a browser: install Chromium or Chrome, so that one of its commands is found.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server, on this machine only, of the files in `folder`."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def pages(html: Path) -> list[str]:
    """Every page of a built book, as paths below `html`; the first is the start page."""
    found = (path.relative_to(html).as_posix() for path in html.rglob("*.html") if "_static" not in path.parts)
    return sorted(set(found) - {"index.html"}, key=lambda name: (name != "book/index.html", name))


def wait_until_drawn(page: Page) -> None:
    """Wait for formulas, diagrams and images."""
    page.evaluate(_DRAWN)


def show_in(page: Page, theme: str, width: int) -> None:
    """Show an open page in `theme`, light or dark, at `width` pixels."""
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(_THEME, theme)


def photograph(html: Path, folder: Path) -> list[Path]:
    """Photograph every page, light, dark and on a phone, in slices from top to bottom. Replaces what `folder` holds."""
    taken: list[Path] = []
    with chromium() as browser, served(html) as address:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        page = browser.new_page()
        for name in pages(html):
            page.goto(f"{address}/{name}")
            page.add_style_tag(content="* { animation: none !important; transition: none !important }")
            wait_until_drawn(page)
            for theme, width, word in (("light", WIDE, "light"), ("dark", WIDE, "dark"), ("light", NARROW, "narrow")):
                show_in(page, theme, width)
                page.set_viewport_size({"width": width, "height": _SLICE})
                height = page.evaluate("document.documentElement.scrollHeight")
                for number, top in enumerate(range(0, height, _SLICE), start=1):
                    page.evaluate("top => window.scrollTo({top, behavior: 'instant'})", top)
                    page.evaluate(_FRAMES)  # else a new theme or place may be half painted
                    path = folder / f"{name.removesuffix('.html').replace('/', '-')}-{word}-{number:02d}.png"
                    page.screenshot(path=path)
                    taken.append(path)
    return taken


def print_pdf(whole: Path, pdf: Path) -> Path:
    """Print a page, for instance the `whole` book as one, with all its folds open, on A4 with bookmarks."""
    with chromium() as browser, served(whole.parent) as address:
        page = browser.new_page()
        page.set_default_timeout(300_000)
        page.goto(f"{address}/{whole.name}")
        page.evaluate("document.querySelectorAll('details:not(.hide)').forEach(fold => { fold.open = true })")
        wait_until_drawn(page)
        page.pdf(
            path=pdf,
            format="A4",
            scale=0.8,
            margin={"top": "16mm", "bottom": "16mm", "left": "14mm", "right": "14mm"},
            outline=True,
            tagged=True,
        )
    return pdf
