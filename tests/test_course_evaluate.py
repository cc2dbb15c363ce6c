"""`cifar-course evaluate` and `analysis`: on the drawn shapes, with an untrained network."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cifar_utils import analysis, checkpoints, data, models, runs
from cifar_utils.batches import STANDARD, UNIT_RANGE
from cifar_utils.course import evaluate
from cifar_utils.course.project import CourseError
from cifar_utils.evaluation import Predictions

LOGITS = torch.tensor([[9.0, 0, 0], [0, 2, 0], [5, 0, 0], [0, 0, 7], [0, 3, 0], [5, 0, 0]])
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])  # right, wrong 2, wrong 5, wrong 7, wrong 3, wrong 5


@pytest.fixture(scope="module")
def shapes():
    return data.synthetic_shapes(train_size=200, test_size=60, seed=1)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "runs" / "quick" / "03_cnn" / "cnn_best.safetensors"
    checkpoints.save(path, models.CNN(channels=(4,), dense=(8,)), normalisation=STANDARD, split_seed=3)
    return path


def test_the_most_confident_mistakes_come_first_and_right_answers_never():
    predictions = Predictions(torch.nn.functional.pad(LOGITS, (0, 7), value=-9), LABELS)
    assert analysis.most_confident_mistakes(predictions, 10).tolist() == [3, 2, 5, 4, 1]
    assert analysis.most_confident_mistakes(predictions, 2).tolist() == [3, 2]
    with pytest.raises(ValueError, match="count is 0"):
        analysis.most_confident_mistakes(predictions, 0)


def test_mistakes_are_saved_as_the_images_that_they_are(tmp_path, checkpoint, shapes):
    stale = tmp_path / "runs" / "analysis" / "01_cat_dog_0.999.png"
    stale.parent.mkdir(parents=True)
    stale.touch()
    folder = evaluate.mistakes(tmp_path, count=5, cifar=shapes)
    table = pd.read_csv(folder / "index.csv")
    assert (
        len(table) == 5
        and not stale.exists()
        and sorted(path.name for path in folder.glob("*.png")) == sorted(table["file"])
    )
    row = table.iloc[0]
    assert row["file"] == f"01_{row['true']}_{row['predicted']}_{row['confidence']:.3f}.png"
    assert row["true"] == data.CLASS_NAMES[int(shapes.test.labels[row["index"]])] != row["predicted"]
    assert table["confidence"].is_monotonic_decreasing
    picture = np.asarray(Image.open(folder / row["file"]))
    assert picture.shape == (256, 256, 3)
    assert (picture[::8, ::8].transpose(2, 0, 1) == shapes.test.images[row["index"]].numpy()).all()
    assert (picture[7::8, 7::8] == picture[::8, ::8]).all(), "each pixel is one square"


def test_evaluate_stores_numbers_and_pictures_of_each_split(tmp_path, checkpoint, shapes, capsys):
    folder = evaluate.evaluate(tmp_path, checkpoint, cifar=shapes, sizes=(150, 50))
    assert (
        folder == tmp_path / "runs" / "evaluate" / "cnn_best" and "runs/evaluate/cnn_best" in capsys.readouterr().out
    )
    metrics = runs.read_json(folder / "metrics.json")
    assert {f"cnn_best.{split}.accuracy" for split in ("train", "val", "test")} <= set(metrics)
    table = pd.read_csv(folder / "metrics.csv", index_col="split")
    assert table.loc["test", "loss"] == metrics["cnn_best.test.loss"]
    for split, count in (("train", 150), ("val", 50), ("test", 60)):
        assert pd.read_csv(folder / f"confusion_{split}.csv", index_col=0).to_numpy().sum() == count
        assert len(pd.read_csv(folder / f"classes_{split}.csv")) == 10
        for name in ("confusion", "examples"):
            assert Image.open(folder / f"{name}_{split}.png").width > 300
    assert Image.open(folder / "metrics.png").width > 300


@pytest.fixture
def autoencoder(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "ae_5.safetensors"
    return checkpoints.save(path, models.Autoencoder(5, 4), normalisation=UNIT_RANGE, split_seed=3)


def test_evaluate_serves_autoencoders(tmp_path, autoencoder, shapes, capsys):
    folder = evaluate.evaluate(tmp_path, autoencoder, cifar=shapes, sizes=(150, 50))
    metrics = runs.read_json(folder / "metrics.json")
    assert set(metrics) == {
        f"ae_5.{split}.{metric}" for split in ("train", "val", "test") for metric in ("mse", "psnr_db", "ssim")
    }
    model = checkpoints.load(autoencoder).model
    pixels = shapes.test.images.float() / 255
    with torch.no_grad():
        expected = (model(pixels).clamp(0, 1) - pixels).square().mean().item()
    assert metrics["ae_5.test.mse"] == pytest.approx(expected, rel=1e-4)
    assert metrics["ae_5.test.psnr_db"] == pytest.approx(-10 * np.log10(expected), abs=1e-3)
    assert "test: mse" in capsys.readouterr().out
    for name in ("metrics", "reconstructions_train", "reconstructions_val", "reconstructions_test"):
        assert Image.open(folder / f"{name}.png").width > 300
    assert not list(folder.glob("confusion*"))


def test_mistakes_of_an_autoencoder_are_refused(tmp_path, autoencoder, shapes):
    with pytest.raises(CourseError, match="no classifier"):
        evaluate.mistakes(tmp_path, autoencoder, cifar=shapes)


def test_without_a_trained_model_the_message_says_what_to_run(tmp_path):
    with pytest.raises(CourseError, match="cifar-course train"):
        evaluate.mistakes(tmp_path)
    with pytest.raises(CourseError, match="there is no checkpoint"):
        evaluate.evaluate(tmp_path, tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CourseError, match="damaged"):
        evaluate.evaluate(tmp_path, tmp_path / "bad.safetensors")


def test_the_quick_runs_model_is_taken_before_others(tmp_path, checkpoint):
    other = tmp_path / "runs" / "custom" / "03_cnn" / checkpoint.name
    other.parent.mkdir(parents=True)
    other.write_bytes(checkpoint.read_bytes())
    assert evaluate.newest_checkpoint(tmp_path) == checkpoint
    checkpoint.unlink()
    assert evaluate.newest_checkpoint(tmp_path) == other
