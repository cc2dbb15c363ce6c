"""Measures a stored model (`cifar-course evaluate`, the exercises' evaluate.py; `analysis`), or draws (`sample`)."""

import functools
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cifar_utils import analysis, checkpoints, data, evaluation, generative, losses, plotting, runs
from cifar_utils.course.project import CourseError, relative
from cifar_utils.gaussian import PixelGaussian

_EXAMPLES = 20  # images of each split: the first half right, the second half wrong, where there are so many
_DRAWN = 64  # synthetic images on the sheet of a VAE
_SSIM_IMAGES = 2000  # of each split; the other metrics are of all
_IN_CHART = ("accuracy", "precision", "recall", "f1", "specificity")


def _load(path: Path) -> checkpoints.Checkpoint:
    try:
        return checkpoints.load(path)
    except checkpoints.CheckpointError as error:
        raise CourseError(str(error)) from error


def _cifar() -> data.Cifar10:
    try:
        return data.load_cifar10()
    except data.DataError as error:
        raise CourseError(str(error)) from error


def evaluate(
    root: Path,
    checkpoint: Path,
    output: Path | None = None,
    *,
    cifar: data.Cifar10 | None = None,
    sizes: tuple[int, int] = (40_000, 10_000),
) -> Path:
    """Measure a checkpoint on train, validation and test split, and store what was found.

    Writes metrics.json (`model.split.metric`), metrics.csv, metrics.png and what the kind of model needs besides:
    confusion matrices, metrics by class and examples of a classifier, sheets of reconstructions of an autoencoder,
    and of a VAE besides these a sheet of synthetic images, samples.png.
    Returns the folder. Raises CourseError for a checkpoint that does not load.
    """
    loaded = _load(checkpoint)
    name = checkpoint.stem
    folder = output or root / "runs" / "evaluate" / name
    seed = loaded.split_seed if loaded.split_seed is not None else 0
    if loaded.split_seed is None:
        print("The checkpoint does not say which split it was trained with; the course's own (seed 0) is taken.")
    splits = data.split(cifar or _cifar(), train_size=sizes[0], val_size=sizes[1], seed=seed)
    architecture = loaded.header["architecture"]
    measure: Callable[..., dict[str, float]] = _KINDS.get(architecture, _measure_classifier)
    if architecture in _VAES:
        whitening = _whitening(loaded, checkpoint, cifar or _cifar())
        measure = functools.partial(_measure_vae, whitening=whitening)
        _save_sheet(folder / "samples.png", generative.draw(loaded.model, _DRAWN, whitening=whitening))
    shown = plotting.model_name(name) or name
    reports: dict[str, dict[str, float]] = {}
    for split in ("train", "val", "test"):
        reports[split] = measure(loaded, getattr(splits, split), folder, split, f"{shown}: {split} split")
    in_chart = _IN_CHART if measure is _measure_classifier else tuple(reports["test"])
    chart = {split: {metric: metrics[metric] for metric in in_chart} for split, metrics in reports.items()}
    _save(folder / "metrics.png", plotting.metrics_by_split(chart, f"{shown}: metrics by split"))
    flat = {
        f"{name}.{split}.{metric}": value for split, metrics in reports.items() for metric, value in metrics.items()
    }
    runs.write_json(folder / "metrics.json", flat)
    metrics = list(reports["test"])
    table = [
        ",".join(["split", *metrics]),
        *(",".join([s, *(repr(m[key]) for key in metrics)]) for s, m in reports.items()),
    ]
    runs.write_whole(folder / "metrics.csv", "\n".join(table) + "\n")
    for split, values in reports.items():
        print(f"{split:>5}: " + ", ".join(f"{metric} {value:.4g}" for metric, value in values.items()))
    print(f"Metrics, charts and pictures: {relative(folder, root)}")
    return folder


