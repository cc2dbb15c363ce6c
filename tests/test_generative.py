"""Yardsticks and VAEs measured: known Gaussians, active units, distances of sets, images drawn."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg

from cifar_utils import data, generative, losses, models
from cifar_utils.generative import PixelGaussian


@pytest.fixture(scope="module")
def shapes():
    return data.synthetic_shapes(train_size=400, test_size=100, seed=1)


@pytest.fixture(scope="module")
def gaussian(shapes):
    return PixelGaussian.fit(shapes.train.images)


def test_the_gaussian_has_the_images_mean_and_covariance_and_the_noise(shapes, gaussian):
    pixels = shapes.train.images.flatten(1).double().numpy()
    assert gaussian.mean.numpy() == pytest.approx(pixels.mean(0) + 0.5)
    components = gaussian.components.double().numpy()
    covariance = (components.T * gaussian.variances.numpy()) @ components
    expected = np.cov(pixels.T, bias=True) + np.eye(3072) / 12
    assert abs(covariance - expected).max() < 1e-3 * expected.max()
    assert gaussian.variances.min().item() == pytest.approx(1 / 12, rel=1e-4)  # fewer images than numbers


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
    greyscale = torch.full((1, 3, 32, 32), 40.0) + whitening.mean.view(1, 3, 32, 32)
    colours = whitening.apply(greyscale).square().sum((0, 2, 3))
    assert colours.shape == (3,) and colours[0] > 0


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


def test_active_units_are_those_whose_mean_moves():
    torch.manual_seed(0)
    means = torch.randn(1000, 4) * torch.tensor([1.0, 0.2, 0.05, 0.0])
    assert generative.active_units(means) == 2


def test_a_spatial_vae_without_training_has_the_gaussians_bits(shapes, gaussian):
    torch.manual_seed(0)
    model = models.SpatialVAE(2, 8)
    report = generative.evaluate(model, shapes.test, gaussian.whitening())
    gaussians = gaussian.bits_per_dim(gaussian.energies(shapes.test.images))
    assert losses.bits_per_dim(report.metrics["recon_nats"]) == pytest.approx(gaussians, rel=0.02)
    assert report.means.shape == (100, 128) and report.kl_by_latent.shape == (128,)
    assert report.kl_by_latent.sum() == pytest.approx(report.metrics["kl_nats"])
    again = generative.evaluate(model, shapes.test, gaussian.whitening())
    assert again.metrics == report.metrics


def test_drawn_images_depend_on_the_seed_alone(gaussian):
    model, whitening = models.SpatialVAE(2, 8), gaussian.whitening()
    torch.manual_seed(5)
    first = generative.draw(model, 3, seed=1, whitening=whitening)
    assert first.shape == (3, 3, 32, 32) and first.dtype == torch.uint8
    assert torch.equal(first, generative.draw(model, 3, seed=1, whitening=whitening))
    assert not torch.equal(first, generative.draw(model, 3, seed=2, whitening=whitening))


def test_features_are_what_the_last_layer_reads(shapes):
    model = models.CNN(channels=(4,), dense=(8,))
    features = generative.embed(model, shapes.test.images)
    assert features.shape == (100, 8)
    inputs = generative.STANDARD.apply(shapes.test.images)
    with torch.no_grad():
        assert torch.allclose(model.classify(features), model(inputs), atol=1e-5)


def test_the_frechet_distance_is_that_of_the_formula():
    random = np.random.default_rng(0)
    one, other = random.normal(size=(300, 5)), random.normal(size=(200, 5)) @ random.normal(size=(5, 5)) + 1
    found = generative.frechet_distance(torch.tensor(one), torch.tensor(other))
    covariances = np.cov(one.T), np.cov(other.T)
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = ((one.mean(0) - other.mean(0))**2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert found == pytest.approx(expected, rel=1e-6)
    assert generative.frechet_distance(torch.tensor(one), torch.tensor(one)) == pytest.approx(0, abs=1e-6)
    assert generative.frechet_distance(torch.tensor(one), torch.tensor(one) + 2) == pytest.approx(20)


def test_the_nearest_image_is_found_with_its_distance(shapes):
    pool = shapes.train.images
    wanted = pool[[7, 3]].clone()
    wanted[1] = (wanted[1].float() * 0.99).to(torch.uint8)
    places, distances = generative.nearest(wanted, pool)
    assert places.tolist() == [7, 3]
    expected = ((wanted[1].double() - pool[3].double()) / 255).square().mean().item()
    assert distances.tolist() == pytest.approx([0, expected], abs=1e-6)


def test_the_walk_keeps_its_distance_from_the_origin():
    torch.manual_seed(0)
    first, last = torch.randn(2, 100)
    first, last = 10 * first / first.norm(), 10 * last / last.norm()
    walk = generative.interpolate(first, last, 7)
    assert torch.allclose(walk[0], first, atol=1e-4) and torch.allclose(walk[-1], last, atol=1e-4)
    assert torch.allclose(walk.norm(dim=1), torch.full((7,), 10.0), atol=1e-3)
