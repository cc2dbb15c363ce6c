"""Runs: files whole or not at all, parameters as annotated, numbers in sentences."""

import json

import pandas as pd
import pytest

from cifar_utils import runs
from cifar_utils.training import History


@pytest.fixture
def run(tmp_path):
    return runs.Run("02_mlp", tmp_path / "quick" / "02_mlp", {"epochs": 8})


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch):
    path = runs.write_whole(tmp_path / "a" / "x.txt", "old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        runs.write_whole(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["x.txt"]


def test_json_refuses_what_json_cannot_say(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        runs.write_json(tmp_path / "x.json", {"a": float("nan")})
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json is not valid JSON"):
        runs.read_json(tmp_path / "bad.json")


def test_parameters_are_the_annotated_names():
    namespace: dict = {}
    exec("epochs: int = 8\nseeds: list = [0]\nother = 3", namespace)
    namespace["epochs"] = 2  # what papermill injects has no annotation
    assert runs.parameters_of(namespace) == {"epochs": 2, "seeds": [0]}


def test_start_writes_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFAR_COURSE_RUN", str(tmp_path / "smoke"))
    assert runs.start("02_mlp", {}).folder == tmp_path / "smoke" / "02_mlp"
    monkeypatch.delenv("CIFAR_COURSE_RUN")
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert runs.start("02_mlp", {}).folder == tmp_path / "runs" / "interactive" / "02_mlp"


def test_metrics_and_sentences(run):
    run.record("mlp.test", {"accuracy": 0.5712, "loss": 1.2})
    run.record_seeds("mlp.test.f1", [0.5, 0.6])
    assert run.metrics == {"mlp.test.accuracy": 0.5712, "mlp.test.loss": 1.2, "mlp.test.f1": 0.55,
                           "mlp.test.f1.std": pytest.approx(0.0707, abs=1e-4), "mlp.seeds": 2}
    sentence = run.text("{mlp.test.accuracy:.1%} after {epochs} epochs, {extra}; $\\frac{1}{2}$ stays", extra="well")
    assert sentence._repr_markdown_() == "57.1% after 8 epochs, well; $\\frac{1}{2}$ stays"
    assert run.fold("What happened", "{epochs}").startswith("<details><summary>What happened</summary>\n\n8")
    with pytest.raises(KeyError, match=r"mlp\.test\.acuracy; there is mlp\.test\.accuracy"):
        run.text("{mlp.test.acuracy}")
    with pytest.raises(ValueError, match="only finite"):
        run.record("x", float("inf"))


def test_histories_come_into_one_table(run):
    table = pd.DataFrame({"epoch": [1], "split": ["val"], "metric": ["loss"], "value": [0.5]})
    for seed in (0, 1):
        run.add_history("mlp", seed, History(table, "best", 1, 1, 1.0, "float32", "contiguous", "cpu"))
    stored = pd.read_csv(run.path("history.csv"))
    assert list(stored.columns) == ["model", "seed", "epoch", "split", "metric", "value"]
    assert stored["seed"].tolist() == [0, 1]


def test_checkpoints_are_looked_for_in_this_run_first(tmp_path, monkeypatch, capsys):
    (tmp_path / "_toc.yml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIFAR_COURSE_RUN", str(tmp_path / "runs" / "smoke"))
    run = runs.start("07_error_analysis", {})
    assert run.find_checkpoint("03_cnn", "cnn_best") is None
    for name in ("quick", "full", "smoke"):
        folder = tmp_path / "runs" / name / "03_cnn"
        folder.mkdir(parents=True)
        (folder / "cnn_best.safetensors").write_bytes(name.encode())
    assert run.find_checkpoint("03_cnn", "cnn_best").read_bytes() == b"smoke"
    (tmp_path / "runs" / "smoke" / "03_cnn" / "cnn_best.safetensors").unlink()
    assert run.find_checkpoint("03_cnn", "cnn_best").read_bytes() == b"full"
    assert "taken from full/03_cnn" in capsys.readouterr().out
    assert "runs/full/03_cnn/cnn_best.safetensors" in json.loads(run.path("inputs.json").read_text())


def test_the_glance_says_the_last_measured_times(tmp_path, monkeypatch):
    (tmp_path / "_toc.yml").write_text("format: jb-book\n")
    runs.write_json(tmp_path / "notebooks" / "reference" / "quick" / "summary.json",
                    {"chapters": {"03_cnn": {"seconds": 200.4}}})
    monkeypatch.chdir(tmp_path)
    assert "quick run: 3 min 20 s; full run: not measured yet." in str(runs.start("03_cnn", {}).glance())


@pytest.mark.parametrize(("seconds", "words"), [(44.6, "45 s"), (200, "3 min 20 s"), (3900, "1 h 5 min"),
                                                (120, "2 min")])
def test_duration(seconds, words):
    assert runs.duration(seconds) == words
