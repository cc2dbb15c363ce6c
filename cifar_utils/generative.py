"""What a VAE is worth: its likelihood, the images it draws, and how far such images are from photographs."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from cifar_utils.batches import STANDARD, UNIT_RANGE, Batches, Normalisation
from cifar_utils.data import Examples
from cifar_utils.gaussian import as_bytes
from cifar_utils.losses import NUMBERS, NegativeElbo, Whitening, bits_per_dim

ACTIVE = 0.01  # a latent is active where its mean's variance over the images is greater (Burda et al. 2016)

# ---------------------------------------------------------------- VAEs


@dataclass(frozen=True)
class VaeReport:
    """What a VAE is worth on one split."""

    metrics: dict[str, float]  # recon_nats, kl_nats, bits_per_dim, active_units
    kl_by_latent: np.ndarray = field(repr=False)  # (latents,) nats, the mean over the images
    means: Tensor = field(repr=False)  # (N, latents) float32: where the encoder puts each image


def active_units(means: Tensor) -> int:
    """Count the latents whose mean (N, latents) differs from image to image: variance over 0.01 (Burda et al. 2016)."""
    return int((means.double().var(0) > ACTIVE).sum())


def evaluate(model: nn.Module, examples: Examples, whitening: Whitening | None = None, *, seed: int = 0) -> VaeReport:
    """Measure a VAE: one latent drawn and one noise added for each image, float32, the split's own order.

    `bits_per_dim` is an upper bound of the model's true one, and comparable with the literature.
    """
    device = next(model.parameters()).device
    loss = NegativeElbo(whitening=whitening.to(device) if whitening else None)
    parts: list[tuple[Tensor, ...]] = []
    model.eval()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.inference_mode():
        torch.manual_seed(seed)
        for inputs, _ in Batches(examples, batch_size=250, normalisation=UNIT_RANGE, device=device):
            parts.append(tuple(part.cpu() for part in loss.terms(model, inputs)))
    recon, kl, means = (torch.cat(part) for part in zip(*parts))
    kl_by_latent = kl.flatten(1).double().mean(0)
    recon_nats, kl_nats = recon.double().mean().item(), kl_by_latent.sum().item()
    metrics = {"recon_nats": recon_nats, "kl_nats": kl_nats, "bits_per_dim": bits_per_dim(recon_nats + kl_nats),
               "active_units": active_units(means.flatten(1))}
    return VaeReport(metrics, kl_by_latent.numpy(), means.flatten(1).clone())


def decode(model: nn.Module, latents: Tensor, whitening: Whitening | None = None, *, noise: int | None = None
           ) -> Tensor:
    """Make images (N, 3, 32, 32) uint8 of latents: the mean of the likelihood, or, with a seed `noise`, a draw of it.

    The latents have the shape that the model's `encode` gives, or (N, latents).
    """
    device = next(model.parameters()).device
    images = []
    random = None if noise is None else torch.Generator().manual_seed(noise)
    model.eval()
    with torch.inference_mode():
        for piece in latents.split(250):
            mean, log_variance = (part.cpu() for part in model.likelihood(piece.to(device)))  # type: ignore[operator]
            if random is not None:
                mean = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=random)
            images.append(as_bytes(whitening.invert(mean) if whitening else mean))
    return torch.cat(images)


def draw(model: nn.Module, count: int, *, seed: int = 0, whitening: Whitening | None = None) -> Tensor:
    """Draw images (count, 3, 32, 32) uint8: latents from the standard normal, then the decoder.

    Of a VAE of pixels the likelihood's mean is shown, since its noise is grain and nothing else. A VAE of whitened
    pixels says nearly all by its deviations, so its images are drawn with them.
    """
    random = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, *model.latent_shape, generator=random)  # type: ignore[misc]
    return decode(model, latents, whitening, noise=seed + 1 if whitening else None)


# ---------------------------------------------------------------- sets of images


def embed(model: nn.Module, images: Tensor, normalisation: Normalisation = STANDARD) -> Tensor:
    """Give a classifier's features of images (N, 3, 32, 32) uint8: what its last layer, `classify`, reads, (N, F)."""
    device = next(model.parameters()).device
    read: list[Tensor] = []
    handle = model.classify.register_forward_pre_hook(  # type: ignore[union-attr]
        lambda _layer, inputs: read.append(inputs[0].float().cpu()))
    model.eval()
    try:
        with torch.inference_mode():
            for piece in images.split(250):
                model(normalisation.apply(piece.to(device)))
    finally:
        handle.remove()
    return torch.cat(read).clone()


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Squared Fréchet distance of two Gaussians fitted to features (N, F) and (M, F) (Dowson & Landau 1982).

    With features of the Inception network it is called FID (Heusel et al. 2017); with any others it is not, and
    compares with nothing but itself. It is too large for few images: compare only sets of equal size.
    """
    means = [features.double().mean(0) for features in (first, second)]
    one, other = (features.double().T.cov() for features in (first, second))
    # The eigenvalues of the product of two covariances are real and not negative; rounding makes them nearly so.
    roots = torch.linalg.eigvals(one @ other).real.clamp(min=0).sqrt()
    return ((means[0] - means[1]).square().sum() + one.trace() + other.trace() - 2 * roots.sum()).item()


def nearest(images: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
    """Find each image's nearest one of a pool, both (·, 3, 32, 32) uint8, by the squared error of pixels in [0, 1].

    Returns:
        Positions in the pool (N,) int64, and mean squared errors (N,) float32.
    """
    wanted = images.flatten(1).float() / 255
    best, places = torch.full((len(images),), math.inf), torch.zeros(len(images), dtype=torch.int64)
    for number, piece in enumerate(pool.split(5000)):
        candidates = piece.flatten(1).float() / 255
        distances = (candidates.square().sum(1) - 2 * wanted @ candidates.T)
        least, where = distances.min(1)
        places[least < best] = where[least < best] + 5000 * number
        best = torch.minimum(best, least)
    return places, ((best + wanted.square().sum(1)) / NUMBERS).clamp(min=0)


def interpolate(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Walk from one latent (D,) to another along the great circle, (steps, D) (Shoemake 1985; White 2016).

    In many dimensions nearly all of a standard normal lies in a thin shell; the straight line would leave it.
    """
    angle = torch.arccos(torch.nn.functional.cosine_similarity(first, last, dim=0).clamp(-0.9999, 0.9999))
    share = torch.linspace(0, 1, steps)[:, None]
    return (torch.sin((1 - share) * angle) * first + torch.sin(share * angle) * last) / torch.sin(angle)
