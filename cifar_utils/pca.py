"""Principal components of the pixels: fitted once, stored, and used as the baseline of autoencoders."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from cifar_utils import checkpoints, models
from cifar_utils.data import Examples

_STORED = 1024  # components that are kept; of the variances all


@dataclass(frozen=True)
class PixelPCA:
    """Mean (3072,), components (K, 3072) in unit rows, and all variances (3072,), largest first; pixels in [0, 1]."""

    mean: Tensor
    components: Tensor
    variances: Tensor

    def network(self, latent_dim: int) -> models.Autoencoder:
        """Give the first `latent_dim` components as an autoencoder, whose convolutions add nothing."""
        model = models.Autoencoder(latent_dim, width=2)
        return model.start_at_pca(self.mean, self.components[:latent_dim]).eval()

    def error_without(self, latent_dim: int) -> float:
        """Give the mean squared error a value that the fitted images keep with so many components, unclamped."""
        return self.variances[latent_dim:].sum().item() / len(self.mean)


def fit(examples: Examples, path: Path | None = None) -> PixelPCA:
    """Fit the principal components of images (N, 3, 32, 32), flattened and scaled to [0, 1] (scikit-learn).

    With a `path` they are stored there, and read from there when the same images are asked for again.
    """
    images = hashlib.sha256(examples.images.contiguous().numpy().tobytes()).hexdigest()
    if path is not None and path.exists():
        try:
            tensors, header = checkpoints.read_tensors(path)
        except checkpoints.CheckpointError as error:
            print(f"The stored components cannot be read and are computed anew: {error}")
        else:
            if header.get("images") == images:
                return PixelPCA(**tensors)
    pixels = (examples.images.flatten(1).float() / 255).numpy()
    fitted = PCA(svd_solver="covariance_eigh" if len(pixels) >= pixels.shape[1] else "full").fit(pixels)
    variances = torch.zeros(pixels.shape[1])
    variances[: len(fitted.explained_variance_)] = torch.from_numpy(fitted.explained_variance_)
    tensors = {"mean": torch.from_numpy(fitted.mean_).float(),
               "components": torch.from_numpy(fitted.components_[:_STORED]).float(), "variances": variances}
    if path is not None:
        checkpoints.write_tensors(path, tensors, {"images": images})
    return PixelPCA(**tensors)
