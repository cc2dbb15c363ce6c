"""Weights on disk: safetensors with a header that says how to build the model again. Nothing is ever unpickled."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from cifar_utils import models, runs
from cifar_utils.batches import Normalisation


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or not one of this course."""


@dataclass(frozen=True)
class Checkpoint:
    """A model in evaluation mode with what is needed to use it."""

    model: nn.Module
    normalisation: Normalisation
    split_seed: int | None
    header: dict[str, Any]


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> Path:
    """Write named tensors and a JSON header as one safetensors file, whole or not at all."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return runs.write_whole(path, to_bytes(on_cpu, metadata={"course": json.dumps(header)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, or not a safetensors file of this course.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}; run the chapter that trains it first")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get("course")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file ({error}); train the model again") from error
    if header is None:
        raise CheckpointError(f"{path} has no header of this course, so its architecture is unknown")
    return tensors, json.loads(header)


def digest(model: nn.Module) -> str:
    """Give the SHA-256 of a model's class and weights, in hexadecimal: equal for equal networks, on every machine."""
    total = hashlib.sha256(type(model).__name__.encode())
    for name, value in model.state_dict().items():
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def save(path: Path, model: nn.Module, *, normalisation: Normalisation, split_seed: int | None = None,
         extra: dict[str, Any] | None = None) -> Path:
    """Save a model of `cifar_utils.models`: weights, architecture, arguments, normalisation and split seed.

    Raises:
        CheckpointError: the model is of a class that the course could not build again.
    """
    architecture = type(model).__name__
    if models.ARCHITECTURES.get(architecture) is not type(model):
        raise CheckpointError(f"{architecture} is not a model of cifar_utils.models, so it could not be built again "
                              "from a file; add it there, or train it without a checkpoint")
    header = {
        "architecture": architecture, "arguments": models.arguments_of(model),
        "normalisation": {"mean": normalisation.mean, "std": normalisation.std}, "split_seed": split_seed,
        **(extra or {}),
    }
    return write_tensors(path, dict(model.state_dict()), header)


def load(path: str | Path, architecture: str | None = None) -> Checkpoint:
    """Build the model that a checkpoint describes and give it its weights.

    Raises:
        CheckpointError: missing, damaged, of an unknown architecture or of another one than asked for.
    """
    path = Path(path)
    tensors, header = read_tensors(path)
    name = header.get("architecture")
    if name not in models.ARCHITECTURES:
        raise CheckpointError(f"{path} holds a {name}; this course knows {', '.join(models.ARCHITECTURES)}")
    if architecture not in (None, name):
        raise CheckpointError(f"{path} holds a {name}, not the {architecture} that was asked for")
    try:
        model = models.ARCHITECTURES[name](**header["arguments"])
        model.load_state_dict(tensors)
        normalisation = Normalisation(tuple(header["normalisation"]["mean"]), tuple(header["normalisation"]["std"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the weights in {path} do not fit its own header: {error}") from error
    return Checkpoint(model.eval(), normalisation, header.get("split_seed"), header)
