"""The Gaussian over pixels: PCA as the best linear autoencoder, and the yardstick of every likelihood."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cifar_utils import checkpoints
from cifar_utils.data import Examples
from cifar_utils.losses import NUMBERS, Whitening, bits_per_dim
from cifar_utils.models import Autoencoder

_BRIGHTNESS_AND_COLOURS = ((1, 1, 1), (1, 0, -1), (1, -2, 1))  # orthogonal axes of red, green, blue


@dataclass(frozen=True, eq=False)
class PixelGaussian:
    """One Gaussian over dequantised grey levels: 3,072 numbers an image, with their full covariance.

    Kept as principal components, so that its first few are the best linear autoencoder (PCA) and the
    maximum-likelihood linear VAE (probabilistic PCA, Tipping & Bishop 1999) of so many latents.
    """

    mean: Tensor  # (3072,) float64, grey levels 0 to 256
    variances: Tensor  # (3072,) float64, the greatest first, grey levels squared
    components: Tensor  # (3072, 3072) float32, a row each

    @classmethod
    def fit(cls, images: Tensor) -> "PixelGaussian":
        """Fit it to images (N, 3, 32, 32) uint8 by maximum likelihood; the noise is added exactly, not drawn."""
        total, products = torch.zeros(NUMBERS).double(), torch.zeros(NUMBERS, NUMBERS).double()
        for piece in images.split(1000):
            # Sums of 1,000 products of whole numbers up to 128 stay under 2**24: float32 adds them without an error.
            centred = piece.flatten(1).float() - 128
            total += centred.sum(0).double()
            products += (centred.T @ centred).double()
        middle = total / len(images)
        covariance = products / len(images) - middle.outer(middle)
        covariance += torch.eye(NUMBERS).double() / 12  # uniform noise of one grey level
        variances, vectors = torch.linalg.eigh(covariance)
        return cls(middle + 128.5, variances.flip(0), vectors.flip(1).T.float().contiguous())

    @classmethod
    def of(cls, examples: Examples, stored: Path | None = None) -> "PixelGaussian":
        """Take it from the file `stored` where that is of the same images; else fit it to them and store it there."""
        digest = hashlib.sha256(examples.indices.numpy().tobytes() + examples.images[::97].numpy().tobytes())
        if stored is not None and stored.exists():
            try:
                tensors, header = checkpoints.read_tensors(stored)
                if header.get("images") == digest.hexdigest():
                    return cls(tensors["mean"], tensors["variances"], tensors["components"])
            except (checkpoints.CheckpointError, KeyError) as error:
                print(f"The stored Gaussian cannot be read and is fitted anew: {error}")
        fitted = cls.fit(examples.images)
        if stored is not None:
            checkpoints.write_tensors(stored, {
                "mean": fitted.mean, "variances": fitted.variances, "components": fitted.components,
            }, {"images": digest.hexdigest()})
        return fitted

    @property
    def mean_image(self) -> Tensor:
        """The mean of the images, not dequantised, as pixels in [0, 1]: (3072,) float32."""
        return ((self.mean - 0.5) / 255).float()

    def autoencoder(self, latent_dim: int) -> Autoencoder:
        """Give the first `latent_dim` components as an autoencoder, whose convolutions add nothing: PCA."""
        model = Autoencoder(latent_dim, width=2)
        return model.start_at_pca(self.mean_image, self.components[:latent_dim]).eval()

    def energies(self, images: Tensor) -> Tensor:
        """Mean square of each component over dequantised images, (3072,) float64; the noise's share is exact."""
        sums = torch.zeros(NUMBERS).double()
        for piece in images.split(1000):
            centred = (piece.flatten(1).double() + 0.5 - self.mean).float()
            sums += (centred @ self.components.T).double().square().sum(0)
        return sums / len(images) + 1 / 12

    def bits_per_dim(self, energies: Tensor, latents: int | None = None) -> float:
        """Give -log2 of the density a dimension, for images of these `energies`.

        With `latents` only so many components keep their variance; the others share their mean: that is the best
        linear VAE with one deviation for all pixels, whose bound is tight.
        """
        variances = self.variances.clone()
        if latents is not None:
            variances[latents:] = variances[latents:].mean()
        return bits_per_dim(0.5 * (math.log(2 * math.pi) + variances.log() + energies / variances).sum().item())

    def whitening(self) -> Whitening:
        """Give the map to unit covariance that moves an image least (ZCA), its colours turned to brightness and two
        differences. Turning changes no density of a Gaussian; the differences are small in grey images.
        """
        axes = torch.tensor(_BRIGHTNESS_AND_COLOURS).float()
        axes = axes / axes.norm(dim=1, keepdim=True)
        deviations = self.variances.sqrt().float()[:, None]

        def turned(symmetric: Tensor) -> Tensor:  # its rows are the red, green and blue pixels
            return torch.einsum("ac,cpk->apk", axes, symmetric.view(3, -1, NUMBERS)).reshape(NUMBERS, NUMBERS)

        matrix = turned(self.components.T @ (self.components / deviations))
        inverse = turned(self.components.T @ (self.components * deviations)).T.contiguous()
        return Whitening(self.mean.float(), matrix, inverse, 0.5 * self.variances.log().sum().item())

    def draw(self, count: int, seed: int = 0) -> Tensor:
        """Draw images (count, 3, 32, 32) uint8; grey levels outside 0 to 255 are cut off."""
        noise = torch.randn(count, NUMBERS, generator=torch.Generator().manual_seed(seed))
        grey = (noise * self.variances.sqrt().float()) @ self.components + self.mean.float()
        return as_bytes(grey.view(-1, 3, 32, 32))


def as_bytes(grey: Tensor) -> Tensor:
    """Turn grey levels 0 to 256, floats, into bytes; what lies outside is cut off."""
    return grey.floor().clamp(0, 255).to(torch.uint8)
