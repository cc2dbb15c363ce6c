"""The training loop: history, best or averaged weights, resume to the same result bit for bit."""

import copy
import ctypes
import functools
import hashlib
import inspect
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from cifar_utils import checkpoints, losses, runs
from cifar_utils.batches import Batches

Tensors = tuple[Tensor, ...] | list[Tensor]
Loss = Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]
AVERAGE_SHARE = 0.05  # keep="average": the average reaches back over about this share of the training's steps


class NonFiniteLoss(RuntimeError):
    """The loss became infinite or not a number."""


@dataclass(frozen=True)
class Triangular:
    """Rise in a straight line to the full learning rate at `peak` (share of the training), then fall to nearly 0."""

    peak: float = 0.3
    floor: float = 0.01

    def __call__(self, progress: float) -> float:
        share = progress / self.peak if progress < self.peak else (1 - progress) / (1 - self.peak)
        return max(share, self.floor)


@dataclass(frozen=True)
class Cosine:
    """Fall from the full learning rate to 0 along half a cosine (Loshchilov & Hutter 2017)."""

    def __call__(self, progress: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * progress))


def triangular(peak: float = 0.3) -> Triangular:
    """Give a one-cycle schedule in straight lines (Smith & Topin 2019)."""
    return Triangular(peak)


def cosine() -> Cosine:
    """Give a cosine schedule."""
    return Cosine()


@dataclass
class History:
    """What a training did: one row for each epoch, split and metric, and how it was done.

    The values of the training split are averages over the epoch, while the weights change; those of the validation
    split are measured after it.
    """

    table: pd.DataFrame  # epoch (from 1), split, metric, value
    kept: str  # "best", "last" or "average"
    best_epoch: int  # the epoch whose weights the model has
    epochs: int  # finished epochs
    seconds: float
    precision: str
    layout: str
    device: str
    interrupted: bool = False

    def curve(self, split: str, metric: str) -> pd.Series:
        """Give one metric by epoch."""
        rows = self.table[(self.table["split"] == split) & (self.table["metric"] == metric)]
        return rows.set_index("epoch")["value"]

    def __repr__(self) -> str:
        end = "interrupted after" if self.interrupted else "trained for"
        return (f"{end} {self.epochs} epochs ({runs.duration(self.seconds)}; {self.device}, {self.precision}, "
                f"{self.layout}); weights: {self.kept}, epoch {self.best_epoch}")


def pick_precision(device: torch.device) -> str:
    """Give "bfloat16" where the hardware computes it faster than float32, else "float32".

    `CIFAR_COURSE_PRECISION` overrides it: so a machine with bfloat16 can show what one without it computes.

    Raises:
        ValueError: the variable names another precision.
    """
    if chosen := os.environ.get("CIFAR_COURSE_PRECISION"):
        if chosen not in ("bfloat16", "float32"):
            raise ValueError(f'CIFAR_COURSE_PRECISION must be "bfloat16" or "float32", or not be set; it is {chosen!r}')
        return chosen
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu.get_capabilities().get("amx_bf16", False)
    return "bfloat16" if device.type == "cpu" and fast else "float32"


