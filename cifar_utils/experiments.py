"""A grid of runs over settings and seeds, as one tidy table that survives an interruption."""

import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats
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
    done = {_key(row, row["seed"], settings) for row in rows}
    wanted = [(dict(setting), seed) for setting in settings for seed in seeds]
    for setting, seed in tqdm(wanted, unit="run", leave=False, disable=runs.quiet(progress)):
        if _key(setting, seed, settings) in done:
            continue
        began = time.perf_counter()
        numbers = train_one(setting, seed)
        rows.append({**setting, "seed": seed, **numbers, "seconds": time.perf_counter() - began})
        if path is not None:
            runs.write_whole(path, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
    order = {_key(setting, seed, settings): place for place, (setting, seed) in enumerate(wanted)}
    rows = [row for row in rows if _key(row, row["seed"], settings) in order]
    rows.sort(key=lambda row: order[_key(row, row["seed"], settings)])
    return pd.DataFrame(rows)


def _stored(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    table = pd.read_csv(io.StringIO(path.read_text(encoding="utf-8")), keep_default_na=False)
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


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
