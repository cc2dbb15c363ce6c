"""Helpers of the CIFAR-10 course: data, batches, models, training, evaluation and plotting."""

from cifar_utils import _torchvision

__version__ = "0.1.0"

_torchvision.make_importable()
