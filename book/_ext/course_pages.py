"""Sphinx extension: roles and directives with which the book's pages show numbers, verdicts and tables of the runs.

| Markdown | shows |
| :-- | :-- |
| ``{metric}`quick:cnn_best.test.accuracy:.1%` `` | a number of a reference; two names may be joined by `-` or `/` |
| ``{metric}`best:03_cnn/cnn_best.test.accuracy:.1%` `` | the same, of the full run if there is one |
| ``{which-run}`03_cnn` `` | the words "full run" or "quick run": what `best` takes |
| ``{claim}`e5_test_accuracy` `` | a claim's verdict with its mark, linked to the claims page |
| ``{measured}`e5_test_accuracy` `` | what the deciding run measured |
| ``{section}`03_cnn#Filters` `` | a link to a section of a chapter; plain words where the chapter is not written yet |
| ``{if-chapter} 05_autoencoder`` | its content where the chapter exists, else an open word that it does not |
| ``{course} claims``, `counts`, `results`, `build`, `api` | the generated parts of those pages |
| ``{verdicts}`` | a table of the claims named in it, one a line; or of `:source:` and `:chapter:` |

An unknown name is a warning with the nearest name, and warnings fail the build; so is a sentence whose number was not
measured yet, which only a table's cell may say. The numbers are read from `notebooks/reference` below the source
folder; in a staging copy the run's own numbers lie there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import make_refnode

import cifar_utils
from cifar_utils.course import api, pages
from cifar_utils.course.project import CourseError

CLAIMS = "book/claims"
PACKAGE = Path(cifar_utils.__file__).parent
log = logging.getLogger(__name__)
_facts: dict[str, pages.Facts] = {}


def facts_of(env: BuildEnvironment) -> pages.Facts:
    """The numbers below the source folder, read once a build; the page that asks is built anew when they change."""
    facts = _facts.setdefault(str(env.srcdir), pages.Facts(Path(env.srcdir)))
    for path in (*facts.files, Path(pages.__file__), Path(api.__file__), Path(__file__)):
        env.note_dependency(str(path))
    return facts


class FactRole(SphinxRole):
    """A role whose text names something in a run."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            return [self.node(facts_of(self.env))], []
        except CourseError as error:
            log.warning("%s", error, location=self.get_location())
            return [nodes.literal(text=self.text)], []

    def node(self, facts: pages.Facts) -> nodes.Node:
        raise NotImplementedError


class Metric(FactRole):
    def node(self, facts: pages.Facts) -> nodes.Node:
        shown = facts.metric(self.text)
        return nodes.inline("", shown, classes=["not-measured"]) if shown == pages.NOT_MEASURED else nodes.Text(shown)


class WhichRun(FactRole):
    def node(self, facts: pages.Facts) -> nodes.Node:
        return nodes.Text(f"{facts.best_profile(self.text)} run")


def no_sentence_without_its_number(app: Sphinx, doctree: nodes.document) -> None:
    """Report a number that is missing outside a table."""
    for node in doctree.findall(lambda node: "not-measured" in getattr(node, "attributes", {}).get("classes", ())):
        above = node.parent
        while above is not None and not isinstance(above, nodes.entry):
            above = above.parent
        if above is None:
            log.warning("A sentence names a number that was not measured yet.", location=app.env.docname)


class Claim(FactRole):
    def node(self, facts: pages.Facts) -> nodes.Node:
        claim = facts.claim(self.text)
        name = claim.verdict.replace(" ", "-")
        content = nodes.inline("", claim.shown, classes=["verdict", f"verdict-{name}"])
        return course_link(self.env, CLAIMS, content, anchor=claim.anchor)


class Measured(FactRole):
    def node(self, facts: pages.Facts) -> nodes.Node:
        claim = facts.claim(self.text)
        return nodes.Text(f"{claim.claim['measured']} ({claim.profile} run)")


