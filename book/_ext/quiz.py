"""Sphinx extension: the quiz of a chapter, from `book/quizzes/<chapter>.yml`, before the chapter's *Key points*.

The notebooks themselves hold no quiz, so that JupyterLab never shows a directive that it does not know. A quiz is a
list of questions:

    - question: What is the input of the network?
      answers:
        - {text: 3 numbers, why: That is one pixel., right: false}
        - {text: "3,072 numbers", why: 3 × 32 × 32., right: true}

`book/_static/quiz.js` makes it answer; without scripts each answer has a fold that says whether it is right, and why.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

KEY_POINTS = re.compile(r"^## Key points", re.MULTILINE)


def read(path: Path) -> list[dict[str, Any]]:
    """The questions of a quiz. Raises ValueError where one has not exactly one right answer, or no reason for each."""
    questions = yaml.safe_load(path.read_text(encoding="utf-8"))
    for number, question in enumerate(questions, start=1):
        answers = question["answers"]
        if len(answers) < 2 or sum(answer["right"] for answer in answers) != 1:
            raise ValueError(f"{path.name}, question {number}: two or more answers, and exactly one of them right")
        if not all(str(answer["text"]).strip() and str(answer["why"]).strip() for answer in answers):
            raise ValueError(f"{path.name}, question {number}: each answer needs a text and a why")
    return questions


class Quiz(SphinxDirective):
    """The questions of `book/quizzes/<argument>.yml`, as forms that need no network."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return HTML around the parsed texts, which may hold what any text of the book may hold."""
        self.path = quizzes(self.env) / f"{self.arguments[0]}.yml"
        self.env.note_dependency(str(self.path))
        try:
            questions = read(self.path)
        except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
            raise self.error(f"quiz {self.arguments[0]}: {error!r}") from error
        return [node for number, question in enumerate(questions, start=1) for node in self.question(number, question)]

    def question(self, number: int, question: dict[str, Any]) -> list[nodes.Node]:
        """A field set: the question, and an answer a row."""
        name = html.escape(f"{self.path.stem}-{number}")
        found = [markup('<fieldset class="quiz"><legend>'), self.inline(question["question"]), markup("</legend>")]
        for answer in question["answers"]:
            word, mark = ("Right.", " data-right") if answer["right"] else ("Wrong.", "")
            found += [
                markup(f'<div class="quiz-answer"><label><input type="radio" name="{name}"{mark}> '),
                self.inline(answer["text"]),
                markup('</label><details><summary>Right or wrong?</summary><div class="quiz-why">'),
                *self.parse(f"**{word}** {answer['why']}"),
                markup("</div></details></div>"),
            ]
        return [*found, markup("</fieldset>")]

    def parse(self, text: Any) -> list[nodes.Node]:
        """The blocks of a Markdown text."""
        around = nodes.container()
        self.state.nested_parse(StringList(str(text).splitlines(), str(self.path)), 0, around)
        return list(around.children)

    def inline(self, text: Any) -> nodes.Node:
        """A Markdown text of one paragraph, for a place where HTML allows no block."""
        return nodes.inline("", "", *(child for block in self.parse(text) for child in block.children))


def markup(text: str) -> nodes.raw:
    """HTML that is taken as it is."""
    return nodes.raw("", text, format="html")


def quizzes(env: BuildEnvironment) -> Path:
    """Where the quizzes lie."""
    return Path(env.srcdir) / "book" / "quizzes"


def add_to_chapter(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the quiz of a notebook, where it has one, before its key points, or else at its end."""
    name = Path(page).name
    if not str(app.env.doc2path(page)).endswith(".ipynb") or not (quizzes(app.env) / f"{name}.yml").is_file():
        return
    notebook = json.loads(source[0])
    section = f"## Quiz\n\n```{{quiz}} {name}\n```\n\n"
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and KEY_POINTS.search(text):
            cell["source"] = KEY_POINTS.sub(lambda found: section + found[0], text, count=1)
            break
    else:
        notebook["cells"].append({"cell_type": "markdown", "id": "quiz", "metadata": {}, "source": section})
    source[0] = json.dumps(notebook)


def newly_quizzed(app: Sphinx, env: BuildEnvironment, *others: set[str]) -> list[str]:
    """The chapters that have a quiz now and had none when they were read: they are read again."""
    found = {path.stem for path in quizzes(env).glob("*.yml")}
    had = {page for page, files in env.dependencies.items() if any("quizzes" in Path(file).parts for file in files)}
    return [page for page in env.found_docs - had if Path(page).name in found]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, and the hook that gives each chapter its quiz."""
    app.add_directive("quiz", Quiz)
    app.connect("source-read", add_to_chapter)
    app.connect("env-get-outdated", newly_quizzed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
