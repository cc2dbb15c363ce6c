"""Makes the committed state from a run: notebooks with outputs, reference, tables. Nothing else makes it."""

import shutil
from pathlib import Path
from typing import Any

from cifar_utils import runs
from cifar_utils.course import execute, fingerprint, outputs, setup_cell, tables
from cifar_utils.course.chapters import BUILT_IN_PROFILE, list_chapters
from cifar_utils.course.project import CourseError

_KEPT = ("versions", "device", "threads", "precision", "system", "commit", "profile")


def refresh(root: Path, plan: execute.Plan) -> list[Path]:
    """Write notebooks/*.ipynb (quick only), notebooks/reference/<profile>, README's table and book/_generated.

    Before all else, and without any run, the notebooks' set-up cells get the address that `_config.yml` says.

    A plan of some chapters replaces theirs and leaves the others as they are. Returns the files that changed. The run
    must be complete and current. Everything is prepared and checked first; raises CourseError, and replaces nothing,
    where an output holds an error, text on stderr, a path of this machine, or a figure without alternative text.
    """
    moved = write_address(root)
    unfinished = execute.pending(plan)
    if unfinished:
        raise CourseError(f"Not current: {', '.join(unfinished)}. First: cifar-course run --profile {plan.profile}")
    files: dict[Path, str] = {}
    if plan.profile == BUILT_IN_PROFILE:
        problems = []
        for chapter in plan.chapters:
            notebook = outputs.read(plan.folder / f"{chapter.name}.ipynb")
            problems += [f"{chapter.name}, {problem}" for problem in outputs.clean(notebook, root)]
            files[chapter.path] = outputs.text_of(notebook)
        if problems:
            raise CourseError("These outputs cannot be committed:\n  " + "\n  ".join(problems))
    reference = root / "notebooks" / "reference" / plan.profile
    for chapter in plan.chapters:
        for name in ("metrics.json", "claims.json"):
            source = plan.folder / chapter.name / name
            if source.is_file():
                files[reference / chapter.name / name] = source.read_text(encoding="utf-8")
    written = [path for path, text in files.items() if _replace(path, text)]
    exist = [chapter.name for chapter in list_chapters(root)]
    written += [runs.write_json(reference / "summary.json", _summary(plan, reference, exist))]
    for stale in reference.glob("[0-9][0-9]_*"):
        if stale.name not in exist:
            shutil.rmtree(stale)
    return moved + written + write_tables(root)


def write_address(root: Path) -> list[Path]:
    """Put the course's public address into the set-up cells of the committed notebooks; returns those that changed."""
    found = []
    for chapter in list_chapters(root):
        notebook = outputs.read(chapter.path)
        wanted = setup_cell.source(setup_cell.address(root))
        stale = [cell for cell in notebook.cells if setup_cell.is_setup(cell) and cell.source != wanted]
        for cell in stale:
            cell.source = wanted
        if stale:
            found.append(runs.write_whole(chapter.path, outputs.text_of(notebook)))
    return found


def write_tables(root: Path) -> list[Path]:
    """README's table and book/_generated, from the quick reference (and the full one's times)."""
    reference = root / "notebooks" / "reference" / BUILT_IN_PROFILE
    chapters = list_chapters(root)
    files = {
        root / "book" / "_generated" / name: text
        for name, text in tables.generated(root, reference, chapters).items()
    }
    readme = root / "README.md"
    if readme.is_file():
        table = tables.chapter_table(root, reference, chapters, prefix="notebooks/")
        files[readme] = tables.into_readme(readme.read_text(encoding="utf-8"), table)
    return [path for path, text in files.items() if _replace(path, text)]


def _replace(path: Path, text: str) -> bool:
    """Write a file whole, unless it holds that text already."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    runs.write_whole(path, text)
    return True


def _summary(plan: execute.Plan, reference: Path, exist: list[str]) -> dict[str, Any]:
    """The run's summary as the reference keeps it: fingerprints as one number, and days instead of times."""
    summary = execute.read_summary(plan.folder)
    before = execute.read_summary(reference)["chapters"]
    chapters = {name: before[name] for name in exist if name in before}
    for chapter in plan.chapters:
        entry = {key: value for key, value in summary["chapters"][chapter.name].items() if key != "finished"}
        day = str(summary["chapters"][chapter.name].get("finished", ""))[:10]
        chapters[chapter.name] = {
            **entry,
            "date": day,
            "fingerprint": fingerprint.short(entry["fingerprint"]),
            "code": fingerprint.code(chapter.path),
        }
    kept = {key: summary[key] for key in _KEPT if key in summary}
    return {**kept, "chapters": {name: chapters[name] for name in exist if name in chapters}}
