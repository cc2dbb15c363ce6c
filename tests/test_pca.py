"""Principal components of the pixels: what scikit-learn says, stored once."""

import pytest
import torch

from cifar_utils import data, evaluation, pca


@pytest.fixture(scope="module")
def shapes():
    return data.synthetic_shapes(train_size=200, test_size=100)


def test_the_error_of_the_network_is_the_variance_that_is_left(shapes):
    fitted = pca.fit(shapes.train)
    pixels = shapes.train.images.float() / 255
    with torch.no_grad():
        error = (fitted.network(20)(pixels) - pixels).square().mean().item()
    n = len(shapes.train)
    assert error == pytest.approx(fitted.error_without(20) * (n - 1) / n, rel=1e-3)
    assert (fitted.variances.diff() <= 1e-6).all()
    cut = evaluation.reconstruction_report(evaluation.reconstruct(fitted.network(20), shapes.train))
    assert cut["mse"] <= error + 1e-7, "no pixel lies outside [0, 1], so cutting can only help"


def test_components_are_stored_and_belong_to_their_images(shapes, tmp_path, monkeypatch, capsys):
    path = tmp_path / "pca.safetensors"
    first = pca.fit(shapes.train, path)
    with monkeypatch.context() as patch:
        patch.setattr(pca, "PCA", None)  # to be called would be an error
        again = pca.fit(shapes.train, path)
    assert torch.equal(first.components, again.components) and torch.equal(first.variances, again.variances)
    other = pca.fit(shapes.test, path)
    assert not torch.equal(other.mean, first.mean)
    path.write_bytes(path.read_bytes()[:1000])
    anew = pca.fit(shapes.test, path)
    assert "computed anew" in capsys.readouterr().out
    assert torch.allclose(anew.mean, other.mean)
