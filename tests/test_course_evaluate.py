"""`cifar-course evaluate` and `analysis`: on the drawn shapes, with an untrained network."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cifar_utils import analysis, checkpoints, data, generative, models, runs
from cifar_utils.batches import STANDARD, UNIT_RANGE
from cifar_utils.course import evaluate
from cifar_utils.course.project import CourseError
from cifar_utils.evaluation import Predictions
from cifar_utils.gaussian import PixelGaussian

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


@pytest.fixture
def vae(tmp_path):
    torch.manual_seed(0)
    return checkpoints.save(tmp_path / "vae.safetensors", models.VAE(5, 4), normalisation=UNIT_RANGE, split_seed=3)


@pytest.fixture
def spatial_vae(tmp_path, monkeypatch):
    """A spatial VAE whose whitening only scales, since a real one takes seconds; it notes what it is fitted to."""
    fitted = []

    def fit(cls, images):
        fitted.append(len(images))
        return cls(torch.full((3072,), 128.0).double(), torch.full((3072,), 900.0).double(), torch.eye(3072))

    monkeypatch.setattr(PixelGaussian, "fit", classmethod(fit))
    torch.manual_seed(0)
    extra = {"whitening": {"train_size": 150, "val_size": 50}}
    path = tmp_path / "vae_spatial.safetensors"
    checkpoints.save(path, models.SpatialVAE(2, 4), normalisation=UNIT_RANGE, split_seed=3, extra=extra)
    return path, fitted


def test_evaluate_serves_vaes(tmp_path, vae, shapes):
    folder = evaluate.evaluate(tmp_path, vae, cifar=shapes, sizes=(150, 50))
    metrics = runs.read_json(folder / "metrics.json")
    names = ("recon_nats", "kl_nats", "bits_per_dim", "active_units", "mse", "psnr_db", "ssim")
    assert set(metrics) == {f"vae.{split}.{metric}" for split in ("train", "val", "test") for metric in names}
    total = metrics["vae.test.recon_nats"] + metrics["vae.test.kl_nats"]
    assert metrics["vae.test.bits_per_dim"] == pytest.approx(total / 3072 / np.log(2))
    assert {"samples.png", "metrics.png", "reconstructions_test.png"} <= {path.name for path in folder.iterdir()}


def test_evaluate_whitens_as_the_spatial_vae_was_trained(tmp_path, spatial_vae, shapes):
    path, fitted = spatial_vae
    folder = evaluate.evaluate(tmp_path, path, cifar=shapes, sizes=(120, 60))
    assert fitted == [150]
    pixels = shapes.test.images.double() + 0.5
    gaussian = 0.5 * (np.log(2 * np.pi * 900) + ((pixels - 128).square().mean().item() + 1 / 12) / 900) / np.log(2)
    metrics = runs.read_json(folder / "metrics.json")
    found = metrics["vae_spatial.test.recon_nats"] / 3072 / np.log(2)
    assert found == pytest.approx(gaussian, rel=1e-3), "untrained, it is the Gaussian"


def test_a_sheet_of_synthetic_images_depends_on_its_seed_alone(tmp_path, vae, capsys):
    path = evaluate.sample(tmp_path, vae, count=7, seed=2)
    assert path == tmp_path / "runs" / "samples" / "vae_seed2.png" and "7 synthetic images" in capsys.readouterr().out
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (3 * 100 + 4, 3 * 100 + 4, 3)  # three columns of images of 96 pixels, white between them
    assert (sheet[:4] == 255).all() and (sheet[-96:, -96:] == 255).all(), "the eighth and ninth place are empty"
    expected = generative.draw(checkpoints.load(vae).model, 7, seed=2)
    assert (sheet[4:100:3, 4:100:3] == expected[0].permute(1, 2, 0).numpy()).all()
    again = evaluate.sample(tmp_path, vae, tmp_path / "again.png", count=7, seed=2)
    assert again.read_bytes() == path.read_bytes()
    assert evaluate.sample(tmp_path, vae, count=7, seed=3).read_bytes() != path.read_bytes()


def test_a_spatial_vae_draws_with_its_whitening(tmp_path, spatial_vae, shapes):
    path, fitted = spatial_vae
    sheet = evaluate.sample(tmp_path, path, count=4, cifar=shapes)
    assert fitted == [150] and 100 < np.asarray(Image.open(sheet))[4:100, 4:100].mean() < 156


def test_what_cannot_draw_is_refused(tmp_path, checkpoint, vae, shapes):
    with pytest.raises(CourseError, match=r"draws no images \(CNN\)"):
        evaluate.sample(tmp_path, checkpoint)
    with pytest.raises(CourseError, match="--count is 0"):
        evaluate.sample(tmp_path, vae, count=0)
    nameless = tmp_path / "nameless.safetensors"
    checkpoints.save(nameless, models.SpatialVAE(2, 4), normalisation=UNIT_RANGE)
    with pytest.raises(CourseError, match="which images its pixels were whitened with"):
        evaluate.sample(tmp_path, nameless, cifar=shapes)
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04\x95")
    with pytest.raises(CourseError, match="damaged or no safetensors"):
        evaluate.sample(tmp_path, tmp_path / "pickle.safetensors")


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
