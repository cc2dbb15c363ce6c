"""What the book's pages say about runs: numbers, verdicts, tables. Reads the reference; knows nothing of Sphinx.

`book/_ext/course_pages.py` turns these into roles and directives. A page names a number or a claim, never types it, and
a name that does not exist is an error that shows the nearest one.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from cifar_utils import runs
from cifar_utils.claims import MARKS, SOURCES, VERDICTS
from cifar_utils.course.project import CourseError, nearest
from cifar_utils.plotting import MODEL_COLOURS, MODEL_NAMES

PROFILES = ("quick", "full")  # shown side by side; the second one decides where it has run
NOT_MEASURED = "not measured yet"
SHEETS = {  # source → its page in book/sheets
    "Exercise 4": "exercise_4",
    "Exercise 5": "exercise_5",
    "VAE exercise": "vae_exercise",
    "TDSE-03": "tdse_03",
    "Error analysis": "error_analysis",
}
_REFERENCE = Path("notebooks") / "reference"
_METRIC = re.compile(r"(\w+):([^\s:]+)(?: ([-/]) ([^\s:]+))?(?::(.*))?")
_NOTEBOOK = re.compile(r"\d\d_\w+")


@dataclass(frozen=True)
class Decided:
    """A claim of a chapter, as each profile decided it."""

    chapter: str
    id: str
    by_profile: dict[str, dict[str, str]]

    @property
    def profile(self) -> str:
        """The profile whose verdict counts: full, where it tests the source's setting; else the first that does."""
        tested = [name for name, claim in self.by_profile.items() if claim["verdict"] != "not tested"]
        return next((name for name in reversed(PROFILES) if name in tested), next(iter(tested or self.by_profile)))

    @property
    def claim(self) -> dict[str, str]:
        """The claim as the deciding profile has it: source, says, measured, verdict, guess."""
        return self.by_profile[self.profile]

    @property
    def verdict(self) -> str:
        """One of `claims.VERDICTS`."""
        return self.claim["verdict"]

    @property
    def shown(self) -> str:
        """The verdict with its mark, such as `✔ confirmed`."""
        return f"{MARKS[self.verdict]} {self.verdict}"

    @property
    def anchor(self) -> str:
        """Where the claims page has it."""
        return f"claim-{self.chapter[:2]}-{re.sub(r'[^a-z0-9]+', '-', self.id.lower())}"


@dataclass(frozen=True)
class Place:
    """A chapter, or a section of it, that a page points to."""

    chapter: str
    number: int
    title: str = ""  # empty: the chapter is not written yet
    heading: str = ""

    @property
    def shown(self) -> str:
        """What a link to it says."""
        if not self.title:
            return f"chapter {self.number}, which is not written yet"
        heading = re.sub(r'^["“](.*)["”]$', r"\1", self.heading)  # a quotation as heading has its own quotes
        return f"chapter {self.number}, “{heading}”" if heading else f"chapter {self.number}, {self.title}"


