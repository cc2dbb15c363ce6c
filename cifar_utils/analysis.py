"""What a trained classifier gets wrong, picked out and kept as images."""

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

from cifar_utils import runs
from cifar_utils.data import CLASS_NAMES, Examples
from cifar_utils.evaluation import Predictions


def most_confident_mistakes(predictions: Predictions, count: int = 10) -> torch.Tensor:
    """Positions (at most `count`,) int64 of the wrong predictions, the most confident first; ties by position.

    Raises:
        ValueError: `count` is less than one.
    """
    if count < 1:
        raise ValueError(f"count is {count}; at least one mistake must be asked for")
    wrong = torch.nonzero(predictions.classes != predictions.labels).flatten()
    order = torch.argsort(predictions.confidence[wrong], descending=True, stable=True)
    return wrong[order[:count]]


def save_images(
    folder: Path,
    examples: Examples,
    predictions: Predictions,
    positions: Sequence[int] | torch.Tensor,
    *,
    scale: int = 8,
) -> pd.DataFrame:
    """Save images as `01_cat_dog_0.998.png` (rank, true, predicted, confidence), each pixel `scale` x `scale`.

    Also writes `index.csv` and returns it: rank, file, position in the official order, true, predicted, confidence.
    """
    rows = []
    confidences = predictions.confidence
    for rank, position in enumerate(map(int, positions), start=1):
        true = CLASS_NAMES[int(predictions.labels[position])]
        predicted = CLASS_NAMES[int(predictions.classes[position])]
        confidence = float(confidences[position])
        name = f"{rank:02d}_{true}_{predicted}_{confidence:.3f}.png"
        pixels = examples.images[position].permute(1, 2, 0).repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        buffer = io.BytesIO()
        Image.fromarray(pixels.contiguous().numpy()).save(buffer, format="PNG")
        runs.write_whole(folder / name, buffer.getvalue())
        rows.append((rank, name, int(examples.indices[position]), true, predicted, round(confidence, 6)))
    table = pd.DataFrame(rows, columns=["rank", "file", "index", "true", "predicted", "confidence"])
    runs.write_whole(folder / "index.csv", table.to_csv(index=False, lineterminator="\n"))
    return table
