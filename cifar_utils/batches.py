"""Shuffled, augmented, normalised batches from images that stay in memory as bytes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cifar_utils.data import Examples


@dataclass(frozen=True)
class Normalisation:
    """What is subtracted from each channel and what it is divided by; pixels are first scaled to [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"a normalisation needs three means and three positive deviations, got {self}")

    def apply(self, images: Tensor) -> Tensor:
        """Turn uint8 images (N, 3, H, W) into float32 model inputs of the same shape."""
        mean, std = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return (images.to(torch.float32) / 255 - mean) / std

    def invert(self, inputs: Tensor) -> Tensor:
        """Turn model inputs (N, 3, H, W) back into uint8 images, so that they can be looked at."""
        mean, std = (torch.tensor(v, device=inputs.device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        pixels = (inputs.to(torch.float32) * std + mean).clamp(0, 1)
        return (pixels * 255).round().to(torch.uint8)


UNIT_RANGE = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # pixels in [0, 1] and nothing more
STANDARD = Normalisation((0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784))


def widen(images: Tensor, pixels: int, border: str) -> Tensor:
    """Give images (N, C, H, W) with `pixels` more on each side: "black" (0), or "mirrored" without the edge twice."""
    if border == "black":
        return functional.pad(images, (pixels,) * 4)
    rows, columns = (_mirrored_places(size, pixels).to(images.device) for size in images.shape[-2:])
    return images[:, :, rows][..., columns]


def _mirrored_places(size: int, pixels: int) -> Tensor:
    places = torch.arange(-pixels, size + pixels).abs()
    return size - 1 - (size - 1 - places).abs()


class Batches:
    """Batches of one split: (inputs, labels) pairs, made from bytes when they are asked for.

    Inputs are float32 (B, 3, H, W), 32 by 32 pixels as CIFAR-10 is stored, in channels_last memory order, labels int64
    (B,). The order of the images and every augmentation depend on `seed` and the number of the epoch only, so an
    interrupted training can go on with the very batches that it would have seen. All images of a batch are cut out by
    one flat gather of pixels; padding is done once.

    Args:
        examples: the images, (N, 3, H, W) uint8, with their labels.
        normalisation: applied after the gather.
        shuffle: a new order every epoch.
        flip: mirror half of the images, drawn anew every epoch; "alternating" draws once and mirrors the other half
            in every second epoch, so that two epochs show each image both ways (Jordan 2024, airbench).
        shift: cut the image out of one that is wider by this many pixels on each side, at a random place.
        border: what these pixels are: "black", or "mirrored" at the image's edge.
        cutout: paint a square of this many pixels in the mean colour at a random place (DeVries & Taylor 2017).
        sizes: pixels a side in each epoch, the last one also in all epochs after it: images are shrunk to it at the
            end, so that the first epochs cost less (progressive resizing: Tan & Le 2021). Empty: as they are stored.
        drop_last: leave out a last batch that is not full.
        device: where the images are kept and batches are made; a GPU if there is one.
    """

    def __init__(self, examples: Examples, *, batch_size: int = 128, normalisation: Normalisation = STANDARD,
                 shuffle: bool = False, flip: bool | str = False, shift: int = 0, border: str = "black",
                 cutout: int = 0, sizes: Sequence[int] = (), seed: int = 0, drop_last: bool = False,
                 device: str | torch.device | None = None) -> None:
        if len(examples) == 0:
            raise ValueError("there are no examples to make batches of")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if flip not in (False, True, "alternating"):
            raise ValueError(f'flip must be False, True or "alternating", got {flip!r}')
        if border not in ("black", "mirrored"):
            raise ValueError(f'border must be "black" or "mirrored", got {border!r}')
        size = min(examples.images.shape[-2:])
        if not 0 <= shift <= size or not 0 <= cutout <= size:
            raise ValueError(f"shift and cutout must lie between 0 and {size} pixels, got {shift} and {cutout}")
        if not all(1 <= each <= size for each in sizes):
            raise ValueError(f"images are only shrunk: sizes must lie between 1 and {size}, got {list(sizes)}")
        self.examples, self.batch_size, self.normalisation = examples, batch_size, normalisation
        self.shuffle, self.flip, self.shift, self.border, self.cutout = shuffle, flip, shift, border, cutout
        self.sizes = tuple(sizes)
        self.seed, self.drop_last = seed, drop_last
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._height, self._width = examples.images.shape[-2:]
        padded = widen(examples.images, shift, border) if shift else examples.images
        self._pixels = padded.permute(0, 2, 3, 1).reshape(-1, 3).contiguous().to(self.device)
        self._labels = examples.labels.to(self.device)
        # One multiplication and one addition do scaling and standardising; a row of pixels at a time.
        scale = 1 / (255 * torch.tensor(normalisation.std, dtype=torch.float64))
        offset = -torch.tensor(normalisation.mean, dtype=torch.float64) / torch.tensor(
            normalisation.std, dtype=torch.float64)
        self._scale = scale.float().repeat(self._width).to(self.device)
        self._offset = offset.float().repeat(self._width).to(self.device)

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return (math.floor if self.drop_last else math.ceil)(len(self.examples) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the batches of one epoch, the first being number 0."""
        count = len(self.examples)
        # A prime apart, since the generator takes 32 bits only: epochs of one seed never meet those of the next.
        random = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**32)
        order = torch.randperm(count, generator=random) if self.shuffle else torch.arange(count)
        mirrored = self._mirrored(number, random)
        top, left = torch.randint(0, 2 * self.shift + 1, (2, count), generator=random)
        square = torch.randint(0, self._height, (2, count), generator=random) if self.cutout else None
        size = self.sizes[min(number, len(self.sizes) - 1)] if self.sizes else None
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            inputs = self._cut(chosen, top, left, mirrored)
            if square is not None:
                self._paint_square(inputs, *square[:, chosen])
            if size is not None and (size, size) != (self._height, self._width):
                inputs = functional.interpolate(inputs, size=(size, size), mode="bilinear", antialias=True)
            yield inputs, self._labels[chosen.to(self.device)]

    def _mirrored(self, number: int, random: torch.Generator) -> Tensor | None:
        if not self.flip:
            return None
        if self.flip == "alternating":
            first = torch.rand(len(self.examples), generator=torch.Generator().manual_seed(self.seed)) < 0.5
            return first if number % 2 == 0 else ~first
        return torch.rand(len(self.examples), generator=random) < 0.5

    def _cut(self, chosen: Tensor, top: Tensor, left: Tensor, mirrored: Tensor | None) -> Tensor:
        height, width = self._height, self._width
        count = len(chosen)
        if not self.shift and mirrored is None:
            images = self._pixels.view(-1, height * width * 3).index_select(0, chosen.to(self.device))
        else:
            columns = torch.arange(width).expand(count, width)
            if mirrored is not None:
                columns = torch.where(mirrored[chosen, None], width - 1 - columns, columns)
            padded_height, padded_width = height + 2 * self.shift, width + 2 * self.shift
            rows = chosen[:, None] * padded_height + top[chosen, None] + torch.arange(height)
            places = rows[:, :, None] * padded_width + (columns + left[chosen, None])[:, None, :]
            images = self._pixels.index_select(0, places.view(-1).to(self.device))
        values = torch.addcmul(self._offset, images.view(count * height, width * 3).float(), self._scale)
        return values.view(count, height, width, 3).permute(0, 3, 1, 2)  # channels_last without another copy

    def _paint_square(self, inputs: Tensor, row: Tensor, column: Tensor) -> None:
        low, high = self.cutout // 2, self.cutout - self.cutout // 2
        rows, columns = torch.arange(self._height), torch.arange(self._width)
        down = (rows >= row[:, None] - low) & (rows < row[:, None] + high)
        across = (columns >= column[:, None] - low) & (columns < column[:, None] + high)
        square = (down[:, :, None] & across[:, None, :]).to(self.device)
        for channel, (colour, mean, std) in enumerate(
                zip(STANDARD.mean, self.normalisation.mean, self.normalisation.std)):
            inputs[:, channel].masked_fill_(square, (colour - mean) / std)