def fit(model: nn.Module, train: Batches, val: Batches | None = None, *, epochs: int, learning_rate: float = 1e-3,
        loss: Loss | None = None, optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
        weight_decay: float = 0.01, schedule: Callable[[float], float] | None = None, keep: str | None = None,
        seed: int = 0, precision: str = "auto", layout: str = "auto", checkpoint: Path | None = None,
        header: dict[str, Any] | None = None, progress: bool = True) -> History:
    """Train a model and leave the kept weights in it, in evaluation mode.

    Args:
        loss: function of (model, inputs, labels) that gives a dictionary of batch averages; `"loss"` is minimised.
            Cross-entropy unless told otherwise.
        optimizer: called as `optimizer(parameters, lr=..., weight_decay=...)`.
        schedule: function of the progress in [0, 1] that gives the factor of `learning_rate` for a step.
        keep: "best" keeps the weights of the epoch with the lowest validation loss, "last" those of the end,
            "average" a running average over the steps. Without it: "best" where there is a validation split.
        seed: of what the model draws at random (dropout); batches have their own.
        precision: "float32", "bfloat16" (matrix products only; weights stay float32) or "auto".
        layout: "channels_last", "contiguous" or "auto" (channels_last where the model convolves).
        checkpoint: where the kept weights go. An unfinished training leaves `<name>.resume.safetensors` beside it
            after each epoch, and the same call goes on from there.
        header: what the checkpoint's header is to say besides, for example the split's seed.

    Raises:
        NonFiniteLoss: the loss is infinite or not a number; says when, and what to try.
        ValueError: arguments that contradict each other.
    """
    keep = keep or ("best" if val is not None else "last")
    if keep not in ("best", "last", "average"):
        raise ValueError(f'keep must be "best", "last" or "average", got {keep!r}')
    if keep == "best" and val is None:
        raise ValueError('keep="best" chooses by the validation loss: give a validation split, or keep="last"')
    if epochs < 1 or not learning_rate > 0:
        raise ValueError(f"epochs and learning_rate must be positive, got {epochs} and {learning_rate}")
    if precision not in ("auto", "float32", "bfloat16") or layout not in ("auto", "channels_last", "contiguous"):
        raise ValueError(f"precision {precision!r} or layout {layout!r} is none of those that fit knows")
    if precision == "auto":
        precision = pick_precision(train.device)
    if layout == "auto":
        convolves = any(isinstance(layer, nn.Conv2d) for layer in model.modules())
        layout = "channels_last" if convolves else "contiguous"
    loss = loss or losses.classification()
    settings = {
        "weights": checkpoints.digest(model), "data": _digest_data(train, val), "epochs": epochs,
        "learning_rate": learning_rate, "weight_decay": weight_decay, "loss": _describe(loss),
        "optimizer": _describe(optimizer), "schedule": _describe(schedule), "keep": keep, "seed": seed,
        "precision": precision, "layout": layout, "torch": torch.__version__,
    }
    _keep_freed_memory()
    training = _Training(model, train, val, loss, optimizer, schedule, keep, settings)
    if checkpoint is None:
        return training.run(seed, None, progress)
    if runs.continuing() and (finished := _finished(model, checkpoint, settings, train.device)):
        return finished
    resume = checkpoint.with_name(f"{checkpoint.stem}.resume.safetensors")
    history = training.run(seed, resume, progress)
    if not history.interrupted:
        extra = {**(header or {}), "settings": settings, "history": _history_to_json(history)}
        checkpoints.save(checkpoint, model, normalisation=train.normalisation,
                         split_seed=(header or {}).get("split_seed"), extra=extra)
        resume.unlink(missing_ok=True)
    return history


def _average(averages: Tensors, values: Tensors, count: Tensor | int, *, decay: float) -> None:
    """Move averages over `count` steps on to the next step's values, in place.

    The values of step k of n count decay**(n - k), divided by the sum of these, so that the first steps do not hold
    the average back (the correction of Kingma & Ba 2015).
    """
    share = (1 - decay) / (1 - decay ** (int(count) + 1))
    if averages[0].is_floating_point():
        torch._foreach_lerp_(averages, values, share)
    else:  # a counter of batch norm
        torch._foreach_copy_(averages, values)


