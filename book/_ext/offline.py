"""Sphinx extension: the book loads the scripts of its diagrams and formulas from itself, not from another host.

`cifar_utils.course.vendor.fetch` puts the scripts into `_build/vendor`. Where that folder is found, in the source
folder or above it (the book is also built from a copy under `_build/stage`), it travels with the pages; where it
is not, the defaults of the extensions, which name a public host, stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sphinx_thebe
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinxcontrib import mermaid

MERMAID = "third_party/mermaid/mermaid.min.js"
MATHJAX = "third_party/mathjax/tex-svg-full.js"


def find_vendor(source: Path) -> Path | None:
    """The nearest `_build/vendor` of `source` or of a folder above it."""
    candidates = (folder / "_build" / "vendor" for folder in (source, *source.parents))
    return next((folder for folder in candidates if (folder / "third_party").is_dir()), None)


def place(app: Sphinx, config: Config) -> None:
    """Copy the scripts to the book's root and point MathJax at its copy."""
    vendor = find_vendor(Path(app.srcdir))
    if vendor is None:
        return
    # Not below _static: Jupyter Book loads every script from there on every page.
    config.html_extra_path = [*config.html_extra_path, str(vendor)]
    config.book_mermaid = (vendor / MERMAID).is_file()
    if (vendor / MATHJAX).is_file():
        config.mathjax_path = f"../{MATHJAX}"  # relative to _static


def add_mermaid(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Load Mermaid's classic script on pages with a diagram: an ES module does not load from file://."""
    if not app.config.book_mermaid:
        mermaid.install_js(app, page, template, context, doctree)
    elif doctree is not None and doctree.next_node(mermaid.mermaid):
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
    app.connect("html-page-context", add_mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