def run_as_reference(folder: Path, profile: str, chapters: Iterable[str]) -> dict[Path, bytes]:
    """A run's numbers under the names that a reference has: for the staging copy, whose pages read the reference."""
    place = _REFERENCE / profile
    names = [Path("summary.json"), *(Path(c) / name for c in chapters for name in ("metrics.json", "claims.json"))]
    return {place / name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


class Facts:
    """The metrics, claims and summaries of every profile's reference, and the chapters' headings, below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / _REFERENCE

    @cached_property
    def files(self) -> list[Path]:
        """Every file that the pages depend on."""
        return [*sorted(self.folder.rglob("*.json")), *self._notebooks.values()]

    @cached_property
    def _notebooks(self) -> dict[str, Path]:
        return {path.stem: path for path in sorted((self.root / "notebooks").glob("[0-9][0-9]_*.ipynb"))}

    @cached_property
    def summaries(self) -> dict[str, dict[str, Any]]:
        """profile → summary; quick and full first."""
        found = {path.parent.name: runs.read_json(path) for path in sorted(self.folder.glob("*/summary.json"))}
        return {name: found[name] for name in [*PROFILES, *found] if name in found}

    @cached_property
    def metrics(self) -> dict[str, dict[str, dict[str, float]]]:
        """profile → chapter → metric → number."""
        return {profile: self._read(profile, "metrics.json") for profile in self.summaries}

    @cached_property
    def claims(self) -> list[Decided]:
        """Every claim, in the order of chapters and ledgers."""
        rows: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
        for profile in self.summaries:
            for chapter, claims in self._read(profile, "claims.json").items():
                for claim in claims if profile in PROFILES or not set(PROFILES) & self.summaries.keys() else ():
                    rows.setdefault((chapter, claim["id"]), {})[profile] = claim
        order = sorted(rows, key=lambda key: key[0])  # stable: a ledger's own order stays
        return [Decided(chapter, name, rows[chapter, name]) for chapter, name in order]

    def _read(self, profile: str, name: str) -> dict[str, Any]:
        return {path.parent.name: runs.read_json(path) for path in sorted((self.folder / profile).glob(f"*/{name}"))}

    @cached_property
    def headings(self) -> dict[str, list[str]]:
        """chapter → its title, then its headings of the second and third level, without markup."""
        return {name: list(_headings(path)) for name, path in self._notebooks.items()}

    def place(self, target: str) -> Place:
        """The place that `03_cnn` or `03_cnn#A heading` names.

        A chapter that is not there yet is a place without title. Raises CourseError for a heading that a chapter lacks,
        and for what is no chapter's name.
        """
        chapter, _, heading = (part.strip() for part in target.partition("#"))
        if not _NOTEBOOK.fullmatch(chapter):
            raise CourseError(f"{chapter} is no chapter's name. {nearest(chapter, self.headings)}")
        place = Place(chapter, int(chapter[:2]))
        if chapter not in self.headings:
            return place
        title, *headings = self.headings[chapter]
        if heading and heading not in headings:
            raise CourseError(f"{chapter} has no section “{heading}”. {nearest(heading, headings)}")
        return Place(chapter, place.number, title, heading)

    def claim(self, name: str) -> Decided:
        """The claim called `id`, or `chapter/id` where several chapters have that id.

        `id = refuted` says which verdict the text around it was written for. Raises CourseError for an unknown claim,
        with the nearest, for one that needs its chapter, and where the verdict is no longer the one written for.
        """
        name, _, written_for = (part.strip() for part in name.partition("="))
        chapter, _, id = name.rpartition("/")
        found = [c for c in self.claims if c.id == id and chapter in ("", c.chapter)]
        if not found:
            raise CourseError(f"There is no claim {name}. {nearest(id, (c.id for c in self.claims))}")
        if len(found) > 1:
            full = " or ".join(f"{claim.chapter}/{id}" for claim in found)
            raise CourseError(f"Several chapters have a claim {id}: say {full}.")
        if written_for not in ("", found[0].verdict):
            problem = f"{name} is {found[0].verdict}, and this text was written for {written_for}"
            raise CourseError(f"{problem}: write it anew.")
        return found[0]

    def metric(self, text: str) -> str:
        """The number that `profile:name:format` names, such as `quick:cnn_best.test.accuracy:.1%`.

        A name that several chapters have takes its chapter: `02_mlp/linear.test.accuracy`. Two names may be joined by
        ` - ` or ` / `. The format `points` shows 100 times the number, for differences of shares. The profile `best` is
        that of `best_profile`; its names take their chapters. A chapter that was not run yet gives `NOT_MEASURED`.
        Raises CourseError for an unknown name, with the nearest.
        """
        match = _METRIC.fullmatch(" ".join(text.split()))
        if match is None:
            raise CourseError(f"“{text}” names no number: write profile:name:format, or profile:name.")
        profile, first, operator, second, form = match.groups()
        if profile == "best":
            profile = self.best_profile(*(name.rpartition("/")[0] for name in (first, second) if name))
        left = self._number(profile, first)
        right = self._number(profile, second) if second else None
        if left is None or (second and right is None):
            return NOT_MEASURED
        value = left if right is None else left - right if operator == "-" else left / right
        try:
            return f"{100 * value:.1f}" if form == "points" else format(value, form or "")
        except ValueError as error:
            raise CourseError(f"{first} cannot be shown as “{form}”: {error}") from error

    def best_profile(self, *chapters: str) -> str:
        """The profile whose numbers say most about these chapters: full, where it ran them all; else quick.

        Raises CourseError for what is no chapter's name.
        """
        for chapter in chapters:
            if not _NOTEBOOK.fullmatch(chapter):
                raise CourseError(f"{chapter or 'An empty word'} is no chapter's name. Say for instance 02_mlp.")
        ran = (name for name in reversed(PROFILES) if all(c in self.metrics.get(name, {}) for c in chapters))
        return next(ran, PROFILES[0])

    def _number(self, profile: str, name: str) -> float | None:
        if profile not in PROFILES:
            raise CourseError(f"There is no profile {profile}. {nearest(profile, PROFILES)}")
        chapter, _, metric = name.rpartition("/")
        if chapter and not _NOTEBOOK.fullmatch(chapter):
            raise CourseError(f"{chapter} is no chapter's name. {nearest(chapter, self.headings)}")
        chapters = self.metrics.get(profile, {})
        if chapter:
            if chapter not in chapters:
                return None
            chapters = {chapter: chapters[chapter]}
        found = {where: numbers[metric] for where, numbers in chapters.items() if metric in numbers}
        if not found:
            known = {key for numbers in chapters.values() for key in numbers}
            raise CourseError(f"No number of the {profile} profile is called {name}. {nearest(metric, known)}")
        if len(set(found.values())) > 1:
            raise CourseError(f"{metric} differs between chapters: say {' or '.join(f'{c}/{metric}' for c in found)}.")
        return next(iter(found.values()))


def _headings(path: Path) -> Iterator[str]:
    """The headings of a notebook down to the third level, as they are shown; code fences are left out."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        text = re.sub(r"^```.*?^```", "", "".join(cell["source"]), flags=re.MULTILINE | re.DOTALL)
        yield from (re.sub(r"[*`]", "", line).strip() for line in re.findall(r"^#{1,3} +(.+)$", text, re.MULTILINE))


# ------------------------------------------------------------------------------------------------------------ tables


@dataclass
class Table:
    """A table: its head, its rows of Markdown cells, and for each row an anchor and classes."""

    head: list[str]
    rows: list[list[str]] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    numeric: bool = False  # all columns but the first are numbers

    def add(self, *cells: str, anchor: str = "", classes: str = "") -> None:
        """Add a row."""
        self.rows.append(list(cells))
        self.anchors.append(anchor)
        self.classes.append(classes)


def counts(claims: Iterable[Decided]) -> dict[str, int]:
    """How many claims have each verdict."""
    verdicts = [claim.verdict for claim in claims]
    return {name: verdicts.count(name) for name in VERDICTS}


def counts_table(facts: Facts) -> Table:
    """How the claims of each source document were decided; one source a row, and all of them."""
    table = Table(["Source", *(f"{MARKS[name]} {name}" for name in VERDICTS), "together"], numeric=True)
    for source in [*SHEETS, "all"]:
        chosen = [c for c in facts.claims if source in ("all", c.claim["source"])]
        name = "**All**" if source == "all" else f"[{source}](/book/sheets/{SHEETS[source]}.md)"
        table.add(name, *(str(n or "–") for n in counts(chosen).values()), str(len(chosen)))
    return table


def claims_table(facts: Facts, source: str) -> Table:
    """Every claim of one source: what it says, what each profile measured, the verdict."""
    if source not in SOURCES:
        raise CourseError(f"There is no source {source}. {nearest(source, SOURCES)}")
    table = Table(["It says", *(f"{name} run" for name in PROFILES), "Verdict", "Shown in"])
    for claim in facts.claims:
        if claim.claim["source"] == source:
            measured = [_measured(claim, profile) for profile in PROFILES]
            if measured[0] == measured[1]:
                measured[1] = "the same"
            guess = f"<br>*Assumed: {claim.claim['guess']}.*" if claim.claim.get("guess") else ""
            table.add(
                claim.claim["says"] + guess,
                *measured,
                f"**{claim.shown}**",
                f"{{section}}`chapter {int(claim.chapter[:2])} <{claim.chapter}{_ledger(facts, claim.chapter)}>`",
                anchor=claim.anchor,
                classes=f"claim verdict-{claim.verdict.replace(' ', '-')}",
            )
    return table


def _ledger(facts: Facts, chapter: str) -> str:
    """The section of a chapter that lists its claims, where it has that section."""
    heading = "Claims of this chapter"
    return f"#{heading}" if heading in facts.headings.get(chapter, ()) else ""


def _measured(claim: Decided, profile: str) -> str:
    found = claim.by_profile.get(profile)
    if found is None:
        return "not run yet"
    mark = "" if found["verdict"] == claim.verdict else f" ({MARKS[found['verdict']]} {found['verdict']})"
    return found["measured"] + mark


_COSTS = ("parameters", "train_mflop_per_image")


def models_of(facts: Facts, chapter: str, profile: str) -> dict[str, dict[str, float]]:
    """model → metric → number, of the chapter's models whose test accuracy on CIFAR-10 is known, best last.

    A network that learns permuted pixels is the same network: it costs what its twin costs.
    """
    numbers = facts.metrics.get(profile, {}).get(chapter, {})
    names = [key.removesuffix(".test.accuracy") for key in numbers if key.endswith(".test.accuracy")]
    names = [name for name in names if name in MODEL_NAMES or name.startswith("ladder_")]
    found = {}
    for name in sorted(names, key=lambda name: numbers[f"{name}.test.accuracy"]):
        twin = name.removesuffix("_permuted")
        found[name] = {key: numbers[f"{twin}.{key}"] for key in _COSTS if f"{twin}.{key}" in numbers}
        found[name] |= {key.removeprefix(f"{name}."): n for key, n in numbers.items() if key.startswith(f"{name}.")}
    return found


def profiles_of(facts: Facts, chapter: str) -> list[str]:
    """The profiles that have run a chapter; no other has a column."""
    return [profile for profile in PROFILES if chapter in facts.metrics.get(profile, {})]


def results_table(facts: Facts, chapter: str) -> Table | None:
    """A chapter's models: test accuracy of each profile, parameters, compute, seconds of training; None without any."""
    ran = profiles_of(facts, chapter)
    found = [models_of(facts, chapter, profile) for profile in ran]
    heads = [*(f"accuracy, {name}" for name in ran), "parameters", "MFLOP a trained image"]
    table = Table(["Model", *heads, *(f"training, {name}" for name in ran)], numeric=True)
    for name in dict.fromkeys(name for models in found for name in models):
        rows = [models.get(name, {}) for models in found]
        costs = {key: row[key] for row in rows for key in _COSTS if key in row}
        table.add(
            MODEL_NAMES.get(name, name.replace("_", " ")),
            *map(_accuracy, rows),
            f"{costs['parameters']:,.0f}" if "parameters" in costs else "–",
            _three_digits(costs["train_mflop_per_image"]) if "train_mflop_per_image" in costs else "–",
            *(runs.duration(row["seconds"]) if "seconds" in row else "–" for row in rows),
        )
    return table if table.rows else None


def _accuracy(row: dict[str, float]) -> str:
    if "test.accuracy" not in row:
        return "–"
    spread = f" ± {100 * row['test.accuracy.std']:.1f}" if "test.accuracy.std" in row else ""
    seeds = int(row.get("seeds", 1)) if spread else 1
    return f"{100 * row['test.accuracy']:.1f}{spread} %<br>{seeds} run{'s' if seeds > 1 else ''}"


def _three_digits(value: float) -> str:
    """A number with three digits that count, or all of those before its point: 0.123, 35.0, 1,234."""
    return f"{value:#.3g}" if value < 99.95 else f"{value:,.0f}"


IMAGES: dict[str, tuple[str, dict[str, tuple[str, str, str]]]] = {
    # chapter → a sentence, and metric → its name, which is better, and its format
    "05_autoencoder": (
        "How near the images that come back are to those that went in, on test images: {term}`mean squared error` of "
        "pixels in [0, 1], {term}`PSNR`, {term}`SSIM`.",
        {
            "mse": ("squared error", "lower", ".5f"),
            "psnr_db": ("PSNR, dB", "higher", ".2f"),
            "ssim": ("SSIM", "higher", ".3f"),
        },
    ),
    "06_vae": (
        "How probable each model finds the test images, in {term}`bits a dimension`. PCA (as a linear model with so "
        "many latents) and one Gaussian over all pixels are the yardsticks.",
        {"bits_per_dim": ("bits a dimension", "lower", ".2f")},
    ),
}


def images_table(facts: Facts, chapter: str) -> Table | None:
    """Models that give images back instead of a class, and what `IMAGES` lists of them; None where there is nothing."""
    _, metrics = IMAGES.get(chapter, ("", {}))
    columns = [(metric, profile) for metric in metrics for profile in profiles_of(facts, chapter)]
    heads = [f"{metrics[metric][0]}, {profile}<br>{metrics[metric][1]} is better" for metric, profile in columns]
    table = Table(["Model", *heads], numeric=True)
    found: dict[tuple[str, int, str], list[str]] = {}
    for column, (metric, profile) in enumerate(columns):
        for key, value in facts.metrics[profile][chapter].items():
            model = _image_model(key.removesuffix(f".test.{metric}"))
            if model and key.endswith(f".test.{metric}"):
                found.setdefault(model, ["–"] * len(columns))[column] = format(value, metrics[metric][2])
    for (name, size, change), cells in sorted(found.items()):
        table.add(f"{name} {size:,}".removesuffix(" 0") + (f", {change}" if change else ""), *cells)
    return table if found else None


def _image_model(name: str) -> tuple[str, int, str] | None:
    """What `ae_64_no_linear_path` is: its name for people, its size (0: it has none) and what was changed."""
    known = max((key for key in MODEL_NAMES if name == key or name.startswith(f"{key}_")), key=len, default="")
    match = re.fullmatch(r"(?:_(\d+))?(?:_(\w+))?", name.removeprefix(known))
    return (MODEL_NAMES[known], int(match[1] or 0), (match[2] or "").replace("_", " ")) if known and match else None


def chapters_with_results(facts: Facts) -> list[str]:
    """The chapters that measured a model on the test images."""
    return [name for name in facts.headings if results_table(facts, name) or images_table(facts, name)]


def machine_table(facts: Facts) -> Table:
    """What each profile's numbers were computed on."""
    table = Table(["", *facts.summaries])
    summaries = list(facts.summaries.values())
    for key in ("device", "threads", "precision", "system"):
        table.add(key, *(str(summary.get(key) or "–") for summary in summaries))
    commits = [str(summary.get("commit") or "–").replace("+", " + ") for summary in summaries]
    table.add("commit", *(re.sub(r"([0-9a-f]{12})[0-9a-f]{28}", r"\1…", commit) for commit in commits))
    days = [
        sorted({str(c.get("finished") or c.get("date") or "")[:10] for c in s["chapters"].values()} - {""})
        for s in summaries
    ]
    table.add("day of the run", *(" to ".join(dict.fromkeys([day[0], day[-1]])) if day else "–" for day in days))
    for name in dict.fromkeys(name for summary in summaries for name in summary.get("versions", {})):
        table.add(name, *(str(summary.get("versions", {}).get(name, "–")) for summary in summaries))
    return table


def times_table(facts: Facts) -> Table:
    """Seconds and peak memory of each chapter under each profile; the sums say how many chapters they are of."""
    table = Table(
        ["Chapter", *(f"{name}: {what}" for name in facts.summaries for what in ("time", "memory"))], numeric=True
    )
    seconds: dict[str, list[float]] = {profile: [] for profile in facts.summaries}
    chapters = sorted({name for summary in facts.summaries.values() for name in summary["chapters"]})
    for chapter in chapters:
        cells = []
        for profile, summary in facts.summaries.items():
            entry = summary["chapters"].get(chapter, {})
            took = entry.get("seconds")
            seconds[profile] += [] if took is None else [took]
            cells += [
                "–" if took is None else runs.duration(took),
                f"{entry['peak_memory_mb'] / 1024:.1f} GB" if entry.get("peak_memory_mb") else "–",
            ]
        place = facts.place(chapter)
        table.add(f"{{section}}`{place.number} · {place.title or chapter} <{chapter}>`", *cells)
    sums = [f"**{runs.duration(sum(took))}**<br>{len(took)} of {len(chapters)} chapters" for took in seconds.values()]
    table.add("**together**", *(cell for total in sums for cell in (total, "")))
    return table


# ------------------------------------------------------------------------------------------------------------ figure


def accuracy_figure(facts: Facts) -> str:
    """All models, best on top: test accuracy beside compute, as SVG whose colours `pages.css` fits to light and dark.

    Hollow: the quick run; full: the full run; with a bar of one standard deviation to each side.
    """
    rows = [row for row in _figure_rows(facts) if row[0] != "most_frequent"]
    shares = [100 * run["test.accuracy"] for _, _, row in rows for run in row.values()]
    low, high = 10 * int(min(shares, default=0) // 10), -10 * int(-max(shares, default=100) // 10)
    left, top, line, width = 225, 46, 26, 760
    split = left + 340  # where the second panel begins
    scale = 295 / (high - low)  # pixels a point of accuracy
    bottom = top + line * len(rows)
    most = max((run.get("train_mflop_per_image", 0.0) for _, _, row in rows for run in row.values()), default=1.0)
    parts = [
        f'<text x="{left}" y="18" class="head">test accuracy (%)</text>',
        f'<text x="{split}" y="18" class="head">MFLOP a trained image</text>',
    ]
    for tick in range(low, high + 1, 10):
        x = left + (tick - low) * scale
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 8}" y2="{bottom}" class="grid"/>'
            f'<text x="{x:.1f}" y="{top - 12}" class="tick">{tick}</text>'
        )
    for number, (name, shown, row) in enumerate(rows):
        y = top + line * number + line / 2
        colour = MODEL_COLOURS.get(name, "#777777").replace("#000000", "var(--pst-color-text-base)")
        parts.append(f'<g style="--colour: {colour}"><text x="{left - 12}" y="{y + 4:.1f}" class="name">{shown}</text>')
        for profile, run in row.items():
            x = left + (100 * run["test.accuracy"] - low) * scale
            beside = 0.0 if len(row) == 1 else -4.5 if profile == "quick" else 4.5  # so that neither covers the other
            title = f"{shown}, {profile} run: {run['test.accuracy']:.1%}"
            parts.append(_point(x, y + beside, 100 * run.get("test.accuracy.std", 0.0) * scale, profile, title))
        mflop = max(run.get("train_mflop_per_image", 0.0) for run in row.values())
        if mflop:
            length = max(120 * mflop / most, 1.0)
            parts.append(
                f'<rect x="{split}" y="{y - 6:.1f}" width="{length:.1f}" height="12" class="mark full"/>'
                f'<text x="{split + length + 6:.1f}" y="{y + 4:.1f}">{_three_digits(mflop)}</text>'
            )
        parts.append("</g>")
    key = bottom + 22
    for x, spread, profile, words in (
        (left + 4, 0, "quick", "quick run"),
        (left + 94, 0, "full", "full run"),
        (left + 184, 9, "full", "one deviation between seeds to each side"),
    ):
        parts.append(f'{_point(x, key - 4, spread, profile)}<text x="{x + 14}" y="{key}">{words}</text>')
    alt = (
        "Models from best to worst by test accuracy, and beside each its compute for a trained image: "
        "convolutional networks lead, dense networks follow, baselines without a network come last."
    )
    return (
        f'<figure class="course-figure" tabindex="0"><svg viewBox="0 0 {width} {key + 12}" role="img" '
        f'aria-label="{alt}">{"".join(parts)}</svg></figure>'
    )


