"""Images to bytes and back through an autoencoder: quantised latents, entropy-coded, in a file that checks itself.

A file holds, one after another: magic, version and digest of the network's weights; how many images and latents; the
step of the quantisation; for each latent its mean and deviation in steps (float16), which both sides need as the model
of the range coder; the coder's bytes; two checksums. Whoever has the same network can decode it, in any process.
"""

import bisect
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import torch
from torch import Tensor, nn

from cifar_utils import checkpoints

_Gaussian = constriction.stream.model.QuantizedGaussian
MAGIC, VERSION = b"CIFA", 1
_FIXED = struct.Struct("<4sB8sIHfHI")  # magic, version, digest, images, latents, step, largest symbol, coded bytes
_CHECK = struct.Struct("<II")  # of the symbols, of all bytes before it
_STEPS = tuple(float(2 ** (k / 2)) for k in range(-12, 9))  # what `choose_step` tries: 1/64 to 16


class CodecError(RuntimeError):
    """A file is damaged, no file of this codec, or was made with another network."""


@dataclass(frozen=True)
class Sizes:
    """Where the bytes of a file go."""

    header: int  # what says how to read the rest, with the checksums
    tables: int  # mean and deviation of each latent
    latents: int  # the coded latents themselves
    images: int
    step: float

    @property
    def total(self) -> int:
        """Length of the file."""
        return self.header + self.tables + self.latents

    @property
    def bits_per_pixel(self) -> float:
        """Bits of the whole file for each of the images' 1,024 pixels."""
        return 8 * self.total / (self.images * 32 * 32)


def latents_of(model: nn.Module, images: Tensor) -> Tensor:
    """Encode uint8 images (N, 3, 32, 32) into latents (N, latent_dim) float32, on the CPU."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        return torch.cat([model.encode(part.to(device).float() / 255).float().cpu()  # type: ignore[operator]
                          for part in images.split(250)])


def images_of(model: nn.Module, latents: Tensor) -> Tensor:
    """Decode latents (N, latent_dim) into uint8 images (N, 3, 32, 32), on the CPU."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        return torch.cat([(model.decode(part.to(device)).float().clamp(0, 1) * 255).round()  # type: ignore[operator]
                          .to(torch.uint8).cpu() for part in latents.split(250)])


def compress(model: nn.Module, images: Tensor, step: float) -> bytes:
    """Encode images (N, 3, 32, 32) uint8 into the bytes of a file.

    Each latent is rounded to a multiple of `step`; a range coder (Pasco 1976, Martin 1979; library: constriction)
    then spends about -log2 p bits on it, p being its probability under a Gaussian of the latent's own mean and
    deviation over these images.

    Raises:
        ValueError: no images, of another shape, or a step that makes the rounded latents too large.
    """
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1:] != (3, 32, 32) or len(images) == 0:
        raise ValueError(f"images must be (N, 3, 32, 32) torch.uint8 and at least one, got {tuple(images.shape)} "
                         f"{images.dtype}")
    if not 0 < step < float("inf"):
        raise ValueError(f"the step must be positive, got {step}")
    step = float(np.float32(step))  # as the file holds it
    rounded = (latents_of(model, images) / step).round().numpy()
    largest = float(np.abs(rounded).max())
    if not largest < 2**15:
        raise ValueError(f"with a step of {step:g} a latent is {largest:g} steps away from zero, too many; "
                         "take a larger step")
    symbols = rounded.astype(np.int32)
    deviation = np.maximum(symbols.std(0), 0.1)  # a latent that never changes still needs a model
    tables = np.stack([symbols.mean(0), deviation]).astype("<f2")
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(symbols.ravel(), *_gaussian(int(largest), tables, len(symbols)))
    coded = encoder.get_compressed().astype("<u4").tobytes()
    fixed = _FIXED.pack(MAGIC, VERSION, _digest(model), *symbols.shape, step, int(largest), len(coded))
    content = fixed + tables.tobytes() + coded + struct.pack("<I", _checksum(symbols))
    return content + struct.pack("<I", zlib.crc32(content))


