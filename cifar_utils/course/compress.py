"""`cifar-course compress` and `decompress`: images to the bytes of chapter 5's codec, and back."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from cifar_utils import checkpoints, codec, data, runs
from cifar_utils.course.project import CourseError

_FOR_THE_STEP = 500  # validation images on which the step is chosen


def _load(path: Path) -> checkpoints.Checkpoint:
    try:
        return checkpoints.load(path, "Autoencoder")
    except checkpoints.CheckpointError as error:
        raise CourseError(str(error)) from error


def _read(path: Path) -> torch.Tensor:
    """An image file of 32 × 32 pixels as (3, 32, 32) uint8."""
    try:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise CourseError(f"{path} is no image that can be read.") from error
    if pixels.shape != (32, 32, 3):
        height, width = pixels.shape[:2]
        raise CourseError(f"{path} has {height} × {width} pixels; this codec takes images of 32 × 32.")
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _splits(loaded: checkpoints.Checkpoint, cifar: data.Cifar10 | None) -> data.Splits:
    try:
        return data.split(cifar or data.load_cifar10(), seed=loaded.split_seed or 0)
    except data.DataError as error:
        raise CourseError(str(error)) from error


def compress(
    checkpoint: Path,
    images: list[Path],
    output: Path,
    *,
    split: str | None = None,
    count: int = 100,
    step: float | None = None,
    cifar: data.Cifar10 | None = None,
) -> codec.Sizes:
    """Write image files, or the first `count` images of a split, as one file of the codec. Returns where bytes go.

    Without a `step`, the largest one is taken that costs 500 validation images at most 0.1 dB. Raises CourseError.
    """
    if bool(images) == bool(split):
        raise CourseError("Say what to compress: either image files, or --split with --count.")
    loaded = _load(checkpoint)
    if split:
        if count < 1:
            raise CourseError(f"--count is {count}; at least one image must be asked for.")
        pixels = getattr(_splits(loaded, cifar), split).images[:count]
    else:
        pixels = torch.stack([_read(path) for path in images])
    if step is None:
        step = codec.choose_step(loaded.model, _splits(loaded, cifar).val.images[:_FOR_THE_STEP])
    try:
        content = codec.compress(loaded.model, pixels, step)
    except ValueError as error:
        raise CourseError(str(error)) from error
    runs.write_whole(output, content)
    sizes = codec.sizes_of(content)
    print(
        f"{sizes.images} images in {sizes.total:,} bytes ({sizes.bits_per_pixel:.3f} bits a pixel): latents "
        f"{sizes.latents:,}, their means and deviations {sizes.tables:,}, header {sizes.header}; step {sizes.step:.4g}."
    )
    return sizes


def decompress(file: Path, checkpoint: Path, output: Path) -> Path:
    """Write the images of a file of the codec as 00000.png, 00001.png and so on. Returns the folder.

    Raises CourseError where the file is damaged, or was made with another network.
    """
    loaded = _load(checkpoint)
    try:
        images = codec.decompress(loaded.model, file.read_bytes())
    except codec.CodecError as error:
        raise CourseError(f"{file}: {error}") from error
    for number, pixels in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(buffer, format="PNG")
        runs.write_whole(output / f"{number:05d}.png", buffer.getvalue())
    print(f"{len(images)} images in {output}")
    return output
