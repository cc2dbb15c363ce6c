"""Checkpoints: what comes back is what went in; what is no checkpoint of this course is refused, never unpickled."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from cifar_utils import checkpoints, models
from cifar_utils.batches import STANDARD, UNIT_RANGE
from cifar_utils.checkpoints import CheckpointError


def test_a_model_comes_back_with_all_that_it_needs(tmp_path):
    model = models.CNN(channels=(4,), kernel_size=5, dense=(6, 5), dropout=0.1, pool="stride")
    path = checkpoints.save(tmp_path / "a" / "model.safetensors", model, normalisation=UNIT_RANGE, split_seed=3)
    loaded = checkpoints.load(path, "CNN")
    inputs = torch.randn(3, 3, 32, 32)
    assert torch.equal(loaded.model(inputs), model.eval()(inputs))
    assert loaded.normalisation == UNIT_RANGE
    assert loaded.split_seed == 3
    assert not loaded.model.training


def test_what_could_not_be_built_again_is_not_saved(tmp_path):
    with pytest.raises(CheckpointError, match="not a model of"):
        checkpoints.save(tmp_path / "x.safetensors", torch.nn.Linear(2, 2), normalisation=STANDARD)


def test_truncated_foreign_missing_and_pickled_files_are_refused(tmp_path):
    path = checkpoints.save(tmp_path / "model.safetensors", models.MLP((4,)), normalisation=STANDARD)
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoints.load(path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoints.load(tmp_path / "absent.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="no header"):
        checkpoints.load(tmp_path / "foreign.safetensors")

    class Planted:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Planted()))
    with pytest.raises(CheckpointError, match="damaged or no safetensors"):
        checkpoints.load(tmp_path / "pickle.pt")
    assert not (tmp_path / "executed").exists()


def test_headers_that_do_not_fit_are_refused(tmp_path):
    tensors = dict(models.MLP((4,)).state_dict())
    header = {"architecture": "MLP", "arguments": {"hidden": [5]},
              "normalisation": {"mean": [0, 0, 0], "std": [1, 1, 1]}}
    path = checkpoints.write_tensors(tmp_path / "x.safetensors", tensors, header)
    with pytest.raises(CheckpointError, match="do not fit"):
        checkpoints.load(path)
    checkpoints.write_tensors(path, tensors, {**header, "architecture": "Transformer"})
    with pytest.raises(CheckpointError, match="this course knows Linear, MLP, CNN"):
        checkpoints.load(path)
    checkpoints.write_tensors(path, tensors, {**header, "arguments": {"hidden": [4]}})
    with pytest.raises(CheckpointError, match="not the CNN"):
        checkpoints.load(path, "CNN")


def test_autoencoders_of_another_size_or_kind_are_refused(tmp_path):
    path = checkpoints.save(tmp_path / "ae.safetensors", models.Autoencoder(5, 4), normalisation=UNIT_RANGE)
    assert checkpoints.load(path, "Autoencoder").model.latent_dim == 5
    with pytest.raises(CheckpointError, match="not the CNN"):
        checkpoints.load(path, "CNN")
    tensors, header = checkpoints.read_tensors(path)
    for wrong in ({"latent_dim": 6}, {"width": 6}, {"linear_path": False}, {"latent_dim": 0}, {"depth": 2}):
        changed = {**header, "arguments": {**header["arguments"], **wrong}}
        checkpoints.write_tensors(path, tensors, changed)
        with pytest.raises(CheckpointError, match="do not fit"):
            checkpoints.load(path)


def test_a_digest_tells_networks_apart_and_equal_ones_not():
    torch.manual_seed(0)
    first, second = models.Autoencoder(5, 4), models.Autoencoder(5, 4)
    assert checkpoints.digest(first) != checkpoints.digest(second)
    second.load_state_dict(first.state_dict())
    assert checkpoints.digest(first) == checkpoints.digest(second.to(memory_format=torch.channels_last))