class Section(FactRole):
    def node(self, facts: pages.Facts) -> nodes.Node:
        match = re.fullmatch(r"(.+?)\s*<([^<>]+)>", self.text, re.DOTALL)
        place = facts.place(match[2] if match else self.text)
        if not place.title:
            return nodes.inline("", place.shown, classes=["not-written"])
        content = nodes.inline("", match[1] if match else place.shown)
        return course_link(self.env, f"notebooks/{place.chapter}", content, heading=place.heading)


def course_link(
    env: BuildEnvironment, page: str, content: nodes.Node, *, anchor: str = "", heading: str = ""
) -> nodes.Node:
    """A link to an anchor or a heading of another page, resolved when all pages have been read."""
    names = {"reftype": "course", "refdomain": "", "reftarget": page, "refdoc": env.docname, "refexplicit": True}
    return addnodes.pending_xref("", content, **names, anchor=anchor, heading=heading)


def resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Node) -> nodes.Node | None:
    """Turn a course link into a reference."""
    if node.get("reftype") != "course":
        return None
    page, anchor = node["reftarget"], node["anchor"]
    if page not in env.found_docs:
        log.warning("%s is not a page of this book", page, location=node)
        return content
    if node["heading"]:
        slugs = env.metadata[page].get("myst_slugs", {})
        found = [id for _, id, title in slugs.values() if title == node["heading"]]
        if not found:
            log.warning("%s has no section “%s”", page, node["heading"], location=node)
        anchor = found[0] if found else ""
    return make_refnode(app.builder, node["refdoc"], page, anchor, content)


class FactDirective(SphinxDirective):
    """A directive that shows something of a run; what it does not know is a warning."""

    def run(self) -> list[nodes.Node]:
        try:
            return self.content_of(facts_of(self.env))
        except CourseError as error:
            log.warning("%s", error, location=self.get_location())
            return []

    def content_of(self, facts: pages.Facts) -> list[nodes.Node]:
        raise NotImplementedError

    def table(self, table: pages.Table, *classes: str) -> nodes.Node:
        """A docutils table; its cells are read as Markdown."""
        made = nodes.table(classes=["course", *classes, *(["numeric"] if table.numeric else [])])
        group = nodes.tgroup(cols=len(table.head))
        group += [nodes.colspec(colwidth=1) for _ in table.head]
        head = nodes.thead()
        head += self.row(table.head)
        body = nodes.tbody()
        for cells, anchor, names in zip(table.rows, table.anchors, table.classes):
            row = self.row(cells)
            row["ids"], row["classes"] = [anchor] if anchor else [], names.split()
            body += row
        group += [head, body]
        made += group
        return made

    def section(self, title: str, *content: nodes.Node) -> nodes.section:
        """A section of the page, with a place in its contents."""
        made = nodes.section("", nodes.title("", title), *content, names=[nodes.fully_normalize_name(title)])
        self.state.document.note_implicit_target(made, made)
        return made

    def row(self, cells: list[str]) -> nodes.row:
        row = nodes.row()
        for cell in cells:
            entry = nodes.entry()
            for number, line in enumerate(cell.split("<br>")):
                entry += self.parse_text_to_nodes(line) if line else []
                if number:
                    entry[-1]["classes"].append("second-line")
            row += entry
        return row


class IfChapter(FactDirective):
    """Its content, where the chapter is there."""

    required_arguments, has_content = 1, True

    def content_of(self, facts: pages.Facts) -> list[nodes.Node]:
        place = facts.place(self.arguments[0])
        if place.title:
            return self.parse_content_to_nodes()
        text = f"Chapter {place.number} is not written yet, so the course has measured nothing here and says nothing."
        return [nodes.admonition("", nodes.title("", "Open"), nodes.paragraph("", text), classes=["not-written"])]


