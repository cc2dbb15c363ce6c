"""How fast the course's batches and training are, beside what a user would write instead.

Everything is measured in one process, in turns (ours, theirs, ours, ...), so that a busy machine slows both; the
ratios are medians over the rounds. Prints a table and writes `runs/bench.json`. Times differ between machines, ratios
less, so nothing is asserted here.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cifar_utils import losses, models, optimizers, runs, training
from cifar_utils.batches import STANDARD, Batches
from cifar_utils.data import Examples, load_cifar10

# isort: split
import torchvision  # after cifar_utils, which makes it importable where it does not fit the installed torch
from torchvision import transforms

BATCH_SIZE = 128
Round = dict[str, float]  # name of a contender → seconds


class TutorialDataset(Dataset[tuple[Tensor, int]]):
    """What `torchvision.datasets.CIFAR10` does: a PIL image an item, then the transforms."""

    def __init__(self, examples: Examples, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images = examples.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = examples.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[number])), self.labels[number]


def tutorial_loader(examples: Examples, *, augmented: bool, workers: int) -> DataLoader[tuple[Tensor, int]]:
    """Give the loader of the official PyTorch tutorial, with the usual crop and flip where wanted."""
    steps: list[Any] = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()] if augmented else []
    steps += [transforms.ToTensor(), transforms.Normalize(STANDARD.mean, STANDARD.std)]
    dataset = TutorialDataset(examples, transforms.Compose(steps))
    return DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=workers)


def course_batches(examples: Examples, *, augmented: bool) -> Batches:
    """Give the course's batches with the same augmentation as the loader's."""
    return Batches(examples, batch_size=BATCH_SIZE, shuffle=True, flip=augmented, shift=4 if augmented else 0)


def seconds_of(work: Callable[[], Any]) -> float:
    """Time one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def read_all(batches: Iterable[Any]) -> None:
    """Ask for every batch and do nothing with it."""
    for _ in batches:
        pass


def train_tutorial(model: nn.Module, loader: DataLoader[tuple[Tensor, int]]) -> None:
    """Train one epoch with the loop of the official PyTorch tutorial: float32, SGD, a running loss."""
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    running_loss = 0.0
    for inputs, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()


def train_course(model: nn.Module, batches: Batches) -> None:
    """Train one epoch with the course's `fit` as a notebook calls it."""
    training.fit(model, batches, epochs=1, progress=False)


def train_floor(model: nn.Module, ready: list[tuple[Tensor, Tensor]], precision: str) -> None:
    """Do nothing but the compute of an epoch: forward, backward and step on batches that lie ready."""
    convolves = any(isinstance(layer, nn.Conv2d) for layer in model.modules())
    if convolves:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for inputs, labels in ready:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(inputs)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def fast_cnn(examples: Examples) -> nn.Module:
    """Give chapter 8's wide network, whitened."""
    return models.FastCNN().whiten(STANDARD.apply(examples.images[:1000]))


def train_ninety_four(model: nn.Module, batches: Batches) -> None:
    """Train one epoch as chapter 8 does; the course's CNN, too, so that both are measured alike."""
    training.fit(model, batches, epochs=1, learning_rate=0.01, loss=losses.classification(0.2),
                 optimizer=optimizers.muon(), weight_decay=0.0, progress=False)


