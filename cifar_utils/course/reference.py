"""Measures how far a metric may lie from the reference: the quick profile over seeds, and twice as on other machines.

Every chapter is run with n seeds, and with the first of them once more on one thread, and once in float32, on one
thread and with the older vector instructions: what another x86 machine without bfloat16 would compute. From these
r = n + 2 runs:

- A metric that came out the same in all runs with the first seed (to nine digits: sums may be taken in another order)
  is deterministic: expected is its value with that seed, and its **tolerance is zero**. Where another metric of the
  same model (the name up to the first dot) moved by more than a thousandth, its training varies: an accuracy that
  agreed then did so by chance, and only counts and sizes on which *all* runs agree are deterministic. Times, and
  deviations over a chapter's own seeds, are not compared at all.
- Every other metric is expected at its mean, give or take a prediction interval for one more run,

      t(1 − 0.01 / (2 m); ν) · s · √(1 + 1 / r),

  where m is the number of these metrics in all chapters: the error is 1 % for the whole family (Bonferroni), not for
  each. The variance s² = ((r − 1) s₁² + 10 s₀²) / (r + 9) weighs the metric's own variance s₁², which has r − 1
  degrees of freedom, with that pooled over all metrics of its kind s₀², as if that had 10: ν = r + 9 (a moderated t:
  Smyth 2004). Of losses and other numbers with a unit the deviation is taken relative to the mean. A loss before the
  first step depends on the seed far more than on the machine: its r runs are those with the first seed.
- No tolerance is below its kind's floor: with few seeds the same value can come out twice by chance. None is above
  its kind's cap: labels shifted by one, a tenfold learning rate or a forgotten zero_grad must fall outside.

As both precisions are among the runs, the tolerances hold for both. A claim's verdict may be any that these runs gave.
"""

import fnmatch
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from cifar_utils import runs
from cifar_utils.course import execute
from cifar_utils.course.chapters import BUILT_IN_PROFILE, Chapter
from cifar_utils.course.environment import machine
from cifar_utils.course.project import CourseError, commit_of
from cifar_utils.regression import ROUNDING

