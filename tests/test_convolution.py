"""The NumPy convolution against PyTorch, finite differences, and the identities that hold for any right
one.
"""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cifar_utils import convolution as conv

SETTINGS = list(itertools.product((1, 2, 3, 4), (1, 2, 3), (0, 1, 2)))  # kernel size, stride, padding; 9 × 8 pixels


def example(kernel_size, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(
        rng.normal(size=shape).astype(dtype) for shape in ((2, 3, 9, 8), (4, 3, kernel_size, kernel_size), (4,))
    )


@pytest.mark.parametrize("dtype,tolerance", [(np.float64, 1e-10), (np.float32, 1e-5)])
def test_forward_and_backward_are_pytorchs(dtype, tolerance):
    for k, stride, padding in SETTINGS:
        arrays = example(k, dtype)
        tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
        output = F.conv2d(*tensors, stride=stride, padding=padding)
        for forward in (conv.convolve_im2col, conv.convolve_loops):
            ours = forward(*arrays, stride, padding)
            assert ours.dtype == dtype
            np.testing.assert_allclose(ours, output.detach(), atol=tolerance, rtol=tolerance)
        grad = np.random.default_rng(1).normal(size=output.shape).astype(dtype)
        output.backward(torch.tensor(grad))
        for ours, tensor in zip(conv.convolve_backward(grad, *arrays[:2], stride, padding), tensors, strict=True):
            scale = float(tensor.grad.abs().max())
            np.testing.assert_allclose(ours, tensor.grad, atol=tolerance * scale, rtol=tolerance)


def test_adjoint():
    """<conv(x), y> = <x, convᵀ(y)>: with no bias the backward pass is the transpose of the forward one."""
    for k, stride, padding in SETTINGS:
        images, weights, _ = example(k, seed=2)
        output = conv.convolve_im2col(images, weights, None, stride, padding)
        y = np.random.default_rng(3).normal(size=output.shape)
        grad_images, grad_weights, _ = conv.convolve_backward(y, images, weights, stride, padding)
        for x, transposed in ((images, grad_images), (weights, grad_weights)):  # it is linear in both
            np.testing.assert_allclose((output * y).sum(), (x * transposed).sum(), rtol=1e-10)


def test_finite_differences_tell_right_from_wrong():
    images, weights, bias = example(2, seed=4)
    images, target = images[:1, :, :4, :4], np.random.default_rng(5).normal(size=(1, 4, 2, 2))

    def loss(images=images, weights=weights, bias=bias):
        return float((conv.relu(conv.convolve_im2col(images, weights, bias, 2)) * target).sum())

    before = conv.convolve_im2col(images, weights, bias, 2)
    gradients = conv.convolve_backward(conv.relu_backward(target, before), images, weights, 2)
    for name, x, gradient in zip(("images", "weights", "bias"), (images, weights, bias), gradients, strict=True):
        kept = x.copy()
        assert conv.gradient_check(lambda v, name=name: loss(**{name: v}), x, gradient) < 1e-7
        assert conv.gradient_check(lambda v, name=name: loss(**{name: v}), x, 1.01 * gradient) > 1e-3
        np.testing.assert_array_equal(x, kept)
    with pytest.raises(ValueError, match="float64"):
        conv.gradient_check(loss, images.astype(np.float32), gradients[0])


@pytest.mark.parametrize("size,stride", [(2, None), (3, 2), (2, 1), (3, 1)])
def test_max_pooling_is_pytorchs(size, stride):
    images = np.random.default_rng(6).permutation(2 * 3 * 9 * 8).reshape(2, 3, 9, 8).astype(float)  # no two equal
    tensor = torch.tensor(images, requires_grad=True)
    output = F.max_pool2d(tensor, size, stride)
    np.testing.assert_array_equal(conv.max_pool(images, size, stride), output.detach())
    grad = np.random.default_rng(7).normal(size=output.shape)
    output.backward(torch.tensor(grad))
    np.testing.assert_allclose(conv.max_pool_backward(grad, images, size, stride), tensor.grad, atol=1e-12)


def test_equal_pixels_share_no_gradient():
    flat = np.zeros((1, 1, 2, 2))
    np.testing.assert_array_equal(conv.max_pool_backward(np.ones((1, 1, 1, 1)), flat)[0, 0], [[1, 0], [0, 0]])


def test_a_convolution_moves_by_one_pixel_and_pads_nothing_unless_told():
    images, weights, bias = example(3)
    expected = conv.convolve_im2col(images, weights, bias, stride=1, padding=0)
    for convolve in (conv.convolve_loops, conv.convolve_im2col):
        assert np.allclose(convolve(images, weights, bias), expected)


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda i, w, b: conv.convolve_loops(i[0], w, b), r"images\[None\]"),
        (lambda i, w, b: conv.convolve_im2col(i[:, :2], w, b), "3 channels, the images have 2"),
        (lambda i, w, b: conv.convolve_im2col(i, w[..., :2], b), r"\(F, C, k, k\)"),
        (lambda i, w, b: conv.convolve_im2col(i, w, b[:1]), "4 filters"),
        (lambda i, w, b: conv.convolve_loops(i[:, :, :2], w, b), "does not fit"),
        (lambda i, w, b: conv.convolve_loops(i, w, b, stride=0), "at least 1"),
        (lambda i, w, b: conv.convolve_backward(i, i, w), "grad_output"),
        (lambda i, w, b: conv.max_pool_backward(i, i), "grad_output"),
        (lambda i, w, b: conv.col2im(b[None], (1, 3, 9, 8), 3), "columns"),
    ],
)
def test_shapes_that_do_not_fit_say_so(call, message):
    with pytest.raises(ValueError, match=message):
        call(*example(3))
