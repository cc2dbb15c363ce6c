"""Optimizers: which parameter moves how, against the update worked out by hand."""

import copy

import pytest
import torch
from torch import nn

from cifar_utils import models, optimizers


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 4, 10))


def moved(model, optimizer, steps=1):
    """How far each parameter moves, and its first gradient."""
    before = [p.detach().clone() for p in model.parameters()]
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(16, 3, 4, 4, generator=generator)).square().sum().backward()
        gradients = [p.grad.clone() for p in model.parameters()]
        optimizer.step()
    return [p.detach() - b for p, b in zip(model.parameters(), before)], gradients


def test_nesterov_is_sgd_with_faster_biases():
    model = network()
    changes, gradients = moved(model, optimizers.nesterov(momentum=0.9, bias_factor=50)(
        model.parameters(), lr=1e-3, weight_decay=0.0))
    for change, gradient, parameter in zip(changes, gradients, model.parameters()):
        rate = 1e-3 * (50 if parameter.ndim == 1 else 1)
        assert torch.allclose(change, -rate * 1.9 * gradient, rtol=1e-4, atol=1e-6)  # gradient + 0.9 momentum


def test_a_step_decays_all_parameters_alike():
    for build in (optimizers.nesterov(), optimizers.muon()):
        model = network()
        optimizer = build(model.parameters(), lr=0.1, weight_decay=0.5)
        assert [group["lr"] * group["weight_decay"] for group in optimizer.param_groups] == pytest.approx(
            [0.05] * len(optimizer.param_groups))


def test_frozen_parameters_stay():
    for build in (optimizers.nesterov(), optimizers.muon()):
        model = models.FastCNN((4, 4, 4)).whiten(torch.randn(10, 3, 32, 32))
        before = {name: value.clone() for name, value in model.named_parameters()}
        optimizer = build(model.parameters(), lr=0.01, weight_decay=0.1)
        model(torch.randn(8, 3, 32, 32)).square().sum().backward()
        optimizer.step()
        for name, value in model.named_parameters():
            assert torch.equal(value, before[name]) == (not value.requires_grad), name


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["channels last", "contiguous"])
def test_muon_moves_filters_along_a_matrix_with_equal_singular_values(layout):
    model = network().to(memory_format=layout)
    optimizer = optimizers.muon(momentum=0.6, head_factor=3, bias_factor=10)(
        model.parameters(), lr=0.01, weight_decay=0.0)
    (filters, *others), gradients = moved(model, optimizer)
    singular = torch.linalg.svdvals(filters.flatten(1)) / 0.01
    assert singular.min() > 0.5 and singular.max() < 1.5  # the iteration stops near 1, not at it
    left, _, right = torch.linalg.svd(gradients[0].flatten(1), full_matrices=False)
    nearest = left @ right
    cosine = -(filters.flatten(1) * nearest).sum() / filters.norm() / nearest.norm()
    assert cosine > 0.95
    for change, gradient, factor in zip(others, gradients[1:], (10, 3, 10)):
        assert torch.allclose(change, -0.01 * factor * 1.6 * gradient, rtol=1e-4, atol=1e-6)


def test_muon_gives_the_same_in_both_layouts():
    """The columns of a filter's matrix are in another order, its singular values are not."""
    changes = []
    for layout in (torch.channels_last, torch.contiguous_format):
        model = network().to(memory_format=layout)
        optimizer = optimizers.muon()(model.parameters(), lr=1e-4, weight_decay=0.1)
        changes.append(moved(model, optimizer, steps=3)[0])
    for first, second in zip(*changes):
        assert torch.allclose(first, second, atol=2e-5)  # the iteration computes in bfloat16


def test_muon_forgets_gradients_between_steps():
    model = network()
    optimizer = optimizers.muon()(model.parameters(), lr=0.01, weight_decay=0.0)
    model(torch.randn(4, 3, 4, 4)).sum().backward()
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_muon_goes_on_from_its_stored_state():
    model, again = network(), network()
    optimizer, second = (optimizers.muon()(m.parameters(), lr=1e-5, weight_decay=0.1) for m in (model, again))
    moved(model, optimizer, steps=3)
    again.load_state_dict(model.state_dict())
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for group in second.param_groups:  # what a schedule does, after the state was taken up
        group["lr"] *= 0.5
    for group in optimizer.param_groups:
        group["lr"] *= 0.5
    moved(model, optimizer, steps=2)
    moved(again, second, steps=2)
    assert all(torch.equal(a, b) and a.isfinite().all() for a, b in zip(model.parameters(), again.parameters()))


def test_muon_refuses_a_network_without_filters():
    with pytest.raises(ValueError, match="no filters"):
        optimizers.muon()(models.MLP((8,)).parameters(), lr=0.1, weight_decay=0.0)
