"""The last cell: agrees, fails with a table, or says that nothing was compared."""

import pytest

from cifar_utils import claims, regression, runs

RULES = [{"pattern": "*.accuracy", "absolute": 0.02}, {"pattern": "*.loss", "relative": 0.1}]


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A project with a reference, and a function that runs a chapter in it."""
    (tmp_path / "_toc.yml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIFAR_COURSE_RUN", str(tmp_path / "runs" / "quick"))
    reference = tmp_path / "notebooks" / "reference"
    runs.write_json(reference / "tolerances.json", RULES)
    runs.write_json(reference / "quick" / "summary.json", {"chapters": {"02_mlp": {"parameters": {"epochs": 8}}}})
    runs.write_json(reference / "quick" / "02_mlp" / "metrics.json", {"mlp.test.accuracy": 0.57, "mlp.parameters": 10})
    runs.write_json(reference / "quick" / "02_mlp" / "claims.json", [{"id": "ten", "verdict": "confirmed"}])

    def run(accuracy=0.57, parameters=10, epochs=8, classes=10):
        chapter = runs.Run("02_mlp", tmp_path / "runs" / "quick" / "02_mlp", {"epochs": epochs})
        chapter.record("mlp.test.accuracy", accuracy)
        chapter.record("mlp.parameters", parameters)
        ledger = claims.Ledger(chapter)
        ledger.count("ten", "TDSE-03", "ten classes", classes, 10)
        regression.finish(chapter, ledger)
        return chapter

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


def test_exact_metrics_have_no_tolerance(finished):
    with pytest.raises(regression.RegressionError, match=r"mlp\.parameters"):
        finished(parameters=11)


def test_a_changed_verdict_fails_with_both(finished):
    with pytest.raises(regression.RegressionError, match="ten: confirmed → corrected"):
        finished(classes=9)


def test_other_parameters_are_not_compared(finished, capsys):
    finished(accuracy=0.1, epochs=3)
    assert "nothing was compared" in capsys.readouterr().out


def test_the_run_that_becomes_the_reference_is_not_compared(finished, capsys, monkeypatch):
    monkeypatch.setenv("CIFAR_COURSE_REFERENCE", "off")
    finished(accuracy=0.1)
    assert "becomes the reference" in capsys.readouterr().out


def test_missing_and_new_metrics_are_told():
    rows = regression.compare({"a.accuracy": 1.0}, {"b.accuracy": 1.0}, RULES)
    assert "not in the reference" in rows[0]
    assert "missing" in rows[1]


def test_times_and_deviations_are_not_compared():
    assert regression.compare({"m.seconds": 1.0, "m.test.loss.std": 3.0}, {"m.seconds": 9.0, "m.test.loss.std": 1.0},
                              RULES) == []
