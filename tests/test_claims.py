"""Claims: verdicts by the one rule."""

import numpy as np
import pytest
from scipy import stats

from cifar_utils import claims, runs


@pytest.fixture
def ledger(tmp_path):
    return claims.Ledger(runs.Run("02_mlp", tmp_path, {}))


def test_prediction_interval_covers_one_more_run_as_often_as_it_says():
    random = np.random.default_rng(0)
    draws = random.normal(0.5, 0.01, (4000, 6))
    covered = [low <= new <= high for *values, new in draws for low, high in [claims.prediction_interval(values)]]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("low", "high", "measured", "verdict"), [
    (0.42985, 0.43035, [0.43, 0.435, 0.428], "confirmed"),
    (0.42985, 0.43035, [0.53, 0.535, 0.528], "refuted"),
    (0.67, 0.70, [0.712, 0.703, 0.708], "confirmed"),  # the interval reaches into the claimed range
    (0.67, 0.70, [0.712, 0.7121, 0.7119], "refuted"),
    (0.42985, 0.43035, [0.53, 0.535], "undecided"),
])
def test_value_claims(ledger, low, high, measured, verdict):
    assert ledger.value("x", "TDSE-03", "says", low, high, measured).verdict == verdict


def test_what_the_profile_does_not_run_is_not_tested(ledger):
    assert ledger.value("x", "TDSE-03", "says", 0.4, 0.5, [0.45] * 5, tested=False).verdict == "not tested"
    assert ledger.direction("y", "TDSE-03", "says", [1.0] * 5, tested=False).verdict == "not tested"


@pytest.mark.parametrize(("differences", "verdict"), [
    ([0.05, 0.06, 0.055], "confirmed"), ([-0.05, -0.06, -0.055], "refuted"), ([0.05, -0.06, 0.01], "undecided"),
    ([0.05, 0.06], "undecided"),
])
def test_direction_claims(ledger, differences, verdict):
    assert ledger.direction("x", "Exercise 5", "says", differences).verdict == verdict
    if len(differences) > 2 and verdict != "undecided":
        assert stats.ttest_1samp(differences, 0).pvalue < 0.05


def test_counts_are_confirmed_or_corrected(ledger):
    assert ledger.count("a", "TDSE-03", "10 classes", 10, 10).verdict == "confirmed"
    claim = ledger.count("b", "TDSE-03", "~150K parameters", 150_000, 545_098, "parameters")
    assert claim.verdict == "corrected"
    assert claim.measured == "545,098 parameters"


@pytest.mark.parametrize(("values", "unit", "said"), [
    ([0.534, 0.5362, 0.5363], "%", "53.55 ± 0.13 % (3 runs); 95 % of runs in 52.90 to 54.20 %"),
    ([1.328, 1.335, 1.342], "nats", "1.3350 ± 0.0070 nats (3 runs); 95 % of runs in 1.3002 to 1.3698 nats"),
    ([10.0, 31.0, 50.0], "epochs", "30 ± 20 epochs (3 runs); 95 % of runs in −69 to 130 epochs"),
    ([0.4, 0.4, 0.4], "", "0.4000 ± 0.0000 (3 runs); 95 % of runs in 0.4000 to 0.4000"),
    ([0.5], "%", "50.0 % (one run)"), ([], "", "not measured")])
def test_numbers_have_the_digits_that_chance_leaves_and_a_unit(ledger, values, unit, said):
    assert ledger.value("x", "TDSE-03", "says", 0, 1, values, unit=unit).measured == said


def test_differences_of_shares_are_points(ledger):
    claim = ledger.direction("x", "TDSE-03", "says", [-0.012, -0.009, 0.0], unit="points")
    assert claim.measured == "difference −0.70 ± 0.62 points (3 runs); 95 % interval of the mean −2.25 to 0.85 points"


def test_table_shows_every_claim(ledger):
    ledger.run.record("x.test.accuracy", 0.5)
    ledger.judgement("j", "Error analysis", "a | b", "refuted", "measured {x.test.accuracy:.0%}")
    ledger.value("v", "Exercise 5", "0.525", 0.52, 0.53, [0.5], guess="widths 512-256-128")
    table = str(ledger.table())
    assert "a \\| b" in table
    assert "measured 50%" in table
    assert "assumed: widths 512-256-128" in table
    assert table.count("\n") == 3
    assert [claim["id"] for claim in ledger.to_json()] == ["j", "v"]


def test_unknown_sources_and_verdicts_are_refused(ledger):
    with pytest.raises(ValueError, match="source must be"):
        ledger.count("a", "Somebody", "10", 10, 10)
    with pytest.raises(ValueError, match="verdict must be"):
        ledger.judgement("a", "TDSE-03", "x", "true", "y")


def test_a_claim_may_be_refuted_from_both_sides(ledger):
    for low, high in ((0.42, 0.43), (0.63, 0.64)):
        assert ledger.value("x", "TDSE-03", "says", low, high, [0.53, 0.535, 0.528]).verdict == "refuted"


def test_the_table_has_each_cell_under_its_head_and_each_verdict_its_mark(ledger):
    for verdict in claims.VERDICTS:
        ledger.judgement(verdict, "TDSE-03", f"says {verdict}", verdict, "found")
    head, _, *rows = str(ledger.table()).split("\n")
    assert head == "| source | says | measured | verdict |"
    assert rows == [f"| TDSE-03 | says {verdict} | found | {mark} **{verdict}** |"
                    for verdict, mark in zip(claims.VERDICTS, "✔✎✘?–")]
