"""Sphinx extension: the book asks no other host for anything.

`cifar_utils.course.vendor` fetches the scripts that draw diagrams and formulas into `_build/vendor`, from where they
travel with the pages. What could not be fetched is left out: a diagram stays text, a formula stays TeX.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sphinx_thebe
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.ext import mathjax
from sphinxcontrib import mermaid

from cifar_utils.course import vendor

MERMAID = "third_party/mermaid/mermaid.min.js"
MATHJAX = "third_party/mathjax/tex-svg-full.js"


def scripts(source: Path) -> Path:
    """The nearest `_build/vendor` of `source` or a folder above it (the book is also built from a copy below `_build`).

    Where there is none, it is made in `source`.
    """
    candidates = (folder / "_build" / "vendor" for folder in (source, *source.parents))
    found = next((folder for folder in candidates if (folder / "third_party").is_dir()), None)
    if found is None:
        found = source / "_build" / "vendor"
        vendor.fetch(found)
    return found


def place(app: Sphinx, config: Config) -> None:
    """Copy the scripts to the book's root and let the pages take them from there."""
    folder = scripts(Path(app.srcdir))
    # Not below _static: what is there may be loaded on every page.
    config.html_extra_path = [*config.html_extra_path, str(folder)]
    config.book_mermaid = (folder / MERMAID).is_file()
    if (folder / MATHJAX).is_file():
        config.mathjax_path = f"../{MATHJAX}"  # relative to _static
    else:
        silence(app, "html-page-context", mathjax.install_mathjax)


def everything_on_one_page(app: Sphinx) -> None:
    """Where the whole book is one page, to be printed, load the formulas' script: Sphinx asks each page by its name."""
    if app.builder.name == "singlehtml":
        app.set_html_assets_policy("always")


def add_mermaid(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Load Mermaid's classic script on pages with a diagram: an ES module does not load from file://."""
    if app.config.book_mermaid and doctree is not None and doctree.next_node(mermaid.mermaid):
        app.add_js_file(f"../{MERMAID}")
        app.add_js_file(None, body=(Path(__file__).parent / "diagrams.js").read_text(encoding="utf-8"))


def silence(app: Sphinx, event: str, handler: Any) -> None:
    """Take back what another extension connected to an event."""
    for listener in list(app.events.listeners[event]):
        if listener.handler is handler:
            app.disconnect(listener.id)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx: from here on this extension decides which scripts a page loads."""
    app.setup_extension("sphinxcontrib.mermaid")
    silence(app, "html-page-context", mermaid.install_js)
    # Jupyter Book loads Thebe (code cells that run on a public server), which the course does not use, and Sphinx
    # writes its constants into each page twice, which is an error in the browser.
    app.setup_extension("sphinx_thebe")
    silence(app, "env-before-read-docs", sphinx_thebe.init_thebe_core)
    silence(app, "doctree-resolved", sphinx_thebe.update_thebe_context)
    app.add_config_value("book_mermaid", False, "html", bool)
    app.connect("config-inited", place)
    app.connect("builder-inited", everything_on_one_page)
    app.connect("html-page-context", add_mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
