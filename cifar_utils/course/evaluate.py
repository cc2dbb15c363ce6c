"""Measures a stored model: `cifar-course evaluate` (the exercises' evaluate.py) and `cifar-course analysis`."""

import io
from pathlib import Path
from typing import Any

import torch

from cifar_utils import analysis, checkpoints, data, evaluation, plotting, runs
from cifar_utils.course.project import CourseError, relative

_EXAMPLES = 20  # images of each split: the first half right, the second half wrong, where there are so many
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
    confusion matrices, metrics by class and examples of a classifier, sheets of reconstructions of an autoencoder.
    Returns the folder. Raises CourseError for a checkpoint that does not load.
    """
    loaded = _load(checkpoint)
    name = checkpoint.stem
    folder = output or root / "runs" / "evaluate" / name
    seed = loaded.split_seed if loaded.split_seed is not None else 0
    if loaded.split_seed is None:
        print("The checkpoint does not say which split it was trained with; the course's own (seed 0) is taken.")
    splits = data.split(cifar or _cifar(), train_size=sizes[0], val_size=sizes[1], seed=seed)
    measure = _KINDS.get(loaded.header["architecture"], _measure_classifier)
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


_KINDS = {"Autoencoder": _measure_autoencoder}  # architecture: what measures it; all others are classifiers


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
    if loaded.header["architecture"] in _KINDS:
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
