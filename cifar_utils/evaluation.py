"""Metrics of trained models, classifiers and autoencoders: model and split come in, numbers and tables go out."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional import classification, image

from cifar_utils.batches import STANDARD, UNIT_RANGE, Batches, Normalisation, widen
from cifar_utils.data import CLASS_NAMES, Examples


@dataclass(frozen=True)
class Predictions:
    """What a classifier says of a split: logits (N, 10) float32 beside the labels (N,) int64."""

    logits: Tensor
    labels: Tensor

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, (N, 10) float32."""
        return self.logits.softmax(1)

    @property
    def classes(self) -> Tensor:
        """The most probable class, (N,) int64."""
        return self.logits.argmax(1)

    @property
    def confidence(self) -> Tensor:
        """The probability of the most probable class, (N,) float32."""
        return self.probabilities.amax(1)

    @property
    def correct(self) -> Tensor:
        """Whether the most probable class is the label, (N,) bool."""
        return self.classes == self.labels


@dataclass(frozen=True)
class ClassificationReport:
    """Metrics of one split; `metrics` are averages over the classes (macro), except accuracy, loss and ece."""

    metrics: dict[str, float]
    per_class: pd.DataFrame = field(repr=False)  # index class; precision, recall, f1, specificity, support
    confusion: np.ndarray = field(repr=False)  # (10, 10) int64: rows true, columns predicted


def predict(model: nn.Module, split: Batches | Examples, *, normalisation: Normalisation = STANDARD, views: int = 1,
            precision: str = "float32") -> Predictions:
    """Apply a model in evaluation mode to a split, in the split's own order, without augmentation.

    Args:
        split: examples, or batches, whose examples and normalisation are then used.
        views: 1, the image; 2, also its mirror image, and the logits are averaged; 6, also both of them moved by one
            pixel up and left, and down and right, which together count as much as the first two (Jordan 2024).
        precision: "float32", or "bfloat16" for matrix products.

    Raises:
        ValueError: the model does not give ten logits an image; no such number of views.
    """
    if views not in (1, 2, 6):
        raise ValueError(f"there are 1, 2 or 6 views of an image, not {views}")
    if isinstance(split, Batches):
        normalisation, examples = split.normalisation, split.examples
    else:
        examples = split
    if views > 1:
        model = _OfViews(model, moved=views == 6)
    logits = _apply(model, examples, normalisation, precision)
    if logits.shape != (len(examples), len(CLASS_NAMES)):
        raise ValueError(f"a classifier gives {len(CLASS_NAMES)} logits an image; this model gave {tuple(logits.shape)}"
                         f" for {len(examples)} images")
    return Predictions(logits, examples.labels)


class _OfViews(nn.Module):
    """A classifier's logits averaged over an image and its mirror image, and over both moved by a pixel."""

    def __init__(self, model: nn.Module, moved: bool) -> None:
        super().__init__()
        self.model, self.moved = model, moved
        self.training = model.training  # to be left as it was

    def _both_ways(self, inputs: Tensor) -> Tensor:
        return (self.model(inputs).float() + self.model(inputs.flip(3)).float()) / 2

    def forward(self, inputs: Tensor) -> Tensor:  # (N, 3, H, W) -> (N, 10)
        logits = self._both_ways(inputs)
        if not self.moved:
            return logits
        wider = widen(inputs, 1, "mirrored")
        return logits / 2 + (self._both_ways(wider[..., 2:, 2:]) + self._both_ways(wider[..., :-2, :-2])) / 4


def _apply(model: nn.Module, examples: Examples, normalisation: Normalisation,
           precision: str = "float32") -> Tensor:
    """What a model gives for every example, float32 on the CPU: in evaluation mode, in order, not augmented."""
    device = next(model.parameters()).device
    batches = Batches(examples, batch_size=250, normalisation=normalisation, device=device)
    training = model.training
    model.eval()
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        outputs = torch.cat([model(inputs).float().cpu() for inputs, _ in batches])
    model.train(training)
    return outputs.clone()  # an ordinary tensor: one made in inference mode can take no part in training


