"""Convolution and max pooling from scratch, in NumPy: what a layer of chapter 3 computes, forward and
backward.

Written to be read, next to the formulas of the chapter. As in every deep-learning library "convolution" is
cross-correlation: the filter is not flipped. Arrays are N-C-H-W: N images of C channels, H × W pixels; F
filters of k × k pixels. The dtype is the arrays' own. Method: the im2col lowering of Chellapilla, Puri and
Simard (2006); gradients by the chain rule, derived in chapter 3.
"""

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray


def output_size(size: int, kernel_size: int, stride: int = 1, padding: int = 0) -> int:
    """How many places a window of `kernel_size` takes along a side of `size` pixels; ValueError where there
    is none.
    """
    if kernel_size < 1 or stride < 1 or padding < 0:
        raise ValueError(f"kernel_size {kernel_size} and stride {stride} are at least 1, padding {padding} at least 0")
    if size + 2 * padding < kernel_size:
        raise ValueError(
            f"a window of {kernel_size} pixels does not fit into {size} pixels with {padding} of padding each side"
        )
    return (size + 2 * padding - kernel_size) // stride + 1


def convolve_loops(
    images: Array, weights: Array, bias: Array | None = None, stride: int = 1, padding: int = 0
) -> Array:
    """Convolve by loops that say what is meant: each output is the sum of one window times one filter, plus
    the bias.

    images (N, C, H, W), weights (F, C, k, k), bias (F,) or None for zeros; returns (N, F, H', W'). Raises
    ValueError for shapes that do not fit.
    """
    bias = _checked(images, weights, bias)
    height = output_size(images.shape[2], weights.shape[2], stride, padding)
    width = output_size(images.shape[3], weights.shape[3], stride, padding)
    padded = _pad(images, padding)
    output = np.empty((len(images), len(weights), height, width), dtype=np.result_type(images, weights))
    for n in range(len(images)):
        for f in range(len(weights)):
            for i in range(height):
                for j in range(width):
                    window = padded[
                        n, :, i * stride : i * stride + weights.shape[2], j * stride : j * stride + weights.shape[3]
                    ]
                    output[n, f, i, j] = (window * weights[f]).sum() + bias[f]
    return output


def im2col(images: Array, kernel_size: int, stride: int = 1, padding: int = 0) -> Array:
    """Write every window as a row: (N, C, H, W) -> (N · H' · W', C · k · k); one window overlaps the next, so
    pixels are repeated.
    """
    _images(images)
    for size in images.shape[2:]:
        output_size(size, kernel_size, stride, padding)
    windows = sliding_window_view(_pad(images, padding), (kernel_size, kernel_size), axis=(2, 3))[
        :, :, ::stride, ::stride
    ]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * kernel_size**2)


def col2im(
    columns: Array, shape: tuple[int, int, int, int], kernel_size: int, stride: int = 1, padding: int = 0
) -> Array:
    """Add every row back to where `im2col` took it from: its adjoint, not its inverse. Returns an array of
    `shape`, (N, C, H, W).
    """
    n, c, h, w = shape
    height, width = (output_size(size, kernel_size, stride, padding) for size in (h, w))
    if columns.shape != (n * height * width, c * kernel_size**2):
        raise ValueError(
            f"columns are {columns.shape}, images of {shape} have {(n * height * width, c * kernel_size**2)}"
        )
    windows = columns.reshape(n, height, width, c, kernel_size, kernel_size).transpose(0, 3, 4, 5, 1, 2)
    padded = np.zeros((n, c, h + 2 * padding, w + 2 * padding), dtype=columns.dtype)
    for i in range(kernel_size):  # one place of the window at a time: no two windows write to one pixel at once
        for j in range(kernel_size):
            padded[:, :, i : i + stride * height : stride, j : j + stride * width : stride] += windows[:, :, i, j]
    return padded[:, :, padding : padding + h, padding : padding + w]


def convolve_im2col(
    images: Array, weights: Array, bias: Array | None = None, stride: int = 1, padding: int = 0
) -> Array:
    """Convolve by one matrix product: the same numbers as `convolve_loops`, up to the rounding of the last
    digit, much faster.
    """
    bias = _checked(images, weights, bias)
    filters, _, k, _ = weights.shape
    height, width = (output_size(size, k, stride, padding) for size in images.shape[2:])
    rows = im2col(images, k, stride, padding) @ weights.reshape(filters, -1).T + bias
    return rows.reshape(len(images), height, width, filters).transpose(0, 3, 1, 2)