def _measure_classifier(
    loaded: checkpoints.Checkpoint, examples: data.Examples, folder: Path, split: str, title: str
) -> dict[str, float]:
    """Metrics of a classifier on one split; confusion matrix, metrics by class and examples go into the folder."""
    predictions = evaluation.predict(loaded.model, examples, normalisation=loaded.normalisation)
    report = evaluation.report(predictions)
    _save(folder / f"confusion_{split}.png", plotting.confusion_matrix(report.confusion, title))
    _save(folder / f"examples_{split}.png", _examples(examples, predictions, title))
    rows = [",".join(["true", *data.CLASS_NAMES])]
    rows += [
        ",".join([label, *map(str, counts)]) for label, counts in zip(data.CLASS_NAMES, report.confusion.tolist())
    ]
    runs.write_whole(folder / f"confusion_{split}.csv", "\n".join(rows) + "\n")
    runs.write_whole(folder / f"classes_{split}.csv", report.per_class.to_csv(lineterminator="\n"))
    return report.metrics


def _measure_autoencoder(
    loaded: checkpoints.Checkpoint, examples: data.Examples, folder: Path, split: str, title: str
) -> dict[str, float]:
    """Metrics of an autoencoder on one split; its best, median and worst reconstructions go into the folder."""
    found = evaluation.reconstruct(loaded.model, examples)
    _save(folder / f"reconstructions_{split}.png", plotting.reconstructions(found.images, found.outputs, title))
    return evaluation.reconstruction_report(found, ssim_images=_SSIM_IMAGES)


def _measure_vae(
    loaded: checkpoints.Checkpoint,
    examples: data.Examples,
    folder: Path,
    split: str,
    title: str,
    *,
    whitening: losses.Whitening | None,
) -> dict[str, float]:
    """Metrics of a VAE on one split: its likelihood, and what its mean latents decode to."""
    report = generative.evaluate(loaded.model, examples, whitening)
    means = report.means.view(-1, *loaded.model.latent_shape)  # type: ignore[misc]
    outputs = generative.decode(loaded.model, means, whitening).float() / 255
    found = evaluation.Reconstructions(examples.images, outputs)
    _save(folder / f"reconstructions_{split}.png", plotting.reconstructions(found.images, found.outputs, title))
    return report.metrics | evaluation.reconstruction_report(found, ssim_images=_SSIM_IMAGES)


def _whitening(loaded: checkpoints.Checkpoint, path: Path, cifar: data.Cifar10) -> losses.Whitening | None:
    """The map to whitened pixels that a spatial VAE was trained with; the file names the training split that it fits.

    It is fitted to these images again, which takes some seconds, or taken from where the run has stored it.
    """
    if loaded.header["architecture"] != "SpatialVAE":
        return None
    if (sizes := loaded.header.get("whitening")) is None:
        raise CourseError(f"{path} does not say which images its pixels were whitened with; train the model again.")
    train = data.split(cifar, **sizes, seed=loaded.split_seed or 0).train
    stored = path.with_name("gaussian.safetensors")
    return PixelGaussian.of(train, stored if stored.exists() else None).whitening()


_VAES = ("VAE", "SpatialVAE")
_KINDS = {"Autoencoder": _measure_autoencoder}  # architecture: what measures it; all but VAEs are else classifiers


def _save(path: Path, figure: Any) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, facecolor="white", bbox_inches="tight")
    runs.write_whole(path, buffer.getvalue())


