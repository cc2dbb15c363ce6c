"""What training minimises: functions of a model, its inputs and the labels, for `training.fit`.

Each gives a dictionary of scalars, averages over the batch. `"loss"` is minimised; the others are only tracked.
"""

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