class Verdicts(FactDirective):
    """A small table of claims: those named in the content, or those of `:source:` in `:chapter:`."""

    has_content = True
    option_spec: ClassVar = {"source": directives.unchanged, "chapter": directives.unchanged}

    def content_of(self, facts: pages.Facts) -> list[nodes.Node]:
        if self.content:
            chosen = [facts.claim(line) for line in self.content if line.strip()]
        else:
            source, chapter = self.options.get("source"), self.options.get("chapter")
            chosen = [c for c in facts.claims if source in (None, c.claim["source"]) and chapter in (None, c.chapter)]
        table = pages.Table(["It says", "The course measured", "Run", "Verdict"])
        for claim in chosen:
            name = f"{claim.chapter}/{claim.id}"
            table.add(claim.claim["says"], claim.claim["measured"], claim.profile, f"{{claim}}`{name}`")
        if not chosen:
            return [nodes.paragraph("", "No run that tests these claims is stored yet.")]
        return [self.table(table, "verdicts")]


class Course(FactDirective):
    """The generated part of a page."""

    required_arguments = 1

    def content_of(self, facts: pages.Facts) -> list[nodes.Node]:
        parts = {
            "counts": self.counts,
            "claims": self.claims,
            "results": self.results,
            "build": self.build,
            "api": self.api,
        }
        name = self.arguments[0]
        if name not in parts:
            raise CourseError(f"There is no generated part {name}. {pages.nearest(name, parts)}")
        return parts[name](facts)

    def counts(self, facts: pages.Facts) -> list[nodes.Node]:
        return [self.table(pages.counts_table(facts), "counts")]

    def claims(self, facts: pages.Facts) -> list[nodes.Node]:
        made: list[nodes.Node] = [nodes.container(classes=["claims-filter"])]
        for source, sheet in pages.SHEETS.items():
            table = pages.claims_table(facts, source)
            text = f"Every section and question of it: [{source}, answered](/book/sheets/{sheet}.md)."
            if not table.rows:
                text += " No chapter that is written so far tests it."
            content = self.parse_text_to_nodes(text)
            made.append(self.section(source, *content, *([self.table(table, "claims")] if table.rows else [])))
        return made

    def results(self, facts: pages.Facts) -> list[nodes.Node]:
        made: list[nodes.Node] = [nodes.raw("", pages.accuracy_figure(facts), format="html")]
        for chapter in pages.chapters_with_results(facts):
            place = facts.place(chapter)
            content = self.parse_text_to_nodes(f"How and why: {{section}}`{chapter}`.")
            if results := pages.results_table(facts, chapter):
                content.append(self.table(results, "results"))
            if images := pages.images_table(facts, chapter):
                content += self.parse_text_to_nodes(pages.IMAGES[chapter][0])
                content.append(self.table(images, "results"))
            made.append(self.section(f"Chapter {place.number} · {place.title}", *content))
        return made

    def build(self, facts: pages.Facts) -> list[nodes.Node]:
        return [
            self.section("Time and memory", self.table(pages.times_table(facts))),
            self.section("Machine and versions", self.table(pages.machine_table(facts))),
        ]

    def api(self, facts: pages.Facts) -> list[nodes.Node]:
        made: list[nodes.Node] = []
        for name, path in api.modules(PACKAGE).items():
            self.env.note_dependency(str(path))
            text = api.markdown(name, path)
            if text:
                made.append(self.section(name, *self.parse_text_to_nodes(text)))
        for part in made:  # a type in a signature is text: it links nowhere, and nitpicking asks for no link
            for link in [x for x in part.findall(addnodes.pending_xref) if x.get("refdomain") == "py"]:
                link.replace_self(link.children)
        return made


def add_script(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Load the filter where there is something to filter."""
    if page == CLAIMS:
        app.add_js_file("claims.js")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register roles and directives."""
    _facts.clear()
    roles = {"metric": Metric, "which-run": WhichRun, "claim": Claim, "measured": Measured, "section": Section}
    for name, role in roles.items():
        app.add_role(name, role())
    for name, directive in (("if-chapter", IfChapter), ("verdicts", Verdicts), ("course", Course)):
        app.add_directive(name, directive)
    app.add_css_file("pages.css")
    app.connect("doctree-read", no_sentence_without_its_number)
    app.connect("missing-reference", resolve)
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
