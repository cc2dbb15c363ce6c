"""What a trained classifier gets wrong: its mistakes as images, calibration, doubtful labels, corruptions, saliency."""

import io
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy import optimize, stats
from sklearn.model_selection import StratifiedKFold
from torch import nn
from torch.nn import functional
from torchvision.transforms.v2 import functional as transforms

from cifar_utils import runs
from cifar_utils.batches import STANDARD, Normalisation
from cifar_utils.data import CLASS_NAMES, Examples
from cifar_utils.evaluation import Predictions, predict

with warnings.catch_warnings():  # cleanlab and captum take it, and without ipywidgets it warns when first imported
    warnings.simplefilter("ignore")
    import tqdm.auto  # noqa: F401


def most_confident_mistakes(predictions: Predictions, count: int = 10) -> torch.Tensor:
    """Positions (at most `count`,) int64 of the wrong predictions, the most confident first; ties by position.

    Raises:
        ValueError: `count` is less than one.
    """
    if count < 1:
        raise ValueError(f"count is {count}; at least one mistake must be asked for")
    wrong = torch.nonzero(predictions.classes != predictions.labels).flatten()
    order = torch.argsort(predictions.confidence[wrong], descending=True, stable=True)
    return wrong[order[:count]]


def save_images(
    folder: Path,
    examples: Examples,
    predictions: Predictions,
    positions: Sequence[int] | torch.Tensor,
    *,
    scale: int = 8,
) -> pd.DataFrame:
    """Save images as `01_cat_dog_0.998.png` (rank, true, predicted, confidence), each pixel `scale` x `scale`.

    Also writes `index.csv` and returns it: rank, file, position in the official order, true, predicted, confidence.
    """
    rows = []
    confidences = predictions.confidence
    for rank, position in enumerate(map(int, positions), start=1):
        true = CLASS_NAMES[int(predictions.labels[position])]
        predicted = CLASS_NAMES[int(predictions.classes[position])]
        confidence = float(confidences[position])
        name = f"{rank:02d}_{true}_{predicted}_{confidence:.3f}.png"
        pixels = examples.images[position].permute(1, 2, 0).repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        buffer = io.BytesIO()
        Image.fromarray(pixels.contiguous().numpy()).save(buffer, format="PNG")
        runs.write_whole(folder / name, buffer.getvalue())
        rows.append((rank, name, int(examples.indices[position]), true, predicted, round(confidence, 6)))
    table = pd.DataFrame(rows, columns=["rank", "file", "index", "true", "predicted", "confidence"])
    runs.write_whole(folder / "index.csv", table.to_csv(index=False, lineterminator="\n"))
    return table


# ---------------------------------------------------------------- several models, several views of an image


def pool(members: Sequence[Predictions], weights: Sequence[float] | None = None) -> Predictions:
    """Join several predictions of the same examples: the weighted sum of their log-probabilities, equal by default.

    Raises:
        ValueError: there is no member, the weights are not as many, or the labels differ.
    """
    weights = [1 / max(len(members), 1)] * len(members) if weights is None else list(weights)
    if not members or len(weights) != len(members):
        raise ValueError(f"pooling needs members and a weight each, got {len(members)} and {len(weights)}")
    if any(not torch.equal(member.labels, members[0].labels) for member in members[1:]):
        raise ValueError("pooled predictions must speak of the same examples: their labels differ")
    joined = sum(weight * member.logits.double().log_softmax(1) for weight, member in zip(weights, members))
    return Predictions(torch.as_tensor(joined).float(), members[0].labels)


def fit_pool(members: Sequence[Predictions]) -> list[float]:
    """Give the weights, none negative, for which the pooled predictions have the least cross-entropy.

    Fit them where no member was trained. The better member gets the greater weight; the sum is a temperature turned.
    """

    terms, labels = torch.stack([member.logits.double().log_softmax(1) for member in members], 2), members[0].labels

    def loss(weights: np.ndarray) -> float:  # convex; in float64, so that its slope can be had from differences
        return functional.cross_entropy(terms @ torch.from_numpy(weights), labels).item()

    start = np.full(len(members), 1 / len(members))
    found = optimize.minimize(loss, start, method="L-BFGS-B", bounds=[(0, None)] * len(members))
    return [float(weight) for weight in found.x]


def predict_both_ways(model: nn.Module, examples: Examples, *, normalisation: Normalisation = STANDARD) -> Predictions:
    """Pool what a model says of each image and of its mirror image (test-time augmentation)."""
    mirrored = Examples(examples.images.flip(3), examples.labels, examples.indices)
    return pool([predict(model, views, normalisation=normalisation) for views in (examples, mirrored)])


