"""How the settings of chapters 2, 3 and 8 were chosen: every try, with its score on the validation split.

The optimisers' rates, batch size, dropout, sizes of images and the rest were tried at the number of epochs that a
profile can afford, with another seed than the chapters use. The test split is not read. The log,
`notebooks/reference/recipes.csv`, is what the chapters show; a test compares its best rows with the chapters'
parameters. An interrupted search goes on where it stopped.
"""

import functools
import os
from pathlib import Path
from typing import Any

import torch

from cifar_utils import data, evaluation, experiments, losses, models, optimizers, runs, training
from cifar_utils.batches import STANDARD, UNIT_RANGE, Batches

SEED = 1  # the chapters begin at 0: what is chosen here is not the luck of their run
LOG = Path("notebooks/reference/recipes.csv")
NESTEROV = functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True)

PUBLISHED = {"model": "cnn_two_layer", "learning_rate": 1e-3, "weight_decay": 0.0, "dropout": 0.0, "shift": 0}
CNN_BEST = {"model": "cnn_best", "profile": "quick", "pixels": "standardised", "batch_size": 128, "epochs": 12,
            "learning_rate": 0.05, "weight_decay": 5e-4, "dropout": 0.2, "shift": 2}
MLP_BEST = CNN_BEST | {"model": "mlp_best", "epochs": 8, "dropout": 0.1, "shift": 0}
MLP_FULL = MLP_BEST | {"profile": "full", "epochs": 16}
LADDER = CNN_BEST | {"batch_size": 250, "epochs": 2, "dropout": 0.0, "images": 20_000}
OPTIMIZERS = {"ladder_adamw": torch.optim.AdamW, "ladder_nesterov": optimizers.nesterov(),
              "ladder_muon": optimizers.muon()}
RATES = {"ladder_adamw": (0.01, (5e-3, 1e-2, 2e-2)), "ladder_nesterov": (1e-3, (0.5, 1.0, 2.0)),
         "ladder_muon": (0.0, (0.18, 0.25, 0.35, 0.5))}
FINAL = LADDER | {"model": "ninety_four", "profile": "full", "batch_size": 500, "images": 40_000,
                  "learning_rate": 0.25, "weight_decay": 0.0}
SIZES = tuple(" ".join(map(str, sizes)) for sizes in (  # pixels a side, by epoch
    10 * [32], 6 * [32], 3 * [24] + 4 * [32], 3 * [20] + 3 * [24] + 3 * [32]))


def settings() -> list[dict[str, Any]]:
    """List the tries: around each recipe one setting is changed at a time; sizes of images together with the epochs,
    so that the costs are alike."""
    lengths = [(pixels, batch_size, epochs) for pixels in ("unit range", "standardised")
               for batch_size, epochs in ((32, 5), (64, 6), (128, 7))]
    lengths += [("standardised", 64, 8), ("standardised", 128, 9)]  # where more epochs may still pay
    published = [PUBLISHED | {"profile": "quick", "pixels": pixels, "batch_size": batch_size, "epochs": epochs}
                 for pixels, batch_size, epochs in lengths]
    cnn = [CNN_BEST | change for change in ({}, {"dropout": 0.1}, {"dropout": 0.3}, {"learning_rate": 0.03},
                                           {"learning_rate": 0.1}, {"weight_decay": 1e-3})]
    mlp = [MLP_BEST | change for change in ({}, {"dropout": 0.0}, {"dropout": 0.2}, {"learning_rate": 0.03},
                                           {"learning_rate": 0.1}, {"shift": 1})]
    full = [MLP_FULL | change for change in ({}, {"dropout": 0.2}, {"dropout": 0.3})]
    ladder = [LADDER | {"model": model, "weight_decay": decay, "learning_rate": rate}
              for model, (decay, rates) in RATES.items() for rate in rates]
    final = [FINAL | {"sizes": sizes, "epochs": len(sizes.split())} for sizes in SIZES]
    return published + cnn + mlp + full + ladder + final


