"""The last cell: agrees, fails with a table, or says that nothing was compared."""

import pytest

from cifar_utils import claims, regression, runs

METRICS = {
    "mlp.test.accuracy": {"mean": 0.57, "deviation": 0.005, "tolerance": 0.02},
    "mlp.parameters": {"mean": 10, "deviation": 0.0, "tolerance": 0.0},
    "mlp.seconds": {"mean": 3.0, "deviation": None, "tolerance": None},
}
STORED = {"parameters": {"epochs": 8}, "verdicts": {"ten": ["confirmed"], "best": ["refuted", "undecided"]},
          "metrics": METRICS}


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A project with a reference, and a function that runs a chapter in it."""
    (tmp_path / "_toc.yml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIFAR_COURSE_RUN", str(tmp_path / "runs" / "quick"))
    reference = tmp_path / "notebooks" / "reference"
    runs.write_json(reference / "tolerances.json", {"chapters": {"01_data_exploration": STORED, "02_mlp": STORED}})

    def run(accuracy=0.57, parameters=10, epochs=8, classes=10, best="undecided", seconds=99.0, chapter="02_mlp",
            weights=()):
        made = runs.Run(chapter, tmp_path / "runs" / "quick" / chapter, {"epochs": epochs})
        for model in weights:
            made.find_checkpoint("01_data_exploration", model)
        made.record("mlp.test.accuracy", accuracy)
        made.record("mlp.parameters", parameters)
        made.record("mlp.seconds", seconds)
        ledger = claims.Ledger(made)
        ledger.count("ten", "TDSE-03", "ten classes", classes, 10)
        ledger.judgement("best", "TDSE-03", "the best", best, "so it came out")
        regression.finish(made, ledger)
        return made

    return run


def test_agreement_is_one_sentence_without_digits(finished, capsys):
    chapter = finished(accuracy=0.585)
    said = capsys.readouterr().out
    assert "within its tolerance" in said
    assert not any(letter.isdigit() for letter in said)
    assert runs.read_json(chapter.path("metrics.json")) == chapter.metrics
    assert runs.read_json(chapter.path("claims.json"))[0]["verdict"] == "confirmed"
    assert runs.read_json(chapter.path("resources.json"))["peak_memory_mb"] > 10


def test_a_metric_outside_its_tolerance_fails_with_a_table(finished):
    with pytest.raises(regression.RegressionError, match=r"mlp\.test\.accuracy \| 0\.57 \| 0\.6 \| 0\.03 > 0\.02"):
        finished(accuracy=0.6)


@pytest.mark.parametrize(("accuracy", "agrees"), [(0.59, True), (0.55, True), (0.5901, False), (0.5499, False)])
def test_the_edge_of_a_tolerance_is_inside_on_both_sides(accuracy, agrees):
    metrics = {"mlp.test.accuracy": accuracy, "mlp.parameters": 10, "mlp.seconds": 1.0}
    assert (regression.compare(metrics, METRICS) == []) == agrees


def test_exact_metrics_have_no_tolerance(finished):
    with pytest.raises(regression.RegressionError, match=r"mlp\.parameters"):
        finished(parameters=11)


def test_a_sum_taken_in_another_order_is_the_same_number():
    exact = {"data.mean": {"mean": 0.47337, "deviation": 0.0, "tolerance": 0.0},
             "mlp.parameters": {"mean": 545_098, "deviation": 0.0, "tolerance": 0.0}}
    assert regression.compare({"data.mean": 0.47337 + 5e-16, "mlp.parameters": 545_098}, exact) == []
    assert len(regression.compare({"data.mean": 0.47337 + 1e-8, "mlp.parameters": 545_099}, exact)) == 2


def test_a_changed_verdict_fails_with_both(finished):
    with pytest.raises(regression.RegressionError, match="ten: confirmed → corrected"):
        finished(classes=9)


def test_a_verdict_that_some_run_of_the_reference_gave_is_no_change(finished):
    finished(best="refuted")
    with pytest.raises(regression.RegressionError, match="best: refuted or undecided → confirmed"):
        finished(best="confirmed")


def test_claims_that_came_or_went_are_changes(finished):
    ledger = claims.Ledger(finished())
    ledger.count("new", "TDSE-03", "three channels", 3, 3)
    assert regression.changed_verdicts(ledger, {"ten": ["confirmed"]}) == [
        "new: absent → confirmed", "ten: confirmed → absent"]


def test_other_parameters_are_not_compared(finished, capsys):
    finished(accuracy=0.1, epochs=3)
    assert "nothing was compared" in capsys.readouterr().out


def test_a_chapter_without_the_weights_of_an_earlier_one_is_not_compared(finished, capsys, tmp_path):
    """Somebody opens chapter 8 first: it trains a shorter chapter-3 network, which is no regression."""
    finished(accuracy=0.1, weights=["linear"])
    assert "The weights of linear are not those of a quick run" in capsys.readouterr().out
    place = tmp_path / "runs" / "quick" / "01_data_exploration" / "linear.safetensors"
    runs.write_whole(place, "weights")
    for parameters in (None, {"epochs": 7}):  # of a run that is older than this file, or had other values
        if parameters:
            runs.write_json(place.with_name("parameters.json"), parameters)
        finished(accuracy=0.1, weights=["linear"])
        assert "nothing was compared" in capsys.readouterr().out
    runs.Run(place.parent.name, place.parent, {"epochs": 8})
    with pytest.raises(regression.RegressionError, match="outside their tolerance"):
        finished(accuracy=0.1, weights=["linear"])


def test_a_chapter_that_was_never_measured_is_not_compared(finished, capsys):
    finished(accuracy=0.1, chapter="03_cnn")
    assert "no measured reference" in capsys.readouterr().out


def test_a_run_that_becomes_the_reference_may_differ_and_says_whether_it_does(finished, capsys, monkeypatch):
    monkeypatch.setenv("CIFAR_COURSE_REFERENCE", "off")
    finished(accuracy=0.1)
    assert "differs from the reference and replaces it" in capsys.readouterr().out
    finished()  # a later run that agrees says the very same as this one: nbval compares the sentence
    assert "Every metric lies within its tolerance" in capsys.readouterr().out


def test_missing_and_new_metrics_are_told():
    rows = regression.compare({"a.accuracy": 1.0}, {"b.accuracy": {"mean": 1.0, "tolerance": 0.1}})
    assert "not in the reference" in rows[0]
    assert "missing" in rows[1]


def test_memory_is_in_megabytes():
    import psutil
    now = psutil.Process().memory_info().rss / 2**20
    assert 0.9 * now < regression.peak_memory_mb() < 50 * now