def _examples(examples: data.Examples, predictions: evaluation.Predictions, title: str) -> Any:
    """Images that the model gets right, then images that it gets wrong, the first of each in the split's order."""
    right = torch.nonzero(predictions.correct).flatten()[: _EXAMPLES // 2]
    wrong = torch.nonzero(~predictions.correct).flatten()[: _EXAMPLES // 2]
    chosen = torch.cat([right, wrong])
    labels = [data.CLASS_NAMES[int(k)] for k in predictions.labels[chosen]]
    guesses = [data.CLASS_NAMES[int(k)] for k in predictions.classes[chosen]]
    return plotting.image_grid(
        examples.images[chosen],
        title=title,
        true=labels,
        predicted=guesses,
        confidence=predictions.confidence[chosen],
    )


def sample(
    root: Path,
    checkpoint: Path,
    output: Path | None = None,
    *,
    count: int = 64,
    seed: int = 0,
    cifar: data.Cifar10 | None = None,
) -> Path:
    """Draw synthetic images from a VAE's prior and save them as one sheet, a PNG file. Returns its path.

    Raises CourseError for a checkpoint that does not load or is no VAE, and for a `count` of less than one.
    """
    if count < 1:
        raise CourseError(f"--count is {count}; at least one image must be asked for.")
    loaded = _load(checkpoint)
    if (architecture := loaded.header["architecture"]) not in _VAES:
        raise CourseError(
            f"{checkpoint} holds a model that draws no images ({architecture}). A VAE is needed: cifar-course run 6"
        )
    needs_images = architecture == "SpatialVAE"
    whitening = _whitening(loaded, checkpoint, cifar or _cifar()) if needs_images else None
    path = output or root / "runs" / "samples" / f"{checkpoint.stem}_seed{seed}.png"
    _save_sheet(path, generative.draw(loaded.model, count, seed=seed, whitening=whitening))
    print(f"{count} synthetic images of {checkpoint.stem}, seed {seed}: {relative(path, root)}")
    return path


def _save_sheet(path: Path, images: torch.Tensor, scale: int = 3, gap: int = 4) -> None:
    """Images (N, 3, 32, 32) uint8 side by side on white, about as many columns as rows, each pixel enlarged."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    big = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    side = big.shape[2] + gap
    sheet = torch.full((3, rows * side + gap, columns * side + gap), 255, dtype=torch.uint8)
    for number, picture in enumerate(big):
        top, left = gap + number // columns * side, gap + number % columns * side
        sheet[:, top : top + side - gap, left : left + side - gap] = picture
    buffer = io.BytesIO()
    Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy()).save(buffer, format="PNG")
    runs.write_whole(path, buffer.getvalue())


def newest_checkpoint(root: Path, model: str = "cnn_best") -> Path:
    """The model's weights of the quick run, else of the full one, else the newest of any run."""
    for run in ("quick", "full", "*"):
        found = sorted(
            (root / "runs").glob(f"{run}/[0-9][0-9]_*/{model}.safetensors"), key=lambda path: path.stat().st_mtime
        )
        if found:
            return found[-1]
    raise CourseError(f"No run has a trained {model} yet. First: cifar-course train (make train)")


def mistakes(
    root: Path,
    checkpoint: Path | None = None,
    output: Path | None = None,
    count: int = 10,
    *,
    cifar: data.Cifar10 | None = None,
) -> Path:
    """Save a checkpoint's most confident mistakes on the test split as images. Returns their folder.

    Raises CourseError where there is no checkpoint, or `count` is less than one.
    """
    if count < 1:
        raise CourseError(f"--count is {count}; at least one mistake must be asked for.")
    checkpoint = checkpoint or newest_checkpoint(root)
    loaded = _load(checkpoint)
    if loaded.header["architecture"] in (*_KINDS, *_VAES):
        raise CourseError(f"{checkpoint} holds a model that is no classifier ({loaded.header['architecture']}).")
    test = (cifar or _cifar()).test
    predictions = evaluation.predict(loaded.model, test, normalisation=loaded.normalisation)
    folder = output or root / "runs" / "analysis"
    for old in folder.glob("[0-9]*_*_*_*.png"):
        old.unlink()  # the last analysis' images would mix with these
    table = analysis.save_images(folder, test, predictions, analysis.most_confident_mistakes(predictions, count))
    print(f"{checkpoint.stem} ({relative(checkpoint, root)}): accuracy {predictions.correct.float().mean():.1%}")
    print(table[["rank", "index", "true", "predicted", "confidence"]].to_string(index=False))
    print(f"Images and index.csv: {relative(folder, root)}")
    return folder
