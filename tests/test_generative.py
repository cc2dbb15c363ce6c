"""VAEs measured: active units, distances of sets, images drawn."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg

from cifar_utils import generative, losses, models


def test_active_units_are_those_whose_mean_moves():
    torch.manual_seed(0)
    means = torch.randn(1000, 4) * torch.tensor([1.0, 0.2, 0.05, 0.0])
    assert generative.active_units(means) == 2


@pytest.mark.slow
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


@pytest.mark.slow
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


class Noise(torch.nn.Linear):
    """Says of every latent: mean 128, deviation 20."""

    def likelihood(self, latents):
        shape = (len(latents), 3, 32, 32)
        return torch.full(shape, 128.0), torch.tensor(2 * math.log(20)).expand(shape)


def test_a_draw_of_the_likelihood_has_its_deviation():
    drawn = generative.decode(Noise(1, 1), torch.zeros(20, 1), noise=0).double()
    assert drawn.mean().item() == pytest.approx(127.5, abs=0.5) and drawn.std().item() == pytest.approx(20, abs=0.3)
