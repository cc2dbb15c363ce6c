"""Batches: the right pixels, in an order that seed and epoch decide alone."""

import pytest
import torch
from torch.nn import functional

from cifar_utils import data
from cifar_utils.batches import STANDARD, UNIT_RANGE, Batches, Normalisation, widen


@pytest.fixture(scope="module")
def examples():
    return data.synthetic_shapes(train_size=300, test_size=20).train


def collect(made, epoch=0):
    inputs, labels = zip(*made.epoch(epoch))
    return torch.cat(inputs), torch.cat(labels)


def test_plain_batches_are_the_normalised_images_in_order(examples):
    inputs, labels = collect(Batches(examples, batch_size=128))
    expected = (examples.images.double() / 255 - torch.tensor(STANDARD.mean, dtype=torch.float64).view(3, 1, 1)
                ) / torch.tensor(STANDARD.std, dtype=torch.float64).view(3, 1, 1)
    assert torch.allclose(inputs.double(), expected, atol=1e-5)
    assert torch.equal(labels, examples.labels)
    assert inputs.dtype == torch.float32


def test_batches_come_in_channels_last_order(examples):
    inputs, _ = next(iter(Batches(examples, batch_size=32, flip=True, shift=2)))
    assert inputs.shape == (32, 3, 32, 32)
    assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_normalisation_and_its_inverse(examples):
    assert torch.equal(STANDARD.invert(STANDARD.apply(examples.images)), examples.images)
    assert torch.allclose(UNIT_RANGE.apply(examples.images), examples.images / 255)
    with pytest.raises(ValueError, match="positive deviations"):
        Normalisation((0, 0, 0), (1, 0, 1))


def test_every_example_comes_once_an_epoch_and_the_order_depends_on_seed_and_epoch_only(examples):
    numbered = data.Examples(examples.images, torch.arange(len(examples)), examples.indices)
    made = Batches(numbered, batch_size=64, shuffle=True, seed=3)
    _, first = collect(made, 0)
    _, again = collect(made, 0)
    _, second = collect(made, 1)
    _, other_seed = collect(Batches(numbered, batch_size=64, shuffle=True, seed=4), 0)
    _, other_size = collect(Batches(numbered, batch_size=100, shuffle=True, seed=3), 0)
    assert torch.equal(first.sort().values, torch.arange(300))
    assert torch.equal(first, again)
    assert torch.equal(first, other_size)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other_seed)


def test_flip_mirrors_about_half_and_nothing_else(examples):
    inputs, _ = collect(Batches(examples, normalisation=UNIT_RANGE, flip=True))
    plain = UNIT_RANGE.apply(examples.images)
    kept = ((inputs - plain).abs() < 1e-6).flatten(1).all(1)
    mirrored = ((inputs - plain.flip(3)).abs() < 1e-6).flatten(1).all(1)
    assert (kept | mirrored).all()
    assert 100 < mirrored.sum() < 200


def test_without_a_seed_the_order_is_that_of_seed_0(examples):
    assert torch.equal(collect(Batches(examples, shuffle=True))[1], collect(Batches(examples, shuffle=True, seed=0))[1])


def test_alternating_flip_shows_each_image_both_ways_in_two_epochs(examples):
    made = Batches(examples, normalisation=UNIT_RANGE, flip="alternating")
    first, second = collect(made, 0)[0], collect(made, 1)[0]
    assert torch.equal(first, second.flip(3))
    assert torch.equal(first, collect(made, 2)[0])


def test_shift_cuts_windows_out_of_the_padded_image(examples):
    inputs, _ = collect(Batches(examples, normalisation=UNIT_RANGE, shift=2))
    padded = functional.pad(UNIT_RANGE.apply(examples.images), (2, 2, 2, 2))
    windows = torch.stack([padded[:, :, y:y + 32, x:x + 32] for y in range(5) for x in range(5)])
    fits = ((windows - inputs).abs() < 1e-6).flatten(2).all(2)  # (25, N)
    assert fits.any(0).all()
    assert fits.any(1).all()  # every one of the 25 places occurs among 300 images


def test_cutout_paints_one_square_in_the_mean_colour(examples):
    inputs, _ = collect(Batches(examples, cutout=8))
    changed = ((inputs - STANDARD.apply(examples.images)).abs() > 1e-5).any(1)
    assert changed.flatten(1).sum(1).max() <= 64
    assert 30 < changed.flatten(1).sum(1).float().mean() < 64  # squares at the border are cut off
    assert torch.all(inputs.permute(0, 2, 3, 1)[changed].abs() < 1e-5)


def test_augmentation_is_the_same_for_the_same_epoch(examples):
    settings = dict(shuffle=True, flip=True, shift=3, cutout=6, seed=1)
    first, second = Batches(examples, **settings), Batches(examples, **settings)
    assert torch.equal(collect(first, 5)[0], collect(second, 5)[0])
    assert not torch.equal(collect(first, 5)[0], collect(first, 6)[0])


