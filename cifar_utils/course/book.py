"""Builds the book from a run's executed notebooks, by way of a staging copy: as pages, and as one PDF."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cifar_utils import runs
from cifar_utils.course import browser, execute, outputs, pages, tables, vendor
from cifar_utils.course.project import CourseError, relative

_FOLDERS = ("book",)
_LEFT_OUT = {"__pycache__", ".ipynb_checkpoints", "_generated"}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def check(root: Path, plan: execute.Plan) -> list[str]:
    """Why the run's notebooks cannot become a book: chapters that never ran, did not finish, or hold an error."""
    problems = []
    for chapter in plan.chapters:
        state, _ = execute.status(root, plan.folder, chapter, plan.given[chapter.name])
        notebook = plan.folder / f"{chapter.name}.ipynb"
        if state == "missing":
            problems.append(f"{chapter.name} never ran")
        elif state == "failed":
            problems.append(f"{chapter.name} did not finish")
        elif found := outputs.errors(outputs.read(notebook)):
            problems.append(f"{chapter.name} holds an error in {found[0]}")
        elif state == "changed":
            plan.say(f"{chapter.name} has changed since its run; the book shows the run.")
    return problems


def build(root: Path, plan: execute.Plan) -> Path:
    """Build the book of a run into `_build/html`, warnings as errors. Returns its first page.

    Raises CourseError where a chapter failed or never ran, or where the book has warnings: it lists them.
    """
    problems = check(root, plan)
    if problems:
        raise CourseError(
            "No book is built from an unfinished run:\n  "
            + "\n  ".join(problems)
            + f"\nTo mend it: cifar-course run --profile {plan.profile}"
        )
    stage = root / "_build" / "stage" / plan.profile
    _stage(root, plan, stage)
    vendor.fetch(root / "_build" / "vendor")
    plan.say("Building the book ...")
    made = _jupyter_book(root, stage, root / "_build" / "book" / plan.profile, builder="html")
    html = root / "_build" / "html"
    _mirror(made, html)
    shutil.rmtree(
        root / "_build" / ".doctrees", ignore_errors=True
    )  # a plain `jupyter-book build .` must not take these pages for its own
    return html / "index.html"


def build_pdf(root: Path, plan: execute.Plan) -> Path:
    """Print the book that `build` has just staged: all of it as one page, by the browser, into `_build/book.pdf`.

    Raises CourseError where no browser is installed, or where the book has warnings.
    """
    plan.say("Printing the book ...")
    stage = root / "_build" / "stage" / plan.profile
    made = _jupyter_book(root, stage, root / "_build" / "book" / f"{plan.profile}-pdf", builder="singlehtml")
    # Sphinx puts the one page where the start page is, but writes its paths as from the top folder.
    whole = Path(shutil.copy(made / "book" / "index.html", made / "whole.html"))
    return browser.print_pdf(whole, root / "_build" / "book.pdf")


def _jupyter_book(root: Path, stage: Path, work: Path, *, builder: str) -> Path:
    """Build what lies at `stage`, warnings as errors, into `work`, which no other builder uses; return its pages."""
    code = "from jupyter_book.cli.main import main; main()"
    words = ["build", str(stage), "--path-output", str(work), "--builder", builder, "-W", "-n", "--keep-going"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    answer = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    log = runs.write_whole(root / "_build" / f"book-{work.name}.log", _COLOURS.sub("", answer.stdout))
    if answer.returncode:
        lines = [line.replace(f"{stage}{os.sep}", "") for line in log.read_text(encoding="utf-8").splitlines()]
        said = [line for line in lines if re.search(r"WARNING|ERROR|CRITICAL", line)] or lines[-15:]
        raise CourseError(
            "The book has warnings:\n  " + "\n  ".join(said[:40]) + f"\nAll that was said: {relative(log, root)}"
        )
    return work / "_build" / builder


def _stage(root: Path, plan: execute.Plan, stage: Path) -> None:
    """Bring the staging copy up to date. Unchanged files stay untouched: Sphinx rebuilds only the rest."""
    wanted: dict[Path, bytes] = {}
    for path in root.glob("*"):
        if (path.is_file() and path.suffix in (".yml", ".md", ".cff", ".bib")) or path.name == "LICENSE":
            wanted[path.relative_to(root)] = path.read_bytes()
    for folder in _FOLDERS:
        for path in (root / folder).rglob("*"):
            if path.is_file() and not _LEFT_OUT & set(path.relative_to(root).parts):
                wanted[path.relative_to(root)] = path.read_bytes()
    for path in (root / "notebooks").rglob("*"):  # what a page may include or link to, besides the chapters
        if (
            path.is_file()
            and path.suffix in (".json", ".yml", ".png", ".svg")
            and ".ipynb_checkpoints" not in path.parts
        ):
            wanted[path.relative_to(root)] = path.read_bytes()
    for chapter in plan.chapters:
        notebook = outputs.read(plan.folder / f"{chapter.name}.ipynb")
        for problem in outputs.clean(notebook, root, keep_injected=True):
            plan.say(f"{chapter.name}: {problem}")
        wanted[Path("notebooks") / f"{chapter.name}.ipynb"] = outputs.text_of(notebook).encode()
    wanted.update(pages.run_as_reference(plan.folder, plan.profile, [chapter.name for chapter in plan.chapters]))
    for name, text in tables.generated(root, plan.folder, plan.chapters).items():
        wanted[Path("book") / "_generated" / name] = text.encode()
    for path, content in wanted.items():
        target = stage / path
        if not target.is_file() or target.read_bytes() != content:
            runs.write_whole(target, content)
    for target in stage.rglob("*"):
        if target.is_file() and target.relative_to(stage) not in wanted:
            target.unlink()


def _mirror(source: Path, target: Path) -> None:
    """Make `target` hold exactly the files of `source`; what is the same stays untouched."""
    wanted = {path.relative_to(source): path for path in source.rglob("*") if path.is_file()}
    for relative_path, path in wanted.items():
        there, mine = target / relative_path, path.stat()
        if there.is_file() and (there.stat().st_size, there.stat().st_mtime_ns) == (mine.st_size, mine.st_mtime_ns):
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, there)
    for there in [path for path in target.rglob("*") if path.is_file()]:
        if there.relative_to(target) not in wanted:
            there.unlink()
