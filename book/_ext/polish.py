"""Sphinx extension: mends what the theme and other extensions make of a page."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

REPAIRS = {  # what a screen reader stumbles over
    '<summary aria-label="Toggle hidden content">': "<summary>",  # the label hides the fold's own words
    '<div role="list" class="citation-list">': '<div class="citation-list">',  # its children are no list items
    ' role="doc-biblioentry"': "",  # deprecated
}


def repair(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Mend the body of a page."""
    for wrong, right in REPAIRS.items():
        context["body"] = context.get("body", "").replace(wrong, right)


def launch_only_what_is_public(app: Sphinx, config: Config) -> None:
    """Show no button for Colab and Binder while the course has no public address: the theme would make an error."""
    if not config.html_theme_options.get("repository_url"):
        config.html_theme_options = {**config.html_theme_options, "launch_buttons": {}}


def always_write_one_page(app: Sphinx, *state: Any) -> list[str]:
    """Count the start page as changed: Sphinx copies style sheets and scripts only when it writes a page."""
    return [app.config.root_doc]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("config-inited", launch_only_what_is_public)
    app.connect("env-get-outdated", always_write_one_page)
    app.connect("html-page-context", repair)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
