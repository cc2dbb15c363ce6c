"""Make a torchvision whose compiled part does not fit the installed torch importable.

On some machines the package index hands out torch without and torchvision with CUDA. torchvision's compiled
operators then cannot load, and `import torchvision` (or torchmetrics, which imports it) dies with *operator
torchvision::nms does not exist*, although the course needs none of these operators.
"""

import importlib.util
from pathlib import Path
from typing import Any

_declared: list[Any] = []  # a torch library's declarations live as long as the object does


def make_importable() -> bool:
    """Declare torchvision's detection operators where its own extension cannot load.

    A matching pair is left alone and keeps its compiled operators. Must run before torchvision or torchmetrics is
    imported; does nothing where torch or torchvision is not installed.

    Returns:
        True where the operators had to be declared: then only the compiled detection operators are unusable.
    """
    specification = importlib.util.find_spec("torchvision")
    if specification is None or specification.origin is None or importlib.util.find_spec("torch") is None:
        return False
    import torch

    if _declared or hasattr(torch.ops.torchvision, "nms"):
        return bool(_declared)
    for extension in sorted(Path(specification.origin).parent.glob("_C*")):
        try:
            torch.ops.load_library(str(extension))
            return False
        except OSError:
            continue  # built for another torch: this is the case that the declarations below are for
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    return True
