"""Losses: numbers worked out by hand."""

import pytest
import torch

from cifar_utils import losses


def test_the_reconstruction_loss_is_the_mean_over_all_values():
    inputs = torch.zeros(2, 3, 4, 4)
    inputs[0, 0, 0, 0] = 0.5
    found = losses.reconstruction()(torch.nn.Identity(), inputs, torch.zeros(2))
    assert found["loss"] == 0
    found = losses.reconstruction()(torch.zeros_like, inputs, torch.zeros(2))
    assert found["loss"].item() == pytest.approx(0.25 / inputs.numel())


def test_the_loss_is_float32_whatever_the_model_gives():
    loss = losses.reconstruction()(lambda x: x.bfloat16(), torch.rand(2, 3, 4, 4), torch.zeros(2))["loss"]
    assert loss.dtype == torch.float32


def test_noise_is_seen_by_the_model_and_asked_back_from_it():
    inputs, seen = torch.rand(50, 3, 32, 32), []

    def model(noisy):
        seen.append(noisy)
        return noisy

    torch.manual_seed(0)
    loss = losses.reconstruction(noise=0.1)(model, inputs, torch.zeros(50))["loss"]
    assert (seen[0] - inputs).std().item() == pytest.approx(0.1, rel=0.02)
    assert loss.item() == pytest.approx(0.01, rel=0.02)  # to give the noise back is an error
