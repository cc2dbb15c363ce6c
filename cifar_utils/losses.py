"""What training minimises: functions of a model, its inputs and the labels, for `training.fit`.

Each gives a dictionary of scalars, averages over the batch. `"loss"` is minimised; the others are only tracked.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Classification:
    """Cross-entropy of logits (N, classes) against integer labels (N,), in nats, with the accuracy beside it.

    `label_smoothing` moves this share of the target's probability evenly to all classes (Szegedy et al. 2016).
    """

    label_smoothing: float = 0.0

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = model(inputs).float()
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return {"loss": loss, "accuracy": (logits.detach().argmax(1) == labels).float().mean()}


def classification(label_smoothing: float = 0.0) -> Classification:
    """Give the loss of a classifier: cross-entropy in nats; accuracy is tracked beside it."""
    return Classification(label_smoothing)


@dataclass(frozen=True)
class Reconstruction:
    """Mean squared error an image value between a model's output and its clean input, pixels in [0, 1].

    With `noise` the model sees the input with Gaussian noise of this deviation added (a denoising autoencoder, Vincent
    et al. 2008). Labels are not used.
    """

    noise: float = 0.0

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        seen = inputs + self.noise * torch.randn_like(inputs) if self.noise else inputs
        return {"loss": functional.mse_loss(model(seen).float(), inputs)}


def reconstruction(noise: float = 0.0) -> Reconstruction:
    """Give the loss of an autoencoder: mean squared error; with `noise`, of an input that only the model sees noisy."""
    return Reconstruction(noise)


# ---------------------------------------------------------------- variational autoencoders

GREY_LEVELS = 256
NUMBERS = 3 * 32 * 32  # of an image


def bits_per_dim(nats: float) -> float:
    """Turn nats an image into bits a dimension: an image has 3,072 dimensions, a bit has ln 2 nats.

    Comparable with the literature where the nats are those of a density over dequantised grey levels, 0 to 256; the
    uniform density has 8.
    """
    return nats / (NUMBERS * math.log(2))


def dequantise(inputs: Tensor) -> Tensor:
    """Turn pixels in [0, 1], whole grey levels / 255, into grey levels plus uniform noise: floats in [0, 256).

    Without the noise a density could grow without bound at the whole numbers (Theis et al. 2016).
    """
    return (inputs.float() * (GREY_LEVELS - 1)).round() + torch.rand_like(inputs, dtype=torch.float32)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) of each latent in nats, in the shape of `mean` (Kingma & Welling 2014)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def gaussian_nats(values: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """-log N(values; mean, variance) of each example in nats, (N,): the sum over all its numbers (N, ...)."""
    terms = math.log(2 * math.pi) + log_variance + (values - mean).square() * (-log_variance).exp()
    return 0.5 * terms.expand_as(values).flatten(1).sum(1)


def draw_latents(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Draw z = mean + deviation · noise: the noise comes from outside, so the gradient passes (reparameterisation)."""
    return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)


@dataclass(frozen=True, eq=False)
class Whitening:
    """A linear map from grey levels (N, 3, 32, 32) to numbers of the same shape that have unit covariance.

    `log_det` is what a density loses by it, log|det inverse| in nats: log p(grey) = log p(white) - log_det. Made by
    `gaussian.PixelGaussian.whitening`.
    """

    mean: Tensor  # (3072,) float32
    matrix: Tensor  # (3072, 3072) float32
    inverse: Tensor  # (3072, 3072) float32
    log_det: float

    def apply(self, grey: Tensor) -> Tensor:
        """Whiten grey levels; always in float32, for the largest variance is millions of times the smallest."""
        with torch.autocast(grey.device.type, enabled=False):
            white = (grey.float().flatten(1) - self.mean) @ self.matrix.T
        return white.view(grey.shape).contiguous(memory_format=torch.channels_last)

    def invert(self, white: Tensor) -> Tensor:
        """Give the grey levels of whitened numbers; they may lie outside [0, 256]."""
        with torch.autocast(white.device.type, enabled=False):
            grey = white.float().flatten(1) @ self.inverse.T + self.mean
        return grey.view(white.shape)

    def to(self, device: torch.device) -> "Whitening":
        """Give the same map on another device."""
        return Whitening(self.mean.to(device), self.matrix.to(device), self.inverse.to(device), self.log_det)

    def __repr__(self) -> str:  # short, and another for other images: a checkpoint's settings hold it
        return f"Whitening(log_det={self.log_det:.6f})"


@dataclass(frozen=True)
class NegativeElbo:
    """The bound L_recon + β L_KL of a VAE, in nats an image; both terms are tracked, and the bits a dimension.

    A model gives `encode(inputs)` → mean and log-variance of the latents, and `likelihood(latents)` → mean and
    log-variance of what it explains: the grey levels, or, with a `whitening`, the whitened ones, which then are its
    inputs, too. One latent is drawn for each image (Kingma & Welling 2014). `beta`: Higgins et al. 2017; only with 1 is
    the loss a bound, so `bits_per_dim` is always that of β = 1.
    """

    beta: float = 1.0
    whitening: Whitening | None = None

    def terms(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give reconstruction (N,) and KL of each latent (N, ...), in nats, and the latents' means (N, ...)."""
        target = dequantise(inputs)
        if self.whitening is not None:
            inputs = target = self.whitening.apply(target)
        mean, log_variance = (part.float() for part in model.encode(inputs))  # type: ignore[operator]
        latents = draw_latents(mean, log_variance)
        guess, spread = (part.float() for part in model.likelihood(latents))  # type: ignore[operator]
        recon = gaussian_nats(target, guess, spread)
        if self.whitening is not None:
            recon = recon + self.whitening.log_det
        return recon, gaussian_kl(mean, log_variance), mean

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        recon, kl_of_latents, _ = self.terms(model, inputs)
        recon, kl = recon.mean(), kl_of_latents.flatten(1).sum(1).mean()
        return {"loss": recon + self.beta * kl, "recon_nats": recon, "kl_nats": kl,
                "bits_per_dim": (recon + kl) / (NUMBERS * math.log(2))}


def negative_elbo(beta: float = 1.0, whitening: Whitening | None = None) -> NegativeElbo:
    """Give the loss of a VAE of pixels in [0, 1]: reconstruction + β · KL, in nats an image."""
    return NegativeElbo(beta, whitening)
