"""The Gaussian over pixels: what NumPy, SciPy and scikit-learn say, stored once."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from cifar_utils import losses
from cifar_utils.gaussian import PixelGaussian

pytestmark = pytest.mark.slow  # to decompose the pixels' covariance takes some seconds


def test_the_gaussian_has_the_images_mean_and_covariance_and_the_noise(shapes, gaussian):
    pixels = shapes.train.images.flatten(1).double().numpy()
    assert gaussian.mean.numpy() == pytest.approx(pixels.mean(0) + 0.5)
    components = gaussian.components.double().numpy()
    covariance = (components.T * gaussian.variances.numpy()) @ components
    expected = np.cov(pixels.T, bias=True) + np.eye(3072) / 12
    assert abs(covariance - expected).max() < 1e-3 * expected.max()
    assert gaussian.variances.min().item() == pytest.approx(1 / 12, rel=1e-4)  # fewer images than numbers


def test_its_first_components_are_pca(shapes, gaussian):
    pixels = shapes.train.images.flatten(1).double().numpy() / 255
    library = PCA(20, svd_solver="full").fit(pixels)
    outputs = library.inverse_transform(library.transform(pixels))
    with torch.no_grad():
        found = gaussian.autoencoder(20)(shapes.train.images.float() / 255).flatten(1)
    assert abs(found.numpy() - outputs).max() < 1e-3
    left = (gaussian.variances[20:] - 1 / 12).sum().item() / 3072 / 255**2
    assert ((outputs - pixels) ** 2).mean() == pytest.approx(left, rel=1e-3)


def test_its_bits_are_those_of_the_library(shapes, gaussian):
    """The noise is averaged exactly: so is it here, nearly, by the same noise once as it is and once mirrored."""
    components = gaussian.components.double()
    covariance = (components.T * gaussian.variances) @ components
    normal = torch.distributions.MultivariateNormal(gaussian.mean, covariance, validate_args=False)
    noise = torch.rand(400, 3072, generator=torch.Generator().manual_seed(0)).double()
    images = shapes.train.images
    pixels = images.flatten(1).double()
    nats = -torch.cat([normal.log_prob(pixels + noise), normal.log_prob(pixels + 1 - noise)]).mean().item()
    found = gaussian.bits_per_dim(gaussian.energies(images))
    assert found == pytest.approx(nats / 3072 / math.log(2), rel=2e-3)
    half = 0.5 * (math.log(2 * math.pi) + 1) * 3072 + 0.5 * gaussian.variances.log().sum().item()
    assert found == pytest.approx(losses.bits_per_dim(half), rel=1e-4)  # on its own images: the entropy


def test_more_latents_are_never_worse_on_the_fitted_images(shapes, gaussian):
    energies = gaussian.energies(shapes.train.images)
    bits = [gaussian.bits_per_dim(energies, latents) for latents in (0, 16, 64, 256, 3071)]
    assert bits == sorted(bits, reverse=True)
    assert gaussian.bits_per_dim(energies, 3072 - 1) == pytest.approx(gaussian.bits_per_dim(energies), rel=1e-9)
    # No latents: independent pixels of one deviation.
    spread = gaussian.variances.mean().item()
    assert bits[0] == pytest.approx(0.5 * math.log2(2 * math.pi * math.e * spread), rel=1e-6)


def test_whitened_images_are_white_and_come_back(shapes, gaussian):
    whitening = gaussian.whitening()
    torch.manual_seed(0)
    grey = shapes.train.images.float() + torch.rand(400, 3, 32, 32)
    white = whitening.apply(grey)
    assert white.flatten(1).square().mean().item() == pytest.approx(1, abs=0.05)
    assert (whitening.invert(white) - grey).abs().max() < 0.5
    nats = losses.gaussian_nats(white, torch.zeros(()), torch.zeros(())).mean().item() + whitening.log_det
    bits = gaussian.bits_per_dim(gaussian.energies(shapes.train.images))
    assert losses.bits_per_dim(nats) == pytest.approx(bits, abs=0.02)


def test_of_independent_pixels_a_grey_image_has_brightness_and_no_colour():
    independent = PixelGaussian(torch.zeros(3072).double(), torch.full((3072,), 4.0).double(), torch.eye(3072))
    white = independent.whitening().apply(torch.full((1, 3, 32, 32), 40.0))
    assert white[:, 1:].abs().max() < 1e-4
    assert white[:, 0].numpy() == pytest.approx(40 * 3**0.5 / 2)


@pytest.fixture
def quick_fits(monkeypatch):
    """Count the fits, and make them quick: what is stored and taken matters here, not what it is."""
    fits = []

    def fit(cls, images):
        fits.append(len(images))
        return cls(images.double().mean((0,)).flatten(), torch.ones(3072).double(), torch.ones(2, 3072))

    monkeypatch.setattr(PixelGaussian, "fit", classmethod(fit))
    return fits


def test_a_stored_gaussian_is_taken_only_for_the_same_images(tmp_path, shapes, quick_fits):
    path = tmp_path / "gaussian.safetensors"
    first = PixelGaussian.of(shapes.train, path)
    other = PixelGaussian.of(shapes.train.subset(200), path)
    assert not torch.equal(first.mean, other.mean)
    again = PixelGaussian.of(shapes.train.subset(200), path)
    assert torch.equal(again.mean, other.mean) and torch.equal(again.components, other.components)
    assert quick_fits == [400, 200]


def test_a_damaged_store_is_made_anew(tmp_path, shapes, quick_fits):
    path = tmp_path / "gaussian.safetensors"
    path.write_bytes(b"nothing")
    assert torch.equal(PixelGaussian.of(shapes.test, path).mean, PixelGaussian.of(shapes.test, path).mean)
    assert quick_fits == [100]


def test_drawn_images_have_the_gaussians_mean(gaussian):
    images = gaussian.draw(300, seed=1)
    assert images.shape == (300, 3, 32, 32) and images.dtype == torch.uint8
    assert images.double().mean().item() == pytest.approx(gaussian.mean.mean().item(), abs=8)
    assert torch.equal(images[:5], gaussian.draw(300, seed=1)[:5])


def test_drawn_images_have_the_gaussians_deviations():
    gaussian = PixelGaussian(torch.full((3072,), 128.0).double(), torch.full((3072,), 400.0).double(), torch.eye(3072))
    assert gaussian.draw(20).double().std().item() == pytest.approx(20, abs=0.3)
