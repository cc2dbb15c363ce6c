"""A grid of runs over settings and seeds, as one tidy table that survives an interruption; and what it proves."""

import csv
import io
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats
from tqdm import tqdm

from cifar_utils import runs

Setting = Mapping[str, Any]
TrainOne = Callable[[dict[str, Any], int], Mapping[str, float]]


def grid(settings: Sequence[Setting], seeds: Sequence[int], train_one: TrainOne, *,
         path: Path | None = None, progress: bool = True) -> pd.DataFrame:
    """Call `train_one(setting, seed)` for every setting and seed, and put its numbers into a table, a row a run.

    With a `path` the table is written after every run. Under the runner, which knows that nothing changed, runs that
    the file already holds are not done again.

    Returns:
        the settings' columns, `seed`, the numbers that `train_one` gave, and `seconds`.
    """
    if not settings or not seeds:
        raise ValueError("a grid needs at least one setting and one seed")
    rows = _stored(path) if path is not None and runs.continuing() else []
    done = {_key(row, row["seed"], settings): row for row in rows}
    wanted = [(dict(setting), seed) for setting in settings for seed in seeds]
    for setting, seed in tqdm(wanted, unit="run", leave=False, disable=runs.quiet(progress)):
        key = _key(setting, seed, settings)
        if key in done:
            continue
        began = time.perf_counter()
        numbers = train_one(setting, seed)
        done[key] = {**setting, "seed": seed, **numbers, "seconds": time.perf_counter() - began}
        rows.append(done[key])
        if path is not None:
            # As objects: a column that some rows lack would else turn whole numbers into fractions.
            runs.write_whole(path, pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n"))
    return pd.DataFrame([{**done[_key(setting, seed, settings)], **setting, "seed": seed} for setting, seed in wanted])


def _stored(path: Path) -> list[dict[str, Any]]:
    """The rows of a file as they were when they were written: whole numbers whole, fractions to the last digit."""
    if not path.exists():
        return []
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    return [{name: _parse(text) for name, text in row.items() if text != ""} for row in rows]


def _parse(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(text, text)


def _key(row: Mapping[str, Any], seed: Any, settings: Sequence[Setting]) -> str:
    names = sorted({name for setting in settings for name in setting})
    return json.dumps([*(str(row.get(name, "")) for name in names), int(seed)])


def summarise(table: pd.DataFrame, by: str | Sequence[str], value: str = "accuracy") -> pd.DataFrame:
    """Give mean, deviation, number of runs and the 95 % interval of the mean (Student's t) of each setting.

    With one run a setting there is no deviation: std, low and high are then not a number.
    """
    by = [by] if isinstance(by, str) else list(by)
    grouped = table.groupby(by, sort=False)[value]
    summary = pd.DataFrame({"mean": grouped.mean(), "std": grouped.std(), "n": grouped.count()})
    half = summary["std"] / summary["n"] ** 0.5 * stats.t.ppf(0.975, summary["n"] - 1)
    return summary.assign(low=summary["mean"] - half, high=summary["mean"] + half).reset_index()


@dataclass(frozen=True)
class Comparison:
    """Two settings compared over the same seeds: what the first has more than the second."""

    difference: float  # mean of the differences, one a pair
    low: float  # of the 95 % interval of that mean
    high: float
    p: float  # two-sided paired t-test
    effect_size: float  # mean over deviation of the differences, corrected for few pairs (Hedges' g of pairs)
    deviation: float  # of the differences
    n: int  # pairs
    differences: tuple[float, ...]


def compare(table: pd.DataFrame, by: str, first: Any, second: Any, *, value: str = "accuracy",
            pair: str = "seed") -> Comparison:
    """Compare two settings, the values `first` and `second` of column `by`, run by run of the same seed.

    Student's paired t-test and its interval by SciPy. The effect size is Cohen's d of the differences times Hedges'
    correction (Lakens 2013), since d is too large on average where pairs are few.

    Raises:
        ValueError: a setting has a seed twice, or fewer than two seeds are common to both.
    """
    runs_of = [table.loc[table[by] == setting].set_index(pair)[value].astype(float) for setting in (first, second)]
    if not all(column.index.is_unique for column in runs_of):
        raise ValueError(f"a {pair} occurs twice: choose the rows of one experiment first")
    pairs = pd.concat(runs_of, axis=1, join="inner").dropna().sort_index()
    if len(pairs) < 2:
        raise ValueError(f"a paired comparison needs two runs of each of {first!r} and {second!r} with the same {pair};"
                         f" there are {len(pairs)}")
    differences = pairs.iloc[:, 0] - pairs.iloc[:, 1]
    mean, deviation, free = float(differences.mean()), float(differences.std()), len(pairs) - 1
    if deviation == 0:  # no t-test: every pair says the same
        sure = math.copysign(math.inf, mean) if mean else 0.0
        return Comparison(mean, mean, mean, 0.0 if mean else 1.0, sure, 0.0, len(pairs), tuple(differences))
    test = stats.ttest_rel(pairs.iloc[:, 0], pairs.iloc[:, 1])
    interval = test.confidence_interval(0.95)
    # With two pairs it is 0: one degree of freedom tells no effect size.
    correction = math.exp(special.gammaln(free / 2) - special.gammaln((free - 1) / 2)) / (free / 2) ** 0.5
    return Comparison(mean, float(interval.low), float(interval.high), float(test.pvalue),
                      correction * mean / deviation, deviation, len(pairs), tuple(differences))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values of several comparisons: a false alarm in any stays as rare as in one alone (Holm 1979).

    Raises:
        ValueError: a p-value is not in [0, 1].
    """
    p = np.asarray(p_values, dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values lie between 0 and 1, got {list(p_values)}")
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    corrected = np.empty_like(p)
    corrected[order] = stepped
    return [float(value) for value in corrected]


def power_of(difference: float, deviation: float, n: int, *, level: float = 0.05) -> float:
    """Give the probability that a two-sided paired t-test of `n` pairs finds a true `difference`.

    `deviation` is that of the differences of a pair; by the noncentral t distribution (Cohen 1988).

    Raises:
        ValueError: fewer than two pairs, or a deviation that is not positive.
    """
    if n < 2 or not deviation > 0:
        raise ValueError(f"power needs at least two pairs and a positive deviation, got {n} and {deviation}")
    shift, limit = abs(difference) / deviation * n ** 0.5, stats.t.ppf(1 - level / 2, n - 1)
    above, below = stats.nct.sf(limit, n - 1, shift), stats.nct.cdf(-limit, n - 1, shift)
    return float(above + np.nan_to_num(below))


def seeds_needed(difference: float, deviation: float, power: float = 0.8, *, level: float = 0.05) -> int:
    """Give the least number of pairs of runs with which a true `difference` is found with probability `power`.

    Raises:
        ValueError: no number of runs can find a difference of 0; power or deviation is out of range.
    """
    if difference == 0 or not level < power < 1:
        raise ValueError(f"a difference other than 0 and a power between {level} and 1 are needed, got {difference} "
                         f"and {power}")
    few, many = 1, 2
    while power_of(difference, deviation, many, level=level) < power:
        few, many = many, 2 * many
    while many - few > 1:  # power grows with the runs: halve what lies between
        middle = (few + many) // 2
        few, many = (few, middle) if power_of(difference, deviation, middle, level=level) >= power else (middle, many)
    return many
