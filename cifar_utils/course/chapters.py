"""The chapters: which there are, which parameters they take, and which values a run gives them."""

import ast
import json
import logging
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cifar_utils.course.project import CourseError, nearest

BUILT_IN_PROFILE = "quick"  # the notebooks' own defaults
_BOUNDS = re.compile(r"\[\s*([^\[\],]+?)\s*,\s*([^\[\],]+?)\s*\]\s*$")
_YES, _NO = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


@dataclass(frozen=True)
class Parameter:
    """One name of a notebook's parameters cell: its annotated type, default, comment and bounds."""

    name: str
    type_name: str
    default: Any
    help: str = ""
    low: float = -math.inf
    high: float = math.inf

    def parse(self, value: Any) -> Any:
        """The value that `value` (text of the command line, or a profile's value) stands for.

        Raises CourseError for the wrong type ("1e-3" for an int) and outside the bounds.
        """
        outer, _, inner = self.type_name.partition("[")
        if outer in ("list", "List", "tuple"):
            element = inner.rstrip("]").split(",")[0].strip() or "Any"
            parsed: Any = [self._one(item, element) for item in self._items(value)]
            numbers = parsed
        else:
            parsed = self._one(value, outer)
            numbers = [parsed]
        for number in numbers:
            if (
                isinstance(number, int | float)
                and not isinstance(number, bool)
                and not self.low <= number <= self.high
            ):
                raise CourseError(
                    f"{self.name} = {number} is out of range: it lies in [{self.low:g}, {self.high:g}]."
                )
        return parsed

    def _items(self, value: Any) -> list[Any]:
        if isinstance(value, str):
            text = value.strip()
            if text[:1] in ("[", "("):
                try:
                    value = ast.literal_eval(text)
                except (ValueError, SyntaxError) as error:
                    raise self._refusal(value, self.type_name) from error
            else:
                value = [part.strip() for part in text.split(",") if part.strip()]
        if not isinstance(value, list | tuple):
            raise self._refusal(value, self.type_name)
        return list(value)

    def _one(self, value: Any, kind: str) -> Any:
        text = value.strip() if isinstance(value, str) else None
        try:
            if kind == "bool":
                if isinstance(value, bool):
                    return value
                if text is not None and text.lower() in _YES | _NO:
                    return text.lower() in _YES
            elif kind == "int":
                if text is not None or (isinstance(value, int) and not isinstance(value, bool)):
                    return int(value)
            elif kind == "float":
                if text is not None or (isinstance(value, int | float) and not isinstance(value, bool)):
                    number = float(value)
                    if not math.isnan(number):
                        return number
            elif kind == "str":
                if isinstance(value, str):
                    return value
            else:  # not annotated with a type that can be checked: what the text reads as, or the text
                try:
                    return ast.literal_eval(text) if text is not None else value
                except (ValueError, SyntaxError):
                    return value
        except ValueError:
            pass
        raise self._refusal(value, kind)

    def _refusal(self, value: Any, kind: str) -> CourseError:
        shown = value if isinstance(value, str) else repr(value)
        return CourseError(f'{self.name} takes {_ARTICLE.get(kind, kind)}; "{shown}" is none.')


_ARTICLE = {
    "int": "an int (such as 3)",
    "float": "a float (such as 1e-3)",
    "bool": "a bool (true or false)",
    "str": "a str",
}


@dataclass(frozen=True)
class Chapter:
    """A notebook of the course."""

    name: str
    path: Path
    title: str
    parameters: dict[str, Parameter] = field(default_factory=dict)

    def defaults(self) -> dict[str, Any]:
        """The parameters' own values, which are the quick profile."""
        return {name: parameter.default for name, parameter in self.parameters.items()}


def list_chapters(root: Path) -> list[Chapter]:
    """Every `notebooks/NN_name.ipynb`, in order. Raises CourseError for a file that is none, or without any."""
    paths = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise CourseError("There is no chapter: notebooks/ holds no file named NN_name.ipynb.")
    return [_read(path) for path in paths]


def _read(path: Path) -> Chapter:
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found = papermill.inspect_notebook(str(path))
    except (ValueError, KeyError) as error:
        raise CourseError(f"notebooks/{path.name} is no notebook: {error}") from error
    first = next((cell["source"] for cell in cells if cell["cell_type"] == "markdown"), "")
    title = next((line for line in "".join(first).splitlines() if line.startswith("# ")), f"# {path.stem}")
    parameters = {name: _parameter(entry, path.name) for name, entry in found.items()}
    return Chapter(path.stem, path, title.removeprefix("# ").strip(), parameters)