def _keep_freed_memory() -> None:
    """Ask glibc to keep large blocks that are freed, instead of giving them back to the system.

    A step frees and takes the same blocks of some megabytes again and again; each time the system hands them out anew,
    it has to clear them page by page, which can cost as much as the convolutions. Other C libraries are left alone.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD: blocks up to the largest size that glibc lets it be
        library.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD: up to 1 GB


class _Training:
    """The state of one training between two epochs: all that a resumed training needs."""

    def __init__(self, model: nn.Module, train: Batches, val: Batches | None, loss: Loss,
                 optimizer: Callable[..., torch.optim.Optimizer], schedule: Callable[[float], float] | None,
                 keep: str, settings: dict[str, Any]) -> None:
        self.model, self.train, self.val, self.loss = model, train, val, loss
        self.schedule, self.keep, self.settings = schedule, keep, settings
        self.device = train.device
        memory = torch.channels_last if settings["layout"] == "channels_last" else torch.contiguous_format
        model.to(device=self.device, memory_format=memory)  # type: ignore[call-overload]
        self.optimizer = _build_optimizer(optimizer, model, settings["learning_rate"], settings["weight_decay"])
        reach = max(1.0, AVERAGE_SHARE * settings["epochs"] * len(train))
        average = functools.partial(_average, decay=1 - 1 / reach)
        self.average = AveragedModel(model, multi_avg_fn=average, use_buffers=True) if keep == "average" else None
        self.rows: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_loss, self.best_epoch = math.inf, 0
        self.epoch, self.seconds = 0, 0.0

    def run(self, seed: int, resume: Path | None, progress: bool) -> History:
        devices = [self.device] if self.device.type == "cuda" else []
        interrupted = False
        with torch.random.fork_rng(devices=devices):  # leave the caller's random numbers as they were
            torch.manual_seed(seed)
            if resume is not None and resume.exists():
                self._load(resume)
            epochs = self.settings["epochs"]
            bar = tqdm(total=epochs * len(self.train), initial=self.epoch * len(self.train), unit="batch",
                       leave=False, mininterval=0.5, disable=runs.quiet(progress))
            try:
                with bar:
                    while self.epoch < epochs:
                        self._one_epoch(bar)
                        if resume is not None and self.epoch < epochs:
                            self._save(resume)
            except KeyboardInterrupt:
                interrupted = True
                print(f"Interrupted in epoch {self.epoch + 1} of {epochs}: the model keeps what it has learned"
                      + (", and the same call goes on from the last finished epoch." if resume else "."))
        if interrupted and self.epoch == 0:  # nothing to choose from: the weights as they are
            self.model.eval()
        else:
            self._keep_weights()
        kept_epoch = self.best_epoch if self.keep == "best" else self.epoch
        return History(pd.DataFrame(self.rows, columns=["epoch", "split", "metric", "value"]), self.keep, kept_epoch,
                       self.epoch, self.seconds, self.settings["precision"], self.settings["layout"],
                       self.device.type, interrupted)

    def _one_epoch(self, bar: Any) -> None:
        began = time.perf_counter()
        self.model.train()
        sums: dict[str, Tensor] = {}
        steps = self.settings["epochs"] * len(self.train)
        bar.set_description(f"epoch {self.epoch + 1}/{self.settings['epochs']}", refresh=False)
        for number, (inputs, labels) in enumerate(self.train.epoch(self.epoch)):
            step = self.epoch * len(self.train) + number
            rate = self.settings["learning_rate"] * (self.schedule(step / steps) if self.schedule else 1.0)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["lr_factor"]
            with _autocast(self.device, self.settings["precision"]):
                parts = self.loss(self.model, inputs, labels)
            self._check_finite(parts["loss"], number, rate)
            self.optimizer.zero_grad(set_to_none=True)
            parts["loss"].backward()
            self.optimizer.step()
            if self.average is not None:
                self.average.update_parameters(self.model)
            _add(sums, parts, len(labels))
            bar.update()
        train_means = _means(sums)
        self._check_finite(torch.tensor(train_means["loss"]), len(self.train) - 1, rate)
        evaluated = self.average.module if self.average is not None else self.model
        val_means = evaluate_loss(evaluated, self.val, self.loss, self.settings["precision"]) if self.val else {}
        self.epoch += 1
        for split, means in (("train", train_means), ("val", val_means)):
            self.rows += [{"epoch": self.epoch, "split": split, "metric": metric, "value": value}
                          for metric, value in means.items()]
        if self.keep == "best" and val_means["loss"] < self.best_loss:
            self.best_loss, self.best_epoch = val_means["loss"], self.epoch
            self.best = copy.deepcopy(self.model.state_dict())
        self.seconds += time.perf_counter() - began
        shown = val_means or train_means
        bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()}, refresh=False)

    def _check_finite(self, loss: Tensor, number: int, rate: float) -> None:
        # On a GPU reading a number waits for the device, so only every fiftieth step looks; the epoch's mean tells all.
        if (loss.device.type == "cpu" or number % 50 == 0) and not math.isfinite(loss.item()):
            raise NonFiniteLoss(
                f"the loss is {loss.item()} in epoch {self.epoch + 1}, step {number + 1}, at learning rate {rate:g}. "
                f"Try a tenth of the learning rate ({rate / 10:g}), normalised inputs, or a warm-up.")

    def _keep_weights(self) -> None:
        if self.keep == "best" and self.best:
            self.model.load_state_dict(self.best)
        elif self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
        self.model.eval()

    def _save(self, path: Path) -> None:
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        state = self.optimizer.state_dict()["state"]
        plain: dict[str, dict[str, Any]] = {}
        for number, entries in state.items():
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{number}.{name}"] = value
                else:
                    plain.setdefault(str(number), {})[name] = value
        checkpoints.write_tensors(path, _without_sharing(tensors), {
            "settings": self.settings, "rows": self.rows, "epoch": self.epoch, "seconds": self.seconds,
            "best_loss": self.best_loss if self.best else None, "best_epoch": self.best_epoch, "optimizer": plain,
        })

    def _load(self, path: Path) -> None:
        try:
            tensors, header = checkpoints.read_tensors(path)
        except checkpoints.CheckpointError as error:
            print(f"The unfinished training cannot be read and starts anew: {error}")
            return
        if header.get("settings") != json.loads(json.dumps(self.settings)):
            return  # another training left it: begin anew; the file is replaced after the first epoch
        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        self.model.load_state_dict(part("model."))
        self.best = {name: value.to(self.device) for name, value in part("best.").items()}
        if self.average is not None:
            self.average.load_state_dict(part("average."))
        parameters = [weights for group in self.optimizer.param_groups for weights in group["params"]]
        state = self.optimizer.state_dict()
        state["state"] = {int(number): dict(entries) for number, entries in header["optimizer"].items()}
        for name, value in part("optimizer.").items():
            number, entry = name.split(".", 1)
            weights = parameters[int(number)]
            if value.shape == weights.shape:  # fused kernels walk both in the order of memory: same layout, or wrong
                value = torch.empty_like(weights, dtype=value.dtype).copy_(value)
            state["state"].setdefault(int(number), {})[entry] = value
        self.optimizer.load_state_dict(state)
        self.rows, self.epoch, self.seconds = header["rows"], header["epoch"], header["seconds"]
        self.best_epoch = header["best_epoch"]
        self.best_loss = math.inf if header["best_loss"] is None else header["best_loss"]
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)


def evaluate_loss(model: nn.Module, batches: Batches, loss: Loss, precision: str = "float32") -> dict[str, float]:
    """Give every part of a loss, averaged over the examples of a split, in evaluation mode without gradients."""
    training = model.training
    model.eval()
    sums: dict[str, Tensor] = {}
    with torch.inference_mode(), _autocast(batches.device, precision):
        for inputs, labels in batches.epoch(0):
            _add(sums, loss(model, inputs, labels), len(labels))
    model.train(training)
    return _means(sums)


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def _add(sums: dict[str, Tensor], parts: dict[str, Tensor], count: int) -> None:
    for name, value in parts.items():
        sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64)) + value.detach().double() * count
    sums["count"] = sums.get("count", torch.zeros(())) + count


def _means(sums: dict[str, Tensor]) -> dict[str, float]:
    count = sums.pop("count").item()
    return {name: value.item() / count for name, value in sums.items()}


def _build_optimizer(optimizer: Callable[..., torch.optim.Optimizer], model: nn.Module, learning_rate: float,
                     weight_decay: float) -> torch.optim.Optimizer:
    arguments: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}
    if "fused" in inspect.signature(optimizer).parameters:
        arguments["fused"] = True  # one kernel for all parameters: the step costs a third
    built = optimizer(model.parameters(), **arguments)
    for group in built.param_groups:  # groups may have rates of their own; the schedule scales them all
        group["lr_factor"] = group["lr"] / learning_rate
    return built


def _without_sharing(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in tensors.items()}


def _describe(thing: Any) -> str:
    """Say what a callable is, in the same words in every process."""
    if isinstance(thing, functools.partial):
        return f"{_describe(thing.func)}({thing.args}, {sorted(thing.keywords.items())})"
    if thing is None or hasattr(thing, "__dataclass_fields__"):
        return repr(thing)
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def _digest_data(*splits: Batches | None) -> str:
    total = hashlib.sha256()
    for batches in splits:
        if batches is None:
            continue
        examples = batches.examples
        total.update(repr((len(examples), batches.batch_size, batches.normalisation, batches.shuffle, batches.flip,
                           batches.shift, batches.border, batches.cutout, batches.sizes, batches.seed,
                           batches.drop_last)).encode())
        total.update(examples.labels.numpy().tobytes())
        total.update(examples.images[::97].contiguous().numpy().tobytes())  # a sample is enough to tell sets apart
    return total.hexdigest()


def _history_to_json(history: History) -> dict[str, Any]:
    return {**vars(history), "table": history.table.to_dict("records")}


def _finished(model: nn.Module, checkpoint: Path, settings: dict[str, Any], device: torch.device) -> History | None:
    """Take a finished training of the very same settings; None where there is none."""
    if not checkpoint.exists():
        return None
    try:
        tensors, header = checkpoints.read_tensors(checkpoint)
    except checkpoints.CheckpointError:
        return None
    if header.get("settings") != json.loads(json.dumps(settings)):
        return None
    model.load_state_dict(tensors)
    model.to(device).eval()
    stored = header["history"]
    return History(**{**stored, "table": pd.DataFrame(stored["table"])})