def _figure_rows(facts: Facts) -> list[tuple[str, str, dict[str, dict[str, float]]]]:
    """Model, its name for people, and profile → metric → number; best first.

    A model that later chapters took over has one row; one that chapters measured differently has a row for each.
    """
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for chapter in facts.headings:
        for profile in profiles_of(facts, chapter):
            for name, run in models_of(facts, chapter, profile).items():
                found.setdefault(name, {}).setdefault(chapter, {})[profile] = run
    rows = []
    for name, chapters in found.items():
        own: dict[str, set[tuple[str, float]]] = {}
        for chapter, row in chapters.items():
            accuracies = {(profile, run["test.accuracy"]) for profile, run in row.items()}
            if not any(accuracies <= others for others in own.values()):
                own[chapter] = accuracies
        for chapter in own:
            where = f", chapter {int(chapter[:2])}" if len(own) > 1 else ""
            rows.append((name, escape(MODEL_NAMES.get(name, name.replace("_", " ")) + where), chapters[chapter]))
    return sorted(rows, key=lambda row: -max(run["test.accuracy"] for run in row[2].values()))


def _point(x: float, y: float, spread: float, profile: str, title: str = "") -> str:
    """A point of the figure, with a bar of `spread` pixels to each side."""
    words = f"<title>{title}</title>" if title else ""
    bar = f'<path d="M{x - spread:.1f} {y - 5:.1f}v10m0-5h{2 * spread:.1f}m0-5v10" class="bar"/>' if spread else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" class="mark {profile}">{words}</circle>{bar}'