def test_sizes_shrink_the_images_of_their_epochs_after_every_augmentation(examples):
    settings = {"batch_size": 50, "shuffle": True, "flip": True, "shift": 2, "border": "mirrored"}
    plain, shrunk = Batches(examples, **settings), Batches(examples, sizes=(16, 24), **settings)
    for epoch, size in enumerate((16, 24, 24)):  # the last size stays
        inputs, labels = collect(shrunk, epoch)
        whole, same_labels = collect(plain, epoch)
        assert inputs.shape == (300, 3, size, size) and torch.equal(labels, same_labels)
        assert next(shrunk.epoch(epoch))[0].is_contiguous(memory_format=torch.channels_last)
        small = functional.interpolate(whole, size=(size, size), mode="bilinear", antialias=True)
        assert torch.allclose(inputs, small, atol=1e-5)
        assert torch.allclose(inputs.mean((2, 3)), whole.mean((2, 3)), atol=0.1)  # the colours are those of the image
    whole_again = collect(Batches(examples, sizes=(32,), **settings), 1)[0]
    assert torch.equal(whole_again, collect(plain, 1)[0])  # nothing to shrink: not a bit changes
    flat = data.Examples(examples.images[:, :, :8], examples.labels, examples.indices)
    assert collect(Batches(flat, sizes=(8,)), 0)[0].shape == (300, 3, 8, 8)  # a side that is short enough is not all


def test_drop_last_leaves_out_what_is_not_full(examples):
    assert len(Batches(examples, batch_size=128)) == 3
    dropped = Batches(examples, batch_size=128, drop_last=True)
    assert [len(labels) for _, labels in dropped] == [128, 128]


@pytest.mark.parametrize(("settings", "message"), [
    ({"batch_size": 0}, "at least 1"), ({"flip": "both"}, "alternating"), ({"shift": -1}, "between 0 and 32"),
    ({"cutout": 40}, "between 0 and 32"), ({"sizes": (24, 40)}, "only shrunk"),
])
def test_bad_settings_are_refused(examples, settings, message):
    with pytest.raises(ValueError, match=message):
        Batches(examples, **settings)


def test_a_shift_is_bounded_by_the_shorter_side(examples):
    for images in (examples.images[:, :, :, :8], examples.images[:, :, :8]):
        narrow = data.Examples(images, examples.labels, examples.indices)
        with pytest.raises(ValueError, match="between 0 and 8"):
            Batches(narrow, shift=9)
        assert next(iter(Batches(narrow, shift=8)))[0].shape[2:] == images.shape[2:]


def test_empty_splits_are_refused(examples):
    with pytest.raises(ValueError, match="no examples"):
        Batches(examples[:0])


def test_the_standard_normalisation_is_that_of_the_official_training_images():
    assert Normalisation((0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784)) == STANDARD


@pytest.mark.slow
@pytest.mark.real_data
def test_the_standard_normalisation_is_measured():
    mean, std = data.channel_statistics(data.load_cifar10(progress=False).train.images)
    assert mean.tolist() == pytest.approx(STANDARD.mean, abs=1e-8)
    assert std.tolist() == pytest.approx(STANDARD.std, abs=1e-8)


def test_a_mirrored_border_repeats_what_lies_inside_the_edge(examples):
    images = examples.images[:4]
    wide = widen(images, 2, "mirrored")
    expected = functional.pad(images.float(), (2, 2, 2, 2), mode="reflect")
    assert wide.dtype == torch.uint8 and torch.equal(wide.float(), expected)
    assert torch.equal(widen(images, 2, "black"), functional.pad(images, (2, 2, 2, 2)))


def test_shifted_batches_are_cut_out_of_images_with_the_border_that_was_asked_for(examples):
    for border in ("black", "mirrored"):
        made = Batches(examples, batch_size=300, normalisation=UNIT_RANGE, shift=3, border=border)
        cut = (collect(made)[0] * 255).round().to(torch.uint8)
        windows = widen(examples.images, 3, border).unfold(2, 32, 1).unfold(3, 32, 1)  # (N, 3, 7, 7, 32, 32)
        same = (windows == cut[:, :, None, None]).flatten(4).all(4).all(1)
        assert same.flatten(1).any(1).all()
    with pytest.raises(ValueError, match="border must be"):
        Batches(examples, shift=1, border="white")


def test_cutout_is_a_whole_square_anywhere_in_the_mean_colour_of_any_normalisation(examples):
    inputs, _ = collect(Batches(examples, normalisation=UNIT_RANGE, cutout=8))
    changed = ((inputs - UNIT_RANGE.apply(examples.images)).abs() > 1e-6).any(1)
    colours = inputs.permute(0, 2, 3, 1)[changed]
    assert torch.allclose(colours, torch.tensor(STANDARD.mean).expand_as(colours), atol=1e-5)
    rows, columns = changed.any(2), changed.any(1)
    assert (rows.sum(1).max(), columns.sum(1).max()) == (8, 8)
    assert (rows.float().argmax(1) != columns.float().argmax(1)).sum() > 200  # not on the diagonal only


def test_alternating_flip_follows_the_image_when_the_order_changes_and_its_seed(examples):
    numbered = data.Examples(examples.images, torch.arange(len(examples)), examples.indices)
    made = Batches(numbered, normalisation=UNIT_RANGE, flip="alternating", shuffle=True, batch_size=64)
    first, second = (inputs[labels.argsort()] for inputs, labels in (collect(made, 0), collect(made, 1)))
    assert torch.equal(first, second.flip(3))
    other = collect(Batches(examples, normalisation=UNIT_RANGE, flip="alternating", seed=1))[0]
    assert not torch.equal(other, first)


def test_inverted_inputs_out_of_range_are_cut_and_do_not_wrap():
    assert UNIT_RANGE.invert(torch.tensor([-0.5, 0.5, 1.5]).view(1, 3, 1, 1)).flatten().tolist() == [0, 128, 255]
