"""Losses: numbers worked out by hand; of VAEs closed forms against libraries and Monte Carlo, units, sign, scale."""

import math

import pytest
import torch
from scipy import stats
from torch import distributions

from cifar_utils import losses, models


def test_the_reconstruction_loss_is_the_mean_over_all_values():
    inputs = torch.zeros(2, 3, 4, 4)
    inputs[0, 0, 0, 0] = 0.5
    found = losses.reconstruction()(torch.nn.Identity(), inputs, torch.zeros(2))
    assert found["loss"] == 0
    found = losses.reconstruction()(torch.zeros_like, inputs, torch.zeros(2))
    assert found["loss"].item() == pytest.approx(0.25 / inputs.numel())


def test_the_loss_is_float32_whatever_the_model_gives():
    loss = losses.reconstruction()(lambda x: x.bfloat16(), torch.rand(2, 3, 4, 4), torch.zeros(2))["loss"]
    assert loss.dtype == torch.float32


def test_noise_is_seen_by_the_model_and_asked_back_from_it():
    inputs, seen = torch.rand(50, 3, 32, 32), []

    def model(noisy):
        seen.append(noisy)
        return noisy

    torch.manual_seed(0)
    loss = losses.reconstruction(noise=0.1)(model, inputs, torch.zeros(50))["loss"]
    assert (seen[0] - inputs).std().item() == pytest.approx(0.1, rel=0.02)
    assert loss.item() == pytest.approx(0.01, rel=0.02)  # to give the noise back is an error


# ---------------------------------------------------------------- variational autoencoders


def test_the_kl_is_that_of_the_library_and_of_drawing():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    found = losses.gaussian_kl(mean, log_variance)
    encoder = distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = distributions.Normal(torch.zeros(5, 3), torch.ones(5, 3))
    assert torch.allclose(found, distributions.kl_divergence(encoder, prior), atol=1e-6)
    latents = losses.draw_latents(mean.expand(200_000, 5, 3), log_variance)
    drawn = (encoder.log_prob(latents) - prior.log_prob(latents)).mean(0)
    assert torch.allclose(found, drawn, atol=0.03)


def test_the_kl_is_zero_for_the_prior_alone():
    assert losses.gaussian_kl(torch.zeros(1), torch.zeros(1)).item() == 0
    for mean, log_variance in ((0.1, 0.0), (-0.1, 0.0), (0.0, 0.2), (0.0, -0.2)):
        assert losses.gaussian_kl(torch.tensor(mean), torch.tensor(log_variance)).item() > 0


def test_latents_have_the_mean_and_deviation_asked_for_and_pass_the_gradient():
    torch.manual_seed(0)
    mean, log_variance = torch.tensor(2.0, requires_grad=True), torch.tensor(math.log(9.0), requires_grad=True)
    latents = losses.draw_latents(mean.expand(100_000), log_variance)
    assert latents.mean().item() == pytest.approx(2, abs=0.05) and latents.std().item() == pytest.approx(3, abs=0.05)
    latents.sum().backward()
    assert mean.grad == 100_000 and log_variance.grad is not None


def test_gaussian_nats_are_those_of_scipy_with_one_deviation_or_many():
    torch.manual_seed(0)
    values, mean = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    one = losses.gaussian_nats(values, mean, torch.tensor(math.log(0.25)))
    assert one.numpy() == pytest.approx(-stats.norm.logpdf(values, mean, 0.5).sum((1, 2, 3)), rel=1e-5)
    spread = torch.randn(4, 3, 2, 2)
    many = losses.gaussian_nats(values, mean, spread)
    deviations = (0.5 * spread).exp().numpy()
    assert many.numpy() == pytest.approx(-stats.norm.logpdf(values, mean, deviations).sum((1, 2, 3)), rel=1e-5)


def test_the_uniform_density_has_eight_bits_and_fewer_nats_are_fewer_bits():
    uniform = losses.NUMBERS * math.log(losses.GREY_LEVELS)
    assert losses.bits_per_dim(uniform) == pytest.approx(8)
    assert losses.bits_per_dim(uniform / 2) == pytest.approx(4)


