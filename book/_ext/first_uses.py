"""Sphinx extension: in each chapter, the first use of a glossary's term becomes a link to it.

The notebooks themselves stay plain text, so that JupyterLab shows no markup that it does not know. Words that usually
mean something else in running text are left alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

GLOSSARY = Path("book") / "glossary.md"
# "Python class", "unit variance", a notebook's kernel: words that usually mean something else in running text
AMBIGUOUS = (
    *("bias", "claim", "class", "feature", "inference", "kernel", "label", "metric", "neuron", "parameter"),
    *("precision", "profile", "split", "template", "unit", "variance", "verdict", "weight"),
)
LEFT_ALONE = (nodes.reference, nodes.literal, nodes.title, nodes.math, nodes.raw, nodes.strong, addnodes.pending_xref)


def read_terms(glossary: str) -> list[str]:
    """The terms of a glossary in MyST Markdown: the lines that begin in its first column."""
    inside = glossary.split("```{glossary}", 1)[1].split("\n```", 1)[0]
    return [line for line in re.findall(r"^(?![:\s])(.+)$", inside, re.MULTILINE) if line not in AMBIGUOUS]


def pattern_of(terms: list[str]) -> re.Pattern[str]:
    """What finds a term in running text, the longest first, also with a plural's ending; acronyms only in capitals."""
    words = sorted(terms, key=len, reverse=True)
    forms = [re.escape(word) if word.isupper() else f"(?i:{re.escape(word)})" for word in words]
    return re.compile(rf"(?<![\w-])({'|'.join(forms)})(?:s|es)?(?![\w-])")


def pieces(text: str, pattern: re.Pattern[str], terms: dict[str, str], done: set[str]) -> list[tuple[str, str]]:
    """A text cut at the terms that are not done yet: (text, term), with an empty term for all between."""
    found, start = [], 0
    for match in pattern.finditer(text):
        term = terms.get(match[1]) or terms[match[1].lower()]
        if term not in done:
            done.add(term)
            found += [(text[start : match.start()], ""), (match[0], term)]
            start = match.end()
    return [*found, (text[start:], "")]


def link(app: Sphinx, doctree: nodes.document) -> None:
    """Link the first uses in a chapter."""
    glossary = Path(app.srcdir) / GLOSSARY
    if not app.env.docname.startswith("notebooks/") or not glossary.is_file():
        return
    app.env.note_dependency(str(glossary))
    names = read_terms(glossary.read_text(encoding="utf-8"))
    terms, pattern = {name.lower(): name for name in names} | {name: name for name in names}, pattern_of(names)
    done: set[str] = set()
    for paragraph in list(doctree.findall(nodes.paragraph)):
        for text in [node for node in paragraph.findall(nodes.Text) if not _inside(node, paragraph)]:
            cut = pieces(text.astext(), pattern, terms, done)
            if len(cut) > 1:
                text.parent.replace(text, [_node(piece, term, app.env.docname) for piece, term in cut if piece])


def _inside(node: nodes.Node, paragraph: nodes.Node) -> bool:
    while node is not paragraph:
        node = node.parent
        if isinstance(node, LEFT_ALONE):
            return True
    return False


def _node(text: str, term: str, page: str) -> nodes.Node:
    if not term:
        return nodes.Text(text)
    content = nodes.inline("", text, classes=["xref", "std", "std-term"])
    names = {"refdomain": "std", "reftype": "term", "reftarget": term, "refdoc": page, "refexplicit": True}
    return addnodes.pending_xref(text, content, **names, refwarn=True, classes=["first-use"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("doctree-read", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