def convolve_backward(
    grad_output: Array, images: Array, weights: Array, stride: int = 1, padding: int = 0
) -> tuple[Array, Array, Array]:
    """Carry the gradient of a loss back through a convolution: grad_output (N, F, H', W') -> grad_images,
    grad_weights, grad_bias.

    Each has the shape of what it is the gradient of. Raises ValueError for shapes that do not fit.
    """
    _checked(images, weights, None)
    filters, _, k, _ = weights.shape
    height, width = (output_size(size, k, stride, padding) for size in images.shape[2:])
    if grad_output.shape != (len(images), filters, height, width):
        raise ValueError(
            f"grad_output is {grad_output.shape}, the layer's output {(len(images), filters, height, width)}"
        )
    grad_rows = grad_output.transpose(0, 2, 3, 1).reshape(-1, filters)  # as the rows of the forward product
    grad_weights = (grad_rows.T @ im2col(images, k, stride, padding)).reshape(weights.shape)
    grad_images = col2im(grad_rows @ weights.reshape(filters, -1), images.shape, k, stride, padding)
    return grad_images, grad_weights, grad_rows.sum(0)


def max_pool(images: Array, size: int = 2, stride: int | None = None) -> Array:
    """The greatest value of each window of size × size pixels, a channel at a time: (N, C, H, W) -> (N, C,
    H', W'); stride: size.
    """
    return _windows(images, size, stride or size).max(-1)


def max_pool_backward(grad_output: Array, images: Array, size: int = 2, stride: int | None = None) -> Array:
    """Carry the gradient back through max pooling: all of it goes to the window's greatest pixel, of equal
    ones to the first.
    """
    stride = stride or size
    windows = _windows(images, size, stride)
    if grad_output.shape != windows.shape[:-1]:
        raise ValueError(f"grad_output is {grad_output.shape}, the layer's output {windows.shape[:-1]}")
    n, c, h, w = images.shape
    chosen = windows.argmax(-1)[..., None] == np.arange(size * size)
    columns = (chosen * grad_output[..., None]).reshape(-1, size * size)
    return col2im(columns, (n * c, 1, h, w), size, stride).reshape(
        images.shape
    )  # channels as images: pooling mixes none


def relu(x: Array) -> Array:
    """The positive part of each number."""
    return np.maximum(x, 0)


def relu_backward(grad_output: Array, x: Array) -> Array:
    """Carry the gradient back through `relu`: it passes where x > 0."""
    return grad_output * (x > 0)


def gradient_check(function: Callable[[Array], float], x: Array, gradient: Array, step: float = 1e-6) -> float:
    """Compare `gradient` with central finite differences of `function` at x; returns the greatest error,
    relative to the greatest entry.

    `function` takes an array of x's shape and returns one number. Below about 1e-7 in float64 the gradient is
    right, above 1e-3 it is wrong; between, look for a kink. x is put back as it was. Raises ValueError for x
    that is not float64 or another shape of `gradient`.
    """
    if x.dtype != np.float64:
        raise ValueError(
            f"finite differences need float64, x is {x.dtype}: in float32 rounding is greater than the difference"
        )
    if gradient.shape != x.shape:
        raise ValueError(f"the gradient is {gradient.shape}, x is {x.shape}")
    estimate, point = np.empty_like(x), x.copy()
    for place in np.ndindex(x.shape):
        point[place] = x[place] + step
        above = function(point)
        point[place] = x[place] - step
        estimate[place] = (above - function(point)) / (2 * step)
        point[place] = x[place]
    scale = max(np.abs(estimate).max(initial=0), np.abs(gradient).max(initial=0), 1e-12)
    return float(np.abs(estimate - gradient).max(initial=0) / scale)


def _windows(images: Array, size: int, stride: int) -> Array:
    """(N, C, H', W', size · size): the windows of each channel."""
    _images(images)
    height, width = (output_size(side, size, stride) for side in images.shape[2:])
    n, c = images.shape[:2]
    return im2col(images.reshape(n * c, 1, *images.shape[2:]), size, stride).reshape(n, c, height, width, size * size)


def _pad(images: Array, padding: int) -> Array:
    return np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))


def _images(images: Array) -> None:
    if images.ndim != 4:
        raise ValueError(f"images are (N, C, H, W), not {images.shape}: a single one is images[None]")


def _checked(images: Array, weights: Array, bias: Array | None) -> Array:
    """The bias, zeros for none, after a look at the shapes."""
    _images(images)
    if weights.ndim != 4 or weights.shape[2] != weights.shape[3]:
        raise ValueError(f"weights are (F, C, k, k), not {weights.shape}")
    if weights.shape[1] != images.shape[1]:
        raise ValueError(f"the filters look at {weights.shape[1]} channels, the images have {images.shape[1]}")
    if bias is None:
        return np.zeros(len(weights), dtype=weights.dtype)
    if bias.shape != (len(weights),):
        raise ValueError(f"the bias is {bias.shape}, {len(weights)} filters need ({len(weights)},)")
    return bias