def convolutions_of(model: nn.Module, inputs: Tensor) -> list[tuple[nn.Conv2d, torch.Size, bool]]:
    """List the convolutions of a network with the shape of their input, and whether it needs a gradient."""
    found: list[tuple[nn.Conv2d, torch.Size, bool]] = []

    def note(layer: nn.Module, given: tuple[Tensor], _output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            found.append((layer, given[0].shape, given[0].requires_grad))

    handles = [layer.register_forward_hook(note) for layer in model.modules()]
    model(inputs)
    for handle in handles:
        handle.remove()
    return found


def convolve_only(found: list[tuple[nn.Conv2d, torch.Size, bool]], precision: str) -> Callable[[], None]:
    """Give a function that does the convolutions of one step, forward and backward, and nothing else."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32

    def ready(values: Tensor) -> Tensor:
        return values.detach().to(dtype).contiguous(memory_format=torch.channels_last)

    work = []
    for layer, shape, needs_gradient in found:
        inputs = ready(torch.randn(shape)).requires_grad_(needs_gradient)
        weight = ready(layer.weight).requires_grad_(layer.weight.requires_grad)
        with torch.no_grad():
            gradient = torch.randn_like(nn.functional.conv2d(inputs, weight, None, layer.stride, layer.padding))
        work.append((inputs, weight, layer, gradient))

    def convolve() -> None:
        for inputs, weight, layer, gradient in work:
            output = nn.functional.conv2d(inputs, weight, None, layer.stride, layer.padding)
            if wanted := [tensor for tensor in (inputs, weight) if tensor.requires_grad]:
                torch.autograd.grad(output, wanted, gradient)

    return convolve


def share_of_convolutions(build: Callable[[], nn.Module], examples: Examples, batch_size: int, rounds: int,
                          precision: str) -> float:
    """Give the time of a step's own convolutions over that of the whole step: batch, forward, backward, optimizer."""
    batches = Batches(examples, batch_size=batch_size, shuffle=True, flip="alternating", shift=2, border="mirrored",
                      drop_last=True)
    model = build()  # once: whitening is no part of a step, and in so few steps its time would show
    found = convolutions_of(model, next(iter(batches))[0])
    convolve = convolve_only(found, precision)
    measured = measure({
        "convolutions": lambda: [convolve() for _ in range(len(batches))],
        "step": lambda: train_ninety_four(model, batches),
    }, rounds)
    return ratio(measured, ("convolutions",), "step")


def measure(contenders: dict[str, Callable[[], Any]], rounds: int) -> list[Round]:
    """Time all contenders in turns; the first round warms up and is left out."""
    return [{name: seconds_of(work) for name, work in contenders.items()} for _ in range(rounds + 1)][1:]


def ratio(measured: list[Round], slow: tuple[str, ...], fast: str) -> float:
    """Give the median over the rounds of the best of `slow` over `fast`."""
    return statistics.median(min(one[name] for name in slow) / one[fast] for one in measured)


def bench(examples: Examples, rounds: int) -> dict[str, Any]:
    """Measure batches and epochs; returns the ratios and the images a second of each contender."""
    ratios: dict[str, float] = {}
    speeds: dict[str, float] = {}

    def note(group: str, measured: list[Round]) -> None:
        for name in measured[0]:
            speeds[f"{group}: {name}"] = len(examples) / statistics.median(one[name] for one in measured)

    for augmented in (False, True):
        word = "augmented" if augmented else "plain"
        loaders = {f"DataLoader, {n} workers": tutorial_loader(examples, augmented=augmented, workers=n)
                   for n in (0, 2)}
        ours = course_batches(examples, augmented=augmented)
        measured = measure({
            "course": lambda: read_all(ours.epoch(0)),  # noqa: B023 (called before the loop goes on)
            **{name: lambda loader=loader: read_all(loader) for name, loader in loaders.items()},
        }, rounds)
        note(f"batches {word}", measured)
        ratios[f"batches_{word}_vs_dataloader"] = ratio(measured, tuple(loaders), "course")

    precision = training.pick_precision(torch.device("cpu"))
    for word, build, augmented in (("mlp", models.MLP, False), ("cnn", models.CNN, True)):
        loaders = {f"tutorial, {n} workers": tutorial_loader(examples, augmented=augmented, workers=n) for n in (0, 2)}
        ours = course_batches(examples, augmented=augmented)
        ready = list(ours.epoch(0))
        measured = measure({
            "course": lambda: train_course(build(), ours),  # noqa: B023
            "compute only": lambda: train_floor(build(), ready, precision),  # noqa: B023
            **{name: lambda loader=loader: train_tutorial(build(), loader)  # noqa: B023
               for name, loader in loaders.items()},
        }, rounds)
        note(f"{word} epoch", measured)
        ratios[f"{word}_epoch_vs_tutorial"] = ratio(measured, tuple(loaders), "course")
        ratios[f"{word}_epoch_vs_floor"] = ratio(measured, ("compute only",), "course")
    few = examples.subset(5_000)
    for name, build, batch_size in (("ninety_four", lambda: fast_cnn(few), 500), ("cnn", models.CNN, BATCH_SIZE)):
        ratios[f"{name}_step_vs_convolutions"] = share_of_convolutions(build, few, batch_size, rounds, precision)
    return {"ratios": ratios, "images_per_second": speeds, "precision": precision}


def main() -> None:
    """Run the benchmark and write its table and file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=25_600, help="training images used in a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count, after one to warm up")
    parser.add_argument("--output", type=Path, default=runs.project_root() / "runs" / "bench.json")
    arguments = parser.parse_args()
    result = bench(load_cifar10().train.subset(arguments.images), arguments.rounds)
    result |= {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "cpu": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "threads": torch.get_num_threads(), "images": arguments.images, "rounds": arguments.rounds,
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "torchvision": torchvision.__version__},
    }
    for name, speed in result["images_per_second"].items():
        print(f"{name:40} {speed:>12,.0f} images/s")
    print()
    for name, value in result["ratios"].items():
        print(f"{name:40} {value:>12.2f}")
    runs.write_json(arguments.output, result)
    print(f"\nwritten: {arguments.output}")


if __name__ == "__main__":
    main()