def train_one(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Train one setting on the training split; gives loss (nats) and accuracy on validation, among others."""
    splits = data.split(data.load_cifar10())
    if setting["model"] in OPTIMIZERS:
        return train_ladder(setting, splits, seed)
    if setting["model"] == "ninety_four":
        return train_final(setting, splits, seed)
    published = setting["model"] == "cnn_two_layer"
    pixels = UNIT_RANGE if setting["pixels"] == "unit range" else STANDARD
    torch.manual_seed(seed)
    model = {"cnn_two_layer": lambda: models.glorot(models.CNN()),
             "cnn_best": lambda: models.CNN(dropout=setting["dropout"]),
             "mlp_best": lambda: models.MLP((1024, 512, 256), setting["dropout"])}[setting["model"]]()
    train = Batches(splits.train, batch_size=setting["batch_size"], normalisation=pixels, shuffle=True,
                    flip=not published, shift=setting["shift"], seed=seed)
    history = training.fit(
        model, train, Batches(splits.val, batch_size=250, normalisation=pixels), epochs=setting["epochs"],
        learning_rate=setting["learning_rate"], weight_decay=setting["weight_decay"], seed=seed,
        optimizer=torch.optim.Adam if published else NESTEROV, keep="best" if published else "last",
        schedule=None if published else training.triangular(0.2 if setting["model"] == "cnn_best" else 0.3))
    return {f"val_{metric}": float(history.curve("val", metric).loc[history.best_epoch])
            for metric in ("loss", "accuracy")}


def train_ladder(setting: dict[str, Any], splits: data.Splits, seed: int) -> dict[str, float]:
    """Train chapter 8's half-wide network with one of its optimisers, everything else as on the upper rungs."""
    torch.manual_seed(seed)
    model = models.FastCNN((32, 128, 128)).whiten(STANDARD.apply(splits.train.images[:1000]))
    train = Batches(splits.train.subset(setting["images"]), batch_size=setting["batch_size"], shuffle=True,
                    flip="alternating", shift=setting["shift"], border="mirrored", seed=seed, drop_last=True)
    history = training.fit(
        model, train, Batches(splits.val, batch_size=250), epochs=setting["epochs"], seed=seed, keep="average",
        learning_rate=setting["learning_rate"], weight_decay=setting["weight_decay"],
        loss=losses.classification(0.2), optimizer=OPTIMIZERS[setting["model"]], schedule=training.triangular(0.2))
    return {f"val_{metric}": float(history.curve("val", metric).iloc[-1]) for metric in ("loss", "accuracy")}


def train_final(setting: dict[str, Any], splits: data.Splits, seed: int) -> dict[str, float]:
    """Train chapter 8's wide network on images whose size grows with the epochs; asked with one view and with six."""
    sizes = [int(size) for size in setting["sizes"].split()]
    torch.manual_seed(seed)
    model = models.FastCNN().whiten(STANDARD.apply(splits.train.images[:1000]))
    train = Batches(splits.train.subset(setting["images"]), batch_size=setting["batch_size"], shuffle=True,
                    flip="alternating", shift=setting["shift"], border="mirrored", sizes=sizes, seed=seed,
                    drop_last=True)
    history = training.fit(
        model, train, epochs=setting["epochs"], seed=seed, keep="average", learning_rate=setting["learning_rate"],
        weight_decay=setting["weight_decay"], loss=losses.classification(0.2), optimizer=optimizers.muon(),
        schedule=training.triangular(0.2))
    one, six = (evaluation.predict(model, splits.val, views=views, precision=history.precision) for views in (1, 6))
    return {**{f"val_{metric}": evaluation.report(one).metrics[metric] for metric in ("loss", "accuracy")},
            "val_accuracy_six_views": evaluation.report(six).metrics["accuracy"],
            "mflop": sum(models.train_mflop(model, size) for size in sizes) / len(sizes),
            "training_seconds": history.seconds}


if __name__ == "__main__":
    os.environ["CIFAR_COURSE_CONTINUE"] = "1"  # the settings stand in this file; the log holds no others
    table = experiments.grid(settings(), [SEED], train_one, path=runs.project_root() / LOG)
    print(table.to_string(index=False))
