"""Experiments: a row a run, in order, and nothing done twice after an interruption."""

import math

import numpy as np
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


@pytest.mark.parametrize("finished", [1, 2, 3, 5])
def test_an_interrupted_grid_ends_as_an_uninterrupted_one(tmp_path, monkeypatch, finished):
    """The same table and, but for the seconds, the same file, whichever columns the runs have and wherever it stops."""
    monkeypatch.setenv("CIFAR_COURSE_CONTINUE", "1")
    monkeypatch.setattr(experiments.time, "perf_counter", lambda: 0.0)
    settings = [{"experiment": "main", "kernel": 3, "pool": "none"},
                {"experiment": "control", "kernel": 5, "wide": True}]

    def train(setting, seed):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        random = np.random.default_rng([seed, setting["kernel"]])
        test = {"test": random.random()} if setting["experiment"] == "main" else {}
        return {"accuracy": random.random() / 3, "epochs": seed, **test}

    left = [100]
    whole = experiments.grid(settings, [0, 1, 2], train, path=tmp_path / "whole.csv", progress=False)
    left = [finished]
    with pytest.raises(KeyboardInterrupt):
        experiments.grid(settings, [0, 1, 2], train, path=tmp_path / "grid.csv", progress=False)
    left = [100]
    resumed = experiments.grid(settings, [0, 1, 2], train, path=tmp_path / "grid.csv", progress=False)
    assert left == [100 - 6 + finished]
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)
    assert (tmp_path / "grid.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


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


def paired_table(first, second):
    rows = [(name, seed, value) for name, values in (("a", first), ("b", second)) for seed, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["kernel", "seed", "accuracy"])


def test_comparison_is_the_paired_t_test():
    # Student's sleep data (1908): the differences of ten patients, t = 4.06, p = 0.0028, interval 0.70 to 2.46
    first = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    second = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    found = experiments.compare(paired_table(first, second).sample(frac=1, random_state=0), "kernel", "a", "b")
    assert (found.n, round(found.p, 4)) == (10, 0.0028)
    numbers = (found.difference, found.deviation, found.low, found.high)
    assert numbers == pytest.approx((1.58, 1.23, 0.70, 2.46), abs=0.005)
    assert found.differences == pytest.approx(np.subtract(first, second))
    assert found.effect_size == pytest.approx(1.58 / 1.22995 * (1 - 3 / (4 * 9 - 1)), rel=1e-3)  # Hedges' approximation
    turned = experiments.compare(paired_table(second, first), "kernel", "a", "b")
    assert (turned.difference, turned.p) == pytest.approx((-found.difference, found.p))


def test_comparison_takes_common_seeds_only():
    table = paired_table([0.5, 0.6, 0.7], [0.4, 0.6])
    assert experiments.compare(table, "kernel", "a", "b").n == 2
    with pytest.raises(ValueError, match="two runs"):
        experiments.compare(paired_table([0.5], [0.4]), "kernel", "a", "b")
    with pytest.raises(ValueError, match="occurs twice"):
        experiments.compare(pd.concat([table, table]), "kernel", "a", "b")
    with pytest.raises(ValueError, match="two runs"):
        experiments.compare(table, "kernel", "a", "c")


def test_comparison_without_scatter_needs_no_test():
    found = experiments.compare(paired_table([0.75, 0.5], [0.5, 0.25]), "kernel", "a", "b")
    assert (found.difference, found.low, found.high, found.p) == (0.25, 0.25, 0.25, 0)
    assert experiments.compare(paired_table([0.5, 0.6], [0.5, 0.6]), "kernel", "a", "b").p == 1


def test_holm_corrects_step_by_step():
    assert experiments.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # as R's p.adjust
    assert experiments.holm([0.5, 0.9]) == [1, 1]
    assert experiments.holm([0.02]) == [0.02]
    with pytest.raises(ValueError, match="between 0 and 1"):
        experiments.holm([0.2, 1.2])
    with pytest.raises(ValueError, match="between 0 and 1"):
        experiments.holm([math.nan])


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])  # G*Power's numbers, two-sided
def test_seeds_needed_for_cohens_effects(effect, pairs):
    assert experiments.seeds_needed(effect, 1.0) == pairs
    assert experiments.seeds_needed(-effect * 0.01, 0.01) == pairs
    assert experiments.power_of(effect, 1, pairs) >= 0.8 > experiments.power_of(effect, 1, pairs - 1)


def test_power_is_the_share_of_tests_that_find_the_difference():
    random = np.random.default_rng(0)
    p = stats.ttest_1samp(random.normal(0.7, 1.0, (20_000, 8)), 0, axis=1).pvalue
    assert experiments.power_of(0.7, 1.0, 8) == pytest.approx((p < 0.05).mean(), abs=0.01)
    assert experiments.power_of(0, 1.0, 8) == pytest.approx(0.05)
    assert experiments.power_of(5, 1e-3, 4) == pytest.approx(1)
    assert experiments.seeds_needed(1, 1e-6) == 2


def test_power_refuses_what_no_number_of_runs_can_find():
    with pytest.raises(ValueError, match="other than 0"):
        experiments.seeds_needed(0, 1)
    with pytest.raises(ValueError, match="power"):
        experiments.seeds_needed(0.1, 1, power=1)
    with pytest.raises(ValueError, match="two pairs"):
        experiments.power_of(0.1, 1, 1)
    with pytest.raises(ValueError, match="positive deviation"):
        experiments.power_of(0.1, 0, 5)


def test_a_setting_that_only_some_runs_have_is_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFAR_COURSE_CONTINUE", "1")
    settings, done = [{"model": "a"}, {"model": "b", "images": 20_000}], []

    def train_one(setting, seed):
        done.append(setting["model"])
        return {"accuracy": 0.5}

    for _ in range(2):
        experiments.grid(settings, [0], train_one, path=tmp_path / "grid.csv", progress=False)
    assert done == ["a", "b"]