FAMILY_ERROR = 0.01
POOLED_DEGREES = 10  # how many degrees of freedom the deviation pooled over a kind counts for
SEEDS_APART = 1000  # chapters that train several networks number their seeds onwards from their `seed`
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
OTHER_MACHINE = {
    **ONE_THREAD,
    "CIFAR_COURSE_PRECISION": "float32",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
ELSEWHERE = {"one_thread": ONE_THREAD, "other_machine": OTHER_MACHINE}  # both with the first seed
VARIES = 1e-3  # a metric that moves by so large a share between machines shows that its model's training varies
NOT_COMPARED = ("*.seconds", "*.std", "*_deviation", "*.seeds_needed")


@dataclass(frozen=True)
class Kind:
    """Metrics that vary alike: name patterns, least and greatest tolerance; relative ones as shares of the mean.

    whole: counts, sizes, yes or no, which can be exact of a model whose training varies. seeded: what the seed decides
    and machines hardly move, so that only runs with the first seed say what to expect.
    """

    name: str
    patterns: tuple[str, ...]
    floor: float
    cap: float
    relative: bool = False
    whole: bool = False
    seeded: bool = False


KINDS = (  # the first whose pattern fits
    Kind("choice", ("*.best_rate", "*.best_epoch", "*.epochs_needed", "*.neighbours", "*.components"), 1.0, 3.0, True),
    Kind(
        "count",
        (
            "*near_duplicates_*differ",
            "*near_duplicates_*_in_*",
            "*near_duplicates_within_*",
            "*.confirmed",
            "*.confused_pairs",
        ),
        2.0,
        10.0,
        whole=True,
    ),
    Kind("specificity", ("*.specificity",), 0.001, 0.005),
    Kind(
        "accuracy",
        ("*.accuracy", "*.accuracy_one_view", "*.balanced_accuracy", "*.precision", "*.recall", "*.f1"),
        0.005,
        0.05,
    ),
    Kind("memorised", ("*one_batch*loss",), 0.001, 0.05),  # nearly zero: what matters is that it is
    Kind("calibration", ("*ece", "*ece_one_view"), 0.005, 0.05),
    Kind("start", ("*.first_loss",), 0.001, 0.01, True, seeded=True),  # of untrained weights
    Kind("loss", ("*loss*", "*nats*", "*bits_per_dim*", "*.mse", "*.psnr_db", "*.ssim"), 0.01, 0.15, True),
    Kind(
        "part",
        (
            "*accuracy*",
            "*share*",
            "*_correlation",
            "*_gain",
            "*_part",
            "*.kappa",
            "*changed_by*",
            "*noticed*",
            "*filters_*",
            "*.zigzag",
            "*.rise",
            "*.last_gap",
            "*.flattery",
            "*precision*",
            "*weight_*",
            "*_called_*",
            "*shared_by*",
            "*suspects_among*",
            "*agreement",
            "*same_when*",
        ),
        0.01,
        0.15,
    ),
    Kind("other", ("*",), 0.02, 0.5, True, whole=True),
)


def kind_of(metric: str) -> Kind:
    """Give the kind of a metric by its name."""
    return next(kind for kind in KINDS if any(fnmatch.fnmatchcase(metric, pattern) for pattern in kind.patterns))


def summarise(seeds: list[dict[str, float]], elsewhere: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Give mean and deviation of each metric of a chapter, from the metrics of its runs; None: not compared.

    elsewhere: the runs with the first seed again, as other machines would compute them. A deterministic metric, by
    this module's rule, has the first run's value as its mean, and no deviation. Raises CourseError where a run has
    other metrics than the first.
    """
    names = seeds[0].keys()
    for run in (*seeds, *elsewhere):
        if run.keys() != names:
            odd = ", ".join(sorted(names ^ run.keys())[:5])
            raise CourseError(f"The runs do not record the same metrics, so they cannot be compared: {odd}")
    compared = {name for name in names if not any(fnmatch.fnmatchcase(name, pattern) for pattern in NOT_COMPARED)}
    again = {name: [seeds[0][name], *(run[name] for run in elsewhere)] for name in compared}
    varying_models = {_model_of(name) for name, values in again.items() if not _same(values, VARIES)}
    entries: dict[str, dict[str, Any]] = {}
    for name in sorted(names):
        values = [run[name] for run in (*seeds, *elsewhere)]
        if name not in compared:
            entries[name] = {"mean": values[0], "deviation": None, "compared": False, "deterministic": False}
        elif _same(again[name]) and (
            _model_of(name) not in varying_models or (kind_of(name).whole and _same(values))
        ):
            entries[name] = {"mean": values[0], "deviation": 0.0, "compared": True, "deterministic": True}
        else:
            counted = again[name] if kind_of(name).seeded else values
            entries[name] = {
                "mean": float(np.mean(counted)),
                "deviation": float(np.std(counted, ddof=1)),
                "runs": len(counted),
                "compared": True,
                "deterministic": False,
            }
    return entries


def _same(values: list[float], share: float = ROUNDING) -> bool:
    return all(math.isclose(values[0], value, rel_tol=share) for value in values)


def _model_of(metric: str) -> str:
    return metric.partition(".")[0]


def add_tolerances(chapters: dict[str, dict[str, Any]]) -> None:
    """Give every metric of every chapter its `tolerance`, in place, by this module's formula.

    chapters: name → {"metrics": {metric: {"mean", "deviation", "runs", "compared", "deterministic"}}}; runs is the
    formula's r, of metrics that vary. None: it is not compared.
    """
    varying = [
        (name, entry)
        for chapter in chapters.values()
        for name, entry in chapter["metrics"].items()
        if entry["compared"] and not entry["deterministic"]
    ]
    variances: dict[str, list[float]] = defaultdict(list)
    for name, entry in varying:
        kind = kind_of(name)
        variances[kind.name].append((entry["deviation"] / _unit(kind, entry["mean"])) ** 2)
    for chapter in chapters.values():
        for entry in chapter["metrics"].values():
            entry["tolerance"] = 0.0 if entry["compared"] else None
    for name, entry in varying:
        kind, count = kind_of(name), entry["runs"]
        unit = _unit(kind, entry["mean"])
        pooled = float(np.mean(variances[kind.name]))
        degrees = count - 1 + POOLED_DEGREES
        variance = ((count - 1) * (entry["deviation"] / unit) ** 2 + POOLED_DEGREES * pooled) / degrees
        half = _quantile(len(varying), degrees) * math.sqrt(variance * (1 + 1 / count))
        entry["tolerance"] = unit * min(max(half, kind.floor), kind.cap)


@lru_cache(maxsize=64)
def _quantile(metrics: int, degrees: int) -> float:
    return float(stats.t.ppf(1 - FAMILY_ERROR / (2 * metrics), degrees))


def _unit(kind: Kind, mean: float) -> float:
    """What a deviation is measured in: 1, or the mean where the kind is relative (and not zero)."""
    return max(abs(mean), 1e-6) if kind.relative else 1.0


def measure(root: Path, chapters: Iterable[Chapter], seeds: int, execute_plan: Callable[[execute.Plan], None]) -> Path:
    """Run chapters over seeds into runs/reference, a chapter at a time, and write notebooks/reference/tolerances.json.

    What is finished and current is not run again. `execute_plan` runs a plan. Raises CourseError for fewer than two
    seeds, for a chapter without the parameter `seed`, and for one that took weights from outside its own run.
    """
    if seeds < 2:
        raise CourseError(f"A deviation needs at least two seeds; --seeds is {seeds}.")
    path = root / "notebooks" / "reference" / "tolerances.json"
    for chapter in chapters:
        if "seed" not in chapter.parameters:
            raise CourseError(f"{chapter.name} has no parameter seed, so its deviation cannot be measured.")
        first = chapter.parameters["seed"].default
        plans = [_plan(root, chapter, f"seed_{k}", first + SEEDS_APART * k, {}) for k in range(seeds)]
        plans += [_plan(root, chapter, name, first, environment) for name, environment in ELSEWHERE.items()]
        for plan in plans:
            execute_plan(plan)
            _check_inputs(plan, chapter)
        write(path, chapter, [plan.folder for plan in plans], root)
    return path


def _plan(root: Path, chapter: Chapter, name: str, seed: int, environment: dict[str, str]) -> execute.Plan:
    given = {chapter.name: {"seed": chapter.parameters["seed"].parse(seed)}}
    return execute.Plan(
        root,
        BUILT_IN_PROFILE,
        root / "runs" / "reference" / name,
        [chapter],
        given,
        becomes_reference=True,
        environment=environment,
    )


def _check_inputs(plan: execute.Plan, chapter: Chapter) -> None:
    """Refuse a chapter that read another run's weights: then its numbers would not vary as they should."""
    entry = execute.read_summary(plan.folder)["chapters"][chapter.name]
    own = f"runs/reference/{plan.folder.name}/"
    for place, digest in entry["fingerprint"]["inputs"].items():
        if digest is not None and not place.startswith(own):
            raise CourseError(f"{chapter.name} took weights from {place}: measure the chapter that makes them first.")


def write(path: Path, chapter: Chapter, folders: list[Path], root: Path) -> None:
    """Put a chapter's means, deviations and verdicts into the file; tolerances of all chapters are made anew.

    folders: the runs over seeds, then those elsewhere.
    """
    content = runs.read_json(path) if path.is_file() else {}
    stored = content.get("chapters", {})
    metrics = [runs.read_json(folder / chapter.name / "metrics.json") for folder in folders]
    verdicts: dict[str, set[str]] = defaultdict(set)
    for folder in folders:
        for claim in runs.read_json(folder / chapter.name / "claims.json"):
            verdicts[claim["id"]].add(claim["verdict"])
    stored[chapter.name] = {
        "seeds": len(folders) - len(ELSEWHERE),
        "runs": len(folders),
        "parameters": chapter.defaults(),
        "measured_on": {**machine(), "commit": commit_of(root), "date": datetime.now(UTC).date().isoformat()},
        "verdicts": {name: sorted(seen) for name, seen in verdicts.items()},
        "metrics": summarise(metrics[: -len(ELSEWHERE)], metrics[-len(ELSEWHERE) :]),
    }
    add_tolerances(stored)
    runs.write_json(path, {"formula": __doc__.split("\n")[0], "chapters": dict(sorted(stored.items()))})
