"""Experiments: a row a run, in order, and nothing done twice after an interruption."""

import pandas as pd
import pytest
from scipy import stats

from cifar_utils import experiments

SETTINGS = [{"learning_rate": 1e-4, "widths": (3, 4)}, {"learning_rate": 0.1, "pool": "max"}]


def test_grid_has_a_row_a_run(tmp_path):
    table = experiments.grid(SETTINGS, [0, 1], lambda setting, seed: {"accuracy": setting["learning_rate"] + seed},
                             path=tmp_path / "grid.csv", progress=False)
    assert list(table["accuracy"]) == [1e-4, 1 + 1e-4, 0.1, 1.1]
    assert list(table["seed"]) == [0, 1, 0, 1]
    assert (table["seconds"] >= 0).all()
    assert list(pd.read_csv(tmp_path / "grid.csv")["accuracy"]) == list(table["accuracy"])


def test_an_interrupted_grid_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFAR_COURSE_CONTINUE", "1")
    path, done = tmp_path / "grid.csv", []

    def train(setting, seed):
        if len(done) == 3:
            done.append("stopped")
            raise KeyboardInterrupt
        done.append((setting["learning_rate"], seed))
        return {"accuracy": 0.5 + seed}

    with pytest.raises(KeyboardInterrupt):
        experiments.grid(SETTINGS, [0, 1], train, path=path, progress=False)
    table = experiments.grid(SETTINGS, [0, 1], train, path=path, progress=False)
    assert done == [(1e-4, 0), (1e-4, 1), (0.1, 0), "stopped", (0.1, 1)]
    assert list(table["accuracy"]) == [0.5, 1.5, 0.5, 1.5]
    monkeypatch.delenv("CIFAR_COURSE_CONTINUE")
    experiments.grid(SETTINGS, [0], lambda setting, seed: done.append("anew") or {}, path=path, progress=False)
    assert done.count("anew") == 2


def test_summary_gives_student_intervals():
    table = pd.DataFrame({"kernel": [3, 3, 3, 5], "accuracy": [0.1, 0.2, 0.3, 0.4]})
    summary = experiments.summarise(table, "kernel")
    low, high = stats.t.interval(0.95, 2, loc=0.2, scale=0.1 / 3 ** 0.5)
    assert summary["low"][0] == pytest.approx(low)
    assert summary["high"][0] == pytest.approx(high)
    assert summary["mean"].tolist() == pytest.approx([0.2, 0.4])
    assert summary[["std", "low", "high"]].iloc[1].isna().all()


def test_an_empty_grid_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        experiments.grid([], [0], lambda setting, seed: {})