def test_dequantised_pixels_stay_within_their_grey_level_and_fill_it():
    torch.manual_seed(0)
    levels = torch.arange(256).float().repeat(400)
    grey = losses.dequantise(levels / 255)
    assert (grey.floor() == levels).all() and grey.max() < 256
    noise = grey - levels
    assert noise.mean().item() == pytest.approx(0.5, abs=0.01)
    assert noise.var().item() == pytest.approx(1 / 12, abs=0.001)


def random_whitening(seed=0):
    random = torch.Generator().manual_seed(seed)
    inverse = torch.eye(losses.NUMBERS) * (1 + torch.rand(losses.NUMBERS, generator=random))
    inverse[0, 1] = 0.5
    log_det = torch.linalg.slogdet(inverse.double()).logabsdet.item()
    mean = 255 * torch.rand(losses.NUMBERS, generator=random)
    return losses.Whitening(mean, torch.linalg.inv(inverse), inverse, log_det)


def test_whitening_is_undone_and_keeps_the_density_right():
    whitening = random_whitening()
    grey = 255 * torch.rand(3, 3, 32, 32)
    white = whitening.apply(grey)
    assert torch.allclose(whitening.invert(white), grey, atol=1e-2)
    through = losses.gaussian_nats(white, torch.zeros(()), torch.zeros(())) + whitening.log_det
    covariance = whitening.inverse.double() @ whitening.inverse.double().T
    normal = distributions.MultivariateNormal(whitening.mean.double(), covariance)
    assert torch.allclose(through.double(), -normal.log_prob(grey.flatten(1).double()), rtol=1e-5)


def test_an_untrained_spatial_vae_is_the_gaussian_of_its_whitening_plus_its_kl():
    torch.manual_seed(0)
    model, whitening = models.SpatialVAE(2, 8), random_whitening()
    inputs = torch.randint(0, 256, (4, 3, 32, 32)).float() / 255
    torch.manual_seed(1)
    white = whitening.apply(losses.dequantise(inputs))
    gaussian = 0.5 * (losses.NUMBERS * math.log(2 * math.pi) + white.square().sum((1, 2, 3))) + whitening.log_det
    torch.manual_seed(1)
    found = losses.negative_elbo(whitening=whitening)(model, inputs, torch.zeros(4))
    assert found["recon_nats"].item() == pytest.approx(gaussian.mean().item(), rel=1e-5)
    assert found["loss"].item() == pytest.approx((found["recon_nats"] + found["kl_nats"]).item(), rel=1e-6)


class Known(torch.nn.Module):
    """A VAE whose every number is known: latents N(1, 1), grey levels N(100, 20²)."""

    def encode(self, inputs):
        return torch.ones(len(inputs), 2), torch.zeros(len(inputs), 2)

    def likelihood(self, latents):
        return torch.full((len(latents), 3, 32, 32), 100.0), torch.tensor(2 * math.log(20))


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_beta_weighs_the_kl_in_the_loss_and_not_in_the_bits(beta):
    torch.manual_seed(0)
    inputs = torch.randint(0, 256, (50, 3, 32, 32)).float() / 255
    found = losses.negative_elbo(beta)(Known(), inputs, torch.zeros(50))
    grey = inputs * 255 + 0.5
    expected = -stats.norm.logpdf(grey, 100, 20).sum((1, 2, 3)).mean() + losses.NUMBERS / 12 / 2 / 400
    assert found["kl_nats"].item() == pytest.approx(1)  # two latents with half a nat each
    assert found["recon_nats"].item() == pytest.approx(expected, rel=1e-4)
    assert found["loss"].item() == pytest.approx(found["recon_nats"].item() + beta, rel=1e-6)
    assert found["bits_per_dim"].item() == pytest.approx(losses.bits_per_dim(found["recon_nats"].item() + 1), rel=1e-6)
