"""Where a run keeps its files, and how a notebook records numbers and writes them into its sentences."""

import difflib
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cifar_utils.training import History

PLACE_OF_A_NUMBER = re.compile(r"\{([A-Za-z_][\w.]*)(?::([^{}]*))?\}")


def write_whole(path: Path, content: bytes | str) -> Path:
    """Write a file whole or not at all: beside its place first, then renamed.

    Raises:
        OSError: the folder cannot be written or the disk is full; an older file stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return path


def write_json(path: Path, content: Any) -> Path:
    """Write JSON whole; numbers that are not finite are refused, since JSON has no word for them."""
    return write_whole(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a damaged one is a ValueError that names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); delete it and run the chapter again") from error


def project_root() -> Path:
    """Find the course's folder: the nearest one upward from here that holds `_toc.yml`; else the current folder."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "_toc.yml").exists()), here)


def runs_folder() -> Path:
    """Give the folder of the current run: `CIFAR_COURSE_RUN`, or `runs/interactive` in the course's folder."""
    setting = os.environ.get("CIFAR_COURSE_RUN")
    return Path(setting).absolute() if setting else project_root() / "runs" / "interactive"


def continuing() -> bool:
    """Tell whether finished parts of this run may be taken as they are.

    Only the runner says so, since it knows that nothing they depend on has changed; in JupyterLab a cell that is run
    again does its work again.
    """
    return os.environ.get("CIFAR_COURSE_CONTINUE") == "1"


def quiet(progress: bool) -> bool:
    """Tell whether a progress bar is to stay away: nobody asked for it, or `TQDM_DISABLE` says so for all."""
    return not progress or bool(os.environ.get("TQDM_DISABLE"))


def parameters_of(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Give a notebook's parameters: the names that it annotates (`epochs: int = 8`), with their present values."""
    names = namespace.get("__annotations__")
    if names is None:  # from Python 3.14 on annotations are made when they are asked for
        annotate = namespace.get("__annotate__")
        names = annotate(1) if annotate else {}
    return {name: namespace[name] for name in names if name in namespace}


class Text(str):
    """Markdown with the run's numbers, which notebooks and the book show rendered."""

    def _repr_markdown_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return str(self)


class Run:
    """One chapter's part of a run: its folder, parameters, metrics and histories."""

    def __init__(self, chapter: str, folder: Path, parameters: dict[str, Any]) -> None:
        self.chapter, self.folder, self.parameters = chapter, folder, parameters
        self.metrics: dict[str, float] = {}
        self.started = time.time()
        self._history: dict[tuple[str, int], Any] = {}
        self.weights: dict[str, Path | None] = {}  # of other chapters' models: where they were found
        self._inputs: dict[str, str | None] = {}
        folder.mkdir(parents=True, exist_ok=True)
        write_json(self.path("parameters.json"), parameters)

    def path(self, name: str) -> Path:
        """Give the place of a file of this chapter."""
        return self.folder / name

    def checkpoint(self, model: str) -> Path:
        """Give the place of a model's weights."""
        return self.folder / f"{model}.safetensors"

    def record(self, name: str, value: float | Mapping[str, float]) -> None:
        """Record `model.split.metric`, or every metric of a mapping under the prefix `model.split`.

        Raises:
            ValueError: the number is not finite.
        """
        if isinstance(value, Mapping):
            for metric, number in value.items():
                self.record(f"{name}.{metric}", number)
            return
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"the metric {name} is {number}; only finite numbers are recorded")
        self.metrics[name] = int(number) if number.is_integer() and not isinstance(value, float) else number

    def record_seeds(self, name: str, values: Sequence[float]) -> None:
        """Record the mean over seeds as `name`; with more than one value `.std` and the model's `.seeds` beside it."""
        self.record(name, float(mean(values)))
        if len(values) > 1:
            self.record(f"{name}.std", float(stdev(values)))
        self.record(f"{name.split('.')[0]}.seeds", len(values))

    def add_history(self, model: str, seed: int, history: "History") -> None:
        """Keep a training history; `history.csv` holds all of them: model, seed, epoch, split, metric, value."""
        table = history.table.copy()
        table.insert(0, "seed", seed)
        table.insert(0, "model", model)
        self._history[model, seed] = table
        import pandas as pd

        whole = pd.concat(self._history.values(), ignore_index=True)
        write_whole(self.path("history.csv"), whole.to_csv(index=False, lineterminator="\n"))

    def text(self, template: str, **numbers: Any) -> Text:
        """Fill numbers into Markdown: `{cnn_best.test.accuracy:.1%}` takes a metric, a parameter or a keyword.

        Raises:
            KeyError: there is no such number; the nearest names are listed.
        """
        known = {**self.parameters, **self.metrics, **numbers}

        def fill(place: re.Match[str]) -> str:
            name, form = place.group(1), place.group(2) or ""
            if name not in known:
                near = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.4)) or "nothing like it"
                raise KeyError(f"no number is called {name}; there is {near}")
            return format(known[name], form)

        return Text(PLACE_OF_A_NUMBER.sub(fill, template))

    def fold(self, summary: str, template: str, **numbers: Any) -> Text:
        """Give the same as `text`, folded under a line that the reader opens."""
        body = self.text(template, **numbers)
        return Text(f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>")

    def glance(self) -> Text:
        """Say how long the last measured quick and full runs of this chapter took."""
        parts = []
        for profile in ("quick", "full"):
            summary = project_root() / "notebooks" / "reference" / profile / "summary.json"
            chapters = read_json(summary).get("chapters", {}) if summary.exists() else {}
            seconds = chapters.get(self.chapter, {}).get("seconds")
            parts.append(f"{profile} run: " + ("not measured yet" if seconds is None else duration(seconds)))
        return Text(f"**Time** on two CPU cores, from the last measured runs: {'; '.join(parts)}.")

    def find_checkpoint(self, chapter: str, model: str) -> Path | None:
        """Find another chapter's weights: in this run first, then in the full, quick and interactive runs.

        Prints which file it took, and notes in `inputs.json` what it found and what it missed: the chapter is done
        again when one of these files changes or appears.
        """
        here = self.folder.parent
        others = [project_root() / "runs" / name for name in ("full", "quick", "interactive")]
        found = None
        for run in dict.fromkeys((here, *others)):
            path = run / chapter / f"{model}.safetensors"
            place = os.path.relpath(path, project_root()).replace(os.sep, "/")
            if path.exists():
                found = path
                self._inputs[place] = hashlib.sha256(path.read_bytes()).hexdigest()
                print(f"Weights of {model}: taken from {run.name}/{chapter}.")
                break
            self._inputs[place] = None
        write_json(self.path("inputs.json"), self._inputs)
        self.weights[model] = found
        if found is None:
            print(f"Weights of {model}: no run has any; train them here, or run {chapter} first.")
        return found


def duration(seconds: float) -> str:
    """Say a time as a person would: `45 s`, `3 min 20 s`, `1 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def start(chapter: str, namespace: Mapping[str, Any]) -> Run:
    """Begin a chapter's run; call it right after the parameters, with `globals()`."""
    return Run(chapter, runs_folder() / chapter, parameters_of(namespace))