def report(predictions: Predictions) -> ClassificationReport:
    """Give loss (nats), accuracy, balanced accuracy, precision, recall, F1, specificity and calibration error.

    Precision, recall, F1 and specificity are unweighted means over the classes (macro). A class that was never
    predicted has precision 0. `ece` is the expected calibration error with 15 bins (Guo et al. 2017).
    """
    logits, labels = predictions.logits, predictions.labels
    classes, count = predictions.classes, len(CLASS_NAMES)
    table = pd.DataFrame({
        "precision": classification.multiclass_precision(classes, labels, count, average="none"),
        "recall": classification.multiclass_recall(classes, labels, count, average="none"),
        "f1": classification.multiclass_f1_score(classes, labels, count, average="none"),
        "specificity": classification.multiclass_specificity(classes, labels, count, average="none"),
        "support": torch.bincount(labels, minlength=count),
    }, index=pd.Index(CLASS_NAMES, name="class"))
    present = table[table["support"] > 0]  # a class without examples has no recall
    metrics = {
        "loss": functional.cross_entropy(logits, labels).item(),
        "accuracy": predictions.correct.double().mean().item(),
        "balanced_accuracy": float(present["recall"].mean()),
        **{name: float(table[name].mean()) for name in ("precision", "recall", "f1", "specificity")},
        "ece": classification.multiclass_calibration_error(predictions.probabilities, labels, count, n_bins=15).item(),
    }
    confusion = classification.multiclass_confusion_matrix(classes, labels, count).numpy()
    return ClassificationReport(metrics, table, confusion)


@dataclass(frozen=True)
class Reconstructions:
    """What an autoencoder makes of a split: images (N, 3, 32, 32) uint8 and outputs, float32 cut to [0, 1]."""

    images: Tensor
    outputs: Tensor

    @property
    def originals(self) -> Tensor:
        """The images as float32 in [0, 1]."""
        return self.images.float() / 255

    @property
    def errors(self) -> Tensor:
        """Mean squared error of each image over its 3,072 values in [0, 1], (N,) float32."""
        return (self.outputs - self.originals).square().mean((1, 2, 3))


def reconstruct(model: nn.Module, examples: Examples) -> Reconstructions:
    """Apply an autoencoder of pixels in [0, 1] to a split, in evaluation mode and float32; outputs are cut to [0, 1].

    Raises:
        ValueError: the model does not give back an image for each image.
    """
    outputs = _apply(model, examples, UNIT_RANGE).clamp(0, 1)
    if outputs.shape != examples.images.shape:
        raise ValueError(f"an autoencoder gives an image for each image; this model gave {tuple(outputs.shape)} for "
                         f"{tuple(examples.images.shape)}")
    return Reconstructions(examples.images, outputs.contiguous())


def similarity(outputs: Tensor, originals: Tensor) -> Tensor:
    """Give the SSIM (Wang et al. 2004) of each pair of images (N, 3, H, W) in [0, 1], (N,): 1 for equal images.

    Gaussian windows of 11 pixels (torchmetrics).
    """
    parts = zip(outputs.split(250), originals.split(250))
    return torch.cat([torch.as_tensor(image.structural_similarity_index_measure(
        *part, data_range=1.0, reduction="none")).view(-1) for part in parts])


def reconstruction_report(reconstructions: Reconstructions, ssim_images: int | None = None) -> dict[str, float]:
    """Give mean squared error (pixels in [0, 1]), PSNR (dB) and SSIM (Wang et al. 2004) of a split.

    PSNR is that of the mean squared error over all images, -10 log10 of it. SSIM is the mean over the first
    `ssim_images`, by default all.
    """
    outputs, originals = reconstructions.outputs, reconstructions.originals
    count = min(ssim_images or len(outputs), len(outputs))
    similar = similarity(outputs[:count], originals[:count]).double().mean().item()
    return {"mse": reconstructions.errors.double().mean().item(),
            "psnr_db": image.peak_signal_noise_ratio(outputs, originals, data_range=1.0).item(),
            "ssim": similar}