def cross_validate(
    examples: Examples, train_one: Callable[[Examples, int], nn.Module], *, folds: int, seed: int = 0
) -> tuple[Predictions, list[nn.Module]]:
    """Let each image be judged by a model that has not seen it: stratified folds, each held out once.

    Args:
        train_one: trains a model on (examples, number of the fold) and returns it; inputs are standardised. Where it
            trains by `training.fit` with a checkpoint a fold, an interrupted cross-validation goes on.

    Returns:
        The held-out predictions (both ways) in the order of `examples`, and the models of the folds.

    Raises:
        ValueError: fewer than two folds, or more than a class has images.
    """
    labels = examples.labels.numpy()
    logits, trained = torch.empty(len(examples), len(CLASS_NAMES)), []
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for fold, (rest, held_out) in enumerate(splitter.split(labels, labels)):
        trained.append(train_one(examples[rest], fold))
        logits[torch.from_numpy(held_out)] = predict_both_ways(trained[-1], examples[held_out]).logits
    return Predictions(logits, examples.labels), trained


# ---------------------------------------------------------------- calibration


def fit_temperature(predictions: Predictions) -> float:
    """Give the temperature T for which softmax(logits / T) has the least cross-entropy (Guo et al. 2017).

    Fit it on validation predictions; more than one says that the model is too sure of itself.
    """

    def loss(log_temperature: float) -> float:
        return functional.cross_entropy(predictions.logits / math.exp(log_temperature), predictions.labels).item()

    return math.exp(optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-4}).x)


def at_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """Divide the logits by a temperature: the classes stay, the confidence changes."""
    if not temperature > 0:
        raise ValueError(f"a temperature is positive, not {temperature}")
    return Predictions(predictions.logits / temperature, predictions.labels)


def reliability(predictions: Predictions, bins: int = 10) -> pd.DataFrame:
    """Compare confidence with accuracy in equally wide bins of confidence; bins without images are left out.

    Columns: images, confidence and accuracy (means of the bin), low and high (Wilson's 95 % interval of the accuracy).
    """
    confidence = predictions.confidence.double().numpy()
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    table = pd.DataFrame({"confidence": confidence, "accuracy": predictions.correct.double().numpy()})
    grouped = table.groupby(bin_of)
    means = grouped.mean().assign(images=grouped.size())
    return accuracy_interval(means, (means["accuracy"] * means["images"]).round().astype(int), means["images"])


def accuracy_interval(table: pd.DataFrame, right: pd.Series, images: pd.Series) -> pd.DataFrame:
    """Add `low` and `high`, Wilson's 95 % interval of a share, to a table."""
    intervals = [stats.binomtest(int(k), int(n)).proportion_ci(method="wilson") for k, n in zip(right, images)]
    return table.assign(low=[pair.low for pair in intervals], high=[pair.high for pair in intervals])


# ---------------------------------------------------------------- suspect labels


def label_suspicion(predictions: Predictions) -> np.ndarray:
    """Say how doubtful each label is: p_other / (p_other + p_label), (N,) float64 in [0, 1], 1 the most doubtful.

    p_other is the greatest probability that another class has. More than one half: the models would call the image
    something else. The order is that of the difference of the two logits, and so of no temperature.

    Args:
        predictions: of models that were not trained on these images.
    """
    logits = predictions.logits.double()
    given = logits.gather(1, predictions.labels[:, None])[:, 0]
    other = logits.scatter(1, predictions.labels[:, None], -math.inf).amax(1)
    return torch.sigmoid(other - given).numpy()


def label_suspects(predictions: Predictions, examples: Examples, split: str) -> pd.DataFrame:
    """List the labels that confident learning doubts, the most doubtful first (Northcutt, Jiang & Chuang 2021).

    How many there are is the estimate of confident learning (cleanlab), from the classes' own thresholds; which ones,
    and their order, follows from `label_suspicion`. Columns: split, index (position in the official order), label and
    suggested (class names), score (0.5 to 1; 1 the most doubtful).

    Args:
        predictions: of models that were not trained on these images, in the order of `examples`.

    Raises:
        ValueError: the labels of the two differ.
    """
    from cleanlab.count import num_label_issues  # here: its import takes more than a second

    if not torch.equal(predictions.labels, examples.labels):
        raise ValueError("the predictions are not those of these examples: the labels differ")
    labels, suspicion = predictions.labels.numpy(), label_suspicion(predictions)
    count = num_label_issues(labels, predictions.probabilities.double().numpy())
    order = np.argsort(-suspicion, kind="stable")[: min(int(count), int((suspicion > 0.5).sum()))]
    return pd.DataFrame({
        "split": split,
        "index": examples.indices.numpy()[order],
        "label": [CLASS_NAMES[k] for k in labels[order]],
        "suggested": [CLASS_NAMES[k] for k in predictions.classes.numpy()[order]],
        "score": suspicion[order],
    })  # fmt: skip