def _parameter(entry: dict[str, str], where: str) -> Parameter:
    try:
        default = ast.literal_eval(entry["default"])
    except (ValueError, SyntaxError):
        raise CourseError(f"{where}: the default of {entry['name']} is no plain value: {entry['default']}") from None
    comment, bounds = entry["help"].strip(), (-math.inf, math.inf)
    match = _BOUNDS.search(comment)
    if match:
        try:
            bounds = (float(match[1]), float(match[2]))
            comment = comment[: match.start()].strip()
        except ValueError:
            pass  # brackets that hold no numbers belong to the comment
    kind = "".join(entry["inferred_type_name"].split())
    return Parameter(entry["name"], kind, default, comment, *bounds)


def select(chapters: list[Chapter], names: Iterable[str]) -> list[Chapter]:
    """The chapters named (`03_cnn`, `03_cnn.ipynb`, `3` or `03`), in the course's order; all without names."""
    wanted = set()
    for name in names:
        short = Path(name).name.removesuffix(".ipynb")
        match = [
            c.name
            for c in chapters
            if short == c.name or (short.isdigit() and c.name.startswith(f"{int(short):02d}_"))
        ]
        if not match:
            raise CourseError(f"There is no chapter {name}. {nearest(short, (c.name for c in chapters))}")
        wanted.update(match)
    return [chapter for chapter in chapters if chapter.name in wanted] if wanted else list(chapters)


def profile_names(root: Path) -> list[str]:
    """quick (the notebooks' defaults) and every `notebooks/profiles/<name>.yml`."""
    return sorted({BUILT_IN_PROFILE, *(path.stem for path in (root / "notebooks" / "profiles").glob("*.yml"))})


def load_profile(root: Path, profile: str) -> dict[str, dict[str, Any]]:
    """What a profile changes: chapter → parameter → value. Raises CourseError for an unknown or broken one."""
    import yaml

    if profile not in profile_names(root):
        raise CourseError(f"There is no profile {profile}. {nearest(profile, profile_names(root))}")
    path = root / "notebooks" / "profiles" / f"{profile}.yml"
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise CourseError(f"notebooks/profiles/{path.name} is no YAML: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(values, dict | None) for values in content.values()):
        raise CourseError(
            f"notebooks/profiles/{path.name} must hold chapters with their parameters (02_mlp: and below it epochs: 3)."
        )
    return {str(name): values or {} for name, values in content.items()}


def resolve(
    root: Path, chapters: list[Chapter], profile: str, overrides: Iterable[str] = ()
) -> dict[str, dict[str, Any]]:
    """What each chapter is given beside its defaults: the profile's values, then `name=value` and `chapter.name=value`.

    `chapters` are those that will run. Raises CourseError for a name that none of them has, with the nearest, for the
    wrong type and out of bounds: all before anything runs.
    """
    given: dict[str, dict[str, Any]] = {chapter.name: {} for chapter in chapters}
    everyone = {path.stem for path in (root / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    for name, values in load_profile(root, profile).items():
        source = f"notebooks/profiles/{profile}.yml"
        if name not in everyone:
            raise CourseError(f"{source} names a chapter {name}. {nearest(name, everyone)}")
        for chapter in chapters:
            for key, value in values.items() if chapter.name == name else ():
                if key not in chapter.parameters:
                    raise CourseError(f"{source}: {name} has no parameter {key}. {nearest(key, chapter.parameters)}")
                given[name][key] = chapter.parameters[key].parse(value)
    for override in overrides:
        left, equals, value = override.partition("=")
        if not equals:
            raise CourseError(f"-p takes name=value or chapter.name=value; {override} has no =.")
        prefix, _, key = left.strip().rpartition(".")
        scope = select(chapters, [prefix]) if prefix else chapters
        owners = [chapter for chapter in scope if key in chapter.parameters]
        if not owners:
            where = scope[0].name if len(scope) == 1 else "No chapter of this run"
            verb = "has no" if len(scope) == 1 else "has a"
            raise CourseError(
                f"{where} {verb} parameter {key}. {nearest(key, (n for c in scope for n in c.parameters))}"
            )
        for chapter in owners:
            given[chapter.name][key] = chapter.parameters[key].parse(value)
    return given