def decompress(model: nn.Module, content: bytes) -> Tensor:
    """Decode the bytes of a file into its images, (N, 3, 32, 32) uint8.

    Raises:
        CodecError: the file is truncated, altered or of another kind, or was made with another network.
    """
    sizes = sizes_of(content)
    _, _, digest, count, latent_dim, step, largest, _ = _FIXED.unpack_from(content)
    if digest != _digest(model):
        raise CodecError(f"the file was made with another network: it asks for weights {digest.hex()}, these are "
                         f"{_digest(model).hex()}")
    start = _FIXED.size
    tables = np.frombuffer(content, "<f2", 2 * latent_dim, start).reshape(2, latent_dim)
    words = np.frombuffer(content, "<u4", sizes.latents // 4, start + sizes.tables).astype(np.uint32)
    decoder = constriction.stream.queue.RangeDecoder(words)
    symbols = decoder.decode(*_gaussian(largest, tables, count)).reshape(count, latent_dim)
    if _checksum(symbols) != _CHECK.unpack_from(content, sizes.total - _CHECK.size)[0]:
        raise CodecError("the file is whole, but this machine decodes other numbers from it than were put in")
    return images_of(model, torch.from_numpy(symbols.astype(np.float32)) * step)


def sizes_of(content: bytes) -> Sizes:
    """Check a file as far as that goes without the network, and say where its bytes go.

    Raises:
        CodecError: truncated, altered, or no file of this codec.
    """
    if content[:4] != MAGIC:
        raise CodecError(f"this is no file of the course's codec: it begins with {content[:4]!r}, not with {MAGIC!r}")
    if len(content) < _FIXED.size + _CHECK.size:
        raise CodecError(f"the file is truncated: {len(content)} bytes are less than its header")
    _, version, _, count, latent_dim, step, _, coded = _FIXED.unpack_from(content)
    if version != VERSION:
        raise CodecError(f"the file has version {version} of the format; this course reads version {VERSION}")
    tables = 4 * latent_dim
    expected = _FIXED.size + tables + coded + _CHECK.size
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "longer than it says"
        raise CodecError(f"the file is {state}: {len(content):,} bytes instead of {expected:,}")
    if zlib.crc32(content[: -4]) != _CHECK.unpack_from(content, expected - _CHECK.size)[1]:
        raise CodecError("the file was altered: its checksum does not fit its bytes")
    return Sizes(_FIXED.size + _CHECK.size, tables, coded, count, step)


def choose_step(model: nn.Module, images: Tensor, loss_db: float = 0.1) -> float:
    """Choose the largest step of a fixed ladder that costs these images at most `loss_db` of PSNR.

    Choose on validation images. The ladder has two rungs an octave, from 1/64 to 16; its lowest is taken
    where none is cheap enough.
    """
    latents = latents_of(model, images)
    originals = images.float()

    def squared_error(decoded: Tensor) -> float:
        return (decoded.float() - originals).square().mean().item()

    def with_step(step: float) -> float:  # grows with the step
        return squared_error(images_of(model, (latents / step).round() * step))

    allowed = squared_error(images_of(model, latents)) * 10 ** (loss_db / 10)
    return _STEPS[max(bisect.bisect_right(_STEPS, allowed, key=with_step) - 1, 0)]


def _gaussian(largest: int, tables: np.ndarray, count: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """The coder's model of every symbol: the Gaussian of its latent, cut to the whole numbers up to `largest`."""
    means, deviations = np.tile(tables.astype(np.float64), count)
    return _Gaussian(-largest - 1, largest + 1), means, deviations


def _digest(model: nn.Module) -> bytes:
    return bytes.fromhex(checkpoints.digest(model))[:8]


def _checksum(symbols: np.ndarray) -> int:
    return zlib.crc32(symbols.astype("<i4").tobytes())