def plant_flips(
    labels: torch.Tensor, share: float, confusion: np.ndarray, seed: int = 0
) -> tuple[torch.Tensor, np.ndarray]:
    """Give a copy of labels (N,) in which a share is wrong, and a mask (N,) bool of those: a test for suspects.

    Args:
        confusion: (10, 10) counts; a wrong label is drawn from its row, so that classes flip to those they resemble.

    Raises:
        ValueError: the share is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of wrong labels must lie between 0 and 1, not {share}")
    random = np.random.default_rng(seed)
    weights = np.asarray(confusion, dtype=float) * (1 - np.eye(len(confusion))) + 1e-9 * (1 - np.eye(len(confusion)))
    planted, flipped = labels.numpy().copy(), np.zeros(len(labels), dtype=bool)
    flipped[random.choice(len(labels), round(share * len(labels)), replace=False)] = True
    for place in np.flatnonzero(flipped):
        row = weights[planted[place]]
        planted[place] = random.choice(len(row), p=row / row.sum())
    return torch.from_numpy(planted), flipped


# ---------------------------------------------------------------- corruptions

CORRUPTIONS: dict[str, tuple[float, ...]] = {  # five strengths each, weakest first; the units stand in `corrupt`
    "noise": (6, 12, 20, 30, 45), "blur": (0.4, 0.6, 0.8, 1.1, 1.5), "brightness": (0.8, 0.6, 0.45, 0.3, 0.2),
    "contrast": (0.75, 0.5, 0.35, 0.2, 0.1), "jpeg": (70, 45, 25, 15, 8), "shift": (1, 2, 4, 6, 8),
}  # fmt: skip


def corrupt(images: torch.Tensor, corruption: str, strength: int, *, seed: int = 0) -> torch.Tensor:
    """Spoil uint8 images (N, 3, H, W) in one of six ways at strength 1 to 5; the same seed spoils alike.

    noise: deviation of Gaussian noise (of 255); blur: deviation of a Gaussian kernel in pixels; brightness and
    contrast: factors; jpeg: quality; shift: pixels, to one of four sides at random, what appears is black. After
    Hendrycks & Dietterich (2019), with strengths of our own.

    Raises:
        ValueError: an unknown corruption, a strength outside 1 to 5, or images that are not uint8.
    """
    if corruption not in CORRUPTIONS or strength not in range(1, 6):
        raise ValueError(f"corruptions are {', '.join(CORRUPTIONS)}, of strength 1 to 5; got {corruption}, {strength}")
    if images.dtype != torch.uint8 or images.dim() != 4:
        raise ValueError(f"images must be (N, 3, H, W) torch.uint8, not {tuple(images.shape)} {images.dtype}")
    amount = CORRUPTIONS[corruption][strength - 1]
    random = torch.Generator().manual_seed(seed)
    if corruption == "noise":
        noise = torch.randn(images.shape, generator=random)
        return (images + amount * noise).round().clamp(0, 255).to(torch.uint8)
    if corruption == "blur":
        return transforms.gaussian_blur(images, kernel_size=[9, 9], sigma=[amount, amount])
    if corruption == "brightness":
        return transforms.adjust_brightness(images, amount)
    if corruption == "contrast":
        return transforms.adjust_contrast(images, amount)
    if corruption == "jpeg":
        return torch.stack([_jpeg(image, int(amount)) for image in images])
    side, moved, pixels = torch.randint(4, (len(images),), generator=random), images.clone(), int(amount)
    for number, (right, down) in enumerate(((pixels, 0), (-pixels, 0), (0, pixels), (0, -pixels))):
        of_side = images[side == number]
        moved[side == number] = transforms.affine(of_side, 0.0, translate=[right, down], scale=1.0, shear=[0.0, 0.0])
    return moved


def _jpeg(image: torch.Tensor, quality: int) -> torch.Tensor:
    """One image, (3, H, W) uint8, through JPEG and back; by Pillow, for torchvision's own needs compiled parts."""
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(buffer, format="JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)


# ---------------------------------------------------------------- where a network looks


def saliency(
    model: nn.Module, inputs: torch.Tensor, classes: torch.Tensor, *, layer: nn.Module | None = None
) -> torch.Tensor:
    """Map how much each place of the inputs (N, 3, H, W) speaks for the given classes (N,): (N, H, W) float32 >= 0.

    Without a layer by integrated gradients from the zero input, the mean image of standardised pixels (Sundararajan,
    Taly & Yan 2017), positive parts summed over channels; with one by Grad-CAM on that layer's output, enlarged
    (Selvaraju et al. 2017). Each map is scaled so that its sum is 1; a map that is zero everywhere stays so.
    """
    from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam

    model.eval()
    if layer is None:
        maps = IntegratedGradients(model).attribute(inputs, target=classes, n_steps=32, internal_batch_size=1000)
        maps = maps.clamp_min(0).sum(1)
    else:
        coarse = LayerGradCam(model, layer).attribute(inputs, target=classes, relu_attributions=True)
        maps = LayerAttribution.interpolate(coarse, tuple(inputs.shape[2:]), interpolate_mode="bilinear")[:, 0]
    maps = maps.detach().float()
    return maps / maps.sum((1, 2), keepdim=True).clamp_min(1e-12)
