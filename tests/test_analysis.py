"""Error analysis: calibration, doubtful labels, corruptions, saliency, and mistakes as images, on known cases."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cifar_utils import analysis, data, models, training
from cifar_utils.batches import STANDARD, Batches
from cifar_utils.evaluation import Predictions


@pytest.fixture(scope="module")
def shapes():
    return data.synthetic_shapes(train_size=600, test_size=100, seed=2)


@pytest.fixture(scope="module")
def spoilt(shapes):
    return {name: [analysis.corrupt(shapes.test.images, name, strength) for strength in range(1, 6)]
            for name in analysis.CORRUPTIONS}


def said(probabilities, labels):
    """Predictions of ten classes with these probabilities of the first few; the rest is shared evenly."""
    given = torch.tensor(probabilities)
    rest = (1 - given.sum(1, keepdim=True)) / (10 - given.shape[1])
    return Predictions(torch.cat([given, rest.expand(-1, 10 - given.shape[1])], 1).log(), torch.tensor(labels))


# ---------------------------------------------------------------- mistakes as images


def test_saved_images_have_the_name_and_the_pixels_of_the_mistake(tmp_path, shapes):
    predictions = said([[0.1, 0.8]] * 3, [0, 1, 2])
    examples = data.Examples(shapes.test.images[:3], predictions.labels, torch.tensor([70, 80, 90]))
    chosen = analysis.most_confident_mistakes(predictions)
    table = analysis.save_images(tmp_path, examples, predictions, chosen, scale=3)
    assert table["file"].tolist() == ["01_airplane_automobile_0.800.png", "02_bird_automobile_0.800.png"]
    assert table["index"].tolist() == [70, 90]
    saved = np.asarray(Image.open(tmp_path / "02_bird_automobile_0.800.png"))
    assert saved.shape == (96, 96, 3)
    assert (saved[1::3, 1::3].transpose(2, 0, 1) == examples.images[2].numpy()).all()


# ---------------------------------------------------------------- several models and cross-validation


def test_pooling_multiplies_probabilities():
    first, second = said([[0.6, 0.3]], [0]), said([[0.2, 0.7]], [0])
    pooled = analysis.pool([first, second]).probabilities[0]
    assert (pooled[0] / pooled[1]).item() == pytest.approx((0.6 * 0.2 / (0.3 * 0.7)) ** 0.5)
    alone = analysis.pool([first, second], [0.0, 1.0])
    assert torch.allclose(alone.probabilities, second.probabilities)
    with pytest.raises(ValueError, match="a weight each"):
        analysis.pool([])
    with pytest.raises(ValueError, match="a weight each"):
        analysis.pool([first], [1.0, 2.0])
    with pytest.raises(ValueError, match="same examples"):
        analysis.pool([first, said([[0.2, 0.8]], [1])])


def test_the_weights_of_a_pool_are_recovered():
    torch.manual_seed(2)
    one, other = torch.randn(2, 20_000, 10).log_softmax(2)  # labels follow these two, with weights 2 and 0.5
    labels = torch.distributions.Categorical(logits=2 * one + 0.5 * other).sample()
    weights = analysis.fit_pool([Predictions(one, labels), Predictions(other, labels)])
    assert weights == pytest.approx([2, 0.5], abs=0.05)
    useless = Predictions(torch.randn(20_000, 10), labels)
    assert analysis.fit_pool([Predictions(one, labels), useless])[1] == pytest.approx(0, abs=0.03)


def test_predicting_both_ways_does_not_tell_left_from_right(shapes):
    torch.manual_seed(0)
    model = models.MLP((8,))
    mirrored = data.Examples(shapes.test.images.flip(3), shapes.test.labels, shapes.test.indices)
    ways = [analysis.predict_both_ways(model, examples).probabilities for examples in (shapes.test, mirrored)]
    assert torch.allclose(*ways, atol=1e-6)


def test_cross_validation_holds_every_image_out_once(shapes):
    seen = []

    def train_one(examples, fold):
        seen.append(set(examples.indices.tolist()))
        model = models.Linear()
        nn.init.zeros_(model.classify.weight)
        model.classify.bias.data = torch.nn.functional.one_hot(torch.tensor(fold), 10).float() * 9
        return model

    predictions, trained = analysis.cross_validate(shapes.train, train_one, folds=3, seed=1)
    assert len(trained) == 3
    for place, fold in enumerate(predictions.classes.tolist()):  # each model gives the number of its fold
        assert [place in part for part in seen] == [other != fold for other in range(3)]
    assert torch.bincount(predictions.classes, minlength=3)[:3].tolist() == [200, 200, 200]
    with pytest.raises(ValueError):
        analysis.cross_validate(shapes.train, train_one, folds=1)


# ---------------------------------------------------------------- calibration


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.5])
def test_the_temperature_is_recovered(truth):
    torch.manual_seed(1)
    honest = torch.randn(20_000, 10) * 2  # labels are drawn from exactly these logits
    labels = torch.distributions.Categorical(logits=honest).sample()
    predictions = Predictions(honest * truth, labels)
    found = analysis.fit_temperature(predictions)
    assert found == pytest.approx(truth, rel=0.03)
    assert analysis.fit_temperature(analysis.at_temperature(predictions, found)) == pytest.approx(1, abs=0.001)


def test_a_temperature_changes_confidence_and_no_class():
    predictions = Predictions(torch.randn(50, 10, generator=torch.Generator().manual_seed(0)), torch.zeros(50).long())
    cooler = analysis.at_temperature(predictions, 3)
    assert torch.equal(cooler.classes, predictions.classes)
    assert (cooler.confidence < predictions.confidence).all()
    with pytest.raises(ValueError, match="positive"):
        analysis.at_temperature(predictions, 0)


def test_reliability_counts_what_is_right_in_each_bin():
    predictions = said([[0.95, 0.0]] * 4 + [[0.55, 0.0]] * 2, [0, 0, 0, 1, 0, 1])
    predictions = Predictions(predictions.logits.clamp_min(-30), predictions.labels)
    table = analysis.reliability(predictions)
    assert table["images"].tolist() == [2, 4]
    assert table["confidence"].tolist() == pytest.approx([0.55, 0.95], abs=1e-6)
    assert table["accuracy"].tolist() == [0.5, 0.75]
    assert table.loc[9, ["low", "high"]].tolist() == pytest.approx([0.3006, 0.9544], abs=1e-4)  # Wilson, 3 of 4


# ---------------------------------------------------------------- suspect labels


def test_suspicion_sets_the_likeliest_other_class_against_the_label():
    predictions = said([[0.6, 0.2], [0.1, 0.8], [0.3, 0.3]], [0, 0, 1])
    assert analysis.label_suspicion(predictions) == pytest.approx([0.2 / 0.8, 0.8 / 0.9, 0.5])
    cooler = analysis.label_suspicion(analysis.at_temperature(predictions, 2))
    assert np.argsort(cooler).tolist() == [0, 2, 1], "no temperature changes the order"


def test_planted_flips_go_where_confusion_points():
    labels = torch.arange(10).repeat(100)
    confusion = np.zeros((10, 10))
    confusion[np.arange(10), (np.arange(10) + 1) % 10] = 5
    planted, flipped = analysis.plant_flips(labels, 0.05, confusion, seed=3)
    assert flipped.sum() == 50
    assert torch.equal(planted[~flipped], labels[~flipped])
    assert torch.equal(planted[flipped], (labels[flipped] + 1) % 10)
    assert torch.equal(planted, analysis.plant_flips(labels, 0.05, confusion, seed=3)[0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        analysis.plant_flips(labels, 1.5, confusion)


@pytest.mark.slow
def test_suspects_are_the_labels_that_were_turned(shapes):
    noisy, flipped = analysis.plant_flips(shapes.train.labels, 0.03, np.ones((10, 10)), seed=0)
    examples = data.Examples(shapes.train.images, noisy, shapes.train.indices + 1000)

    def train_one(part, fold):
        torch.manual_seed(fold)
        model = models.CNN(channels=(16, 16), dense=(32,))
        training.fit(model, Batches(part, batch_size=32, shuffle=True), epochs=12, learning_rate=2e-3, progress=False)
        return model

    predictions, _ = analysis.cross_validate(examples, train_one, folds=3)
    suspects = analysis.label_suspects(predictions, examples, "train")
    assert list(suspects.columns) == ["split", "index", "label", "suggested", "score"]
    assert suspects["score"].is_monotonic_decreasing and suspects["score"].between(0, 1).all()
    found = suspects["index"].to_numpy() - 1000
    truth = {int(place) for place in np.flatnonzero(flipped)}
    assert len(truth & set(found.tolist())) >= 0.7 * len(truth)
    assert len(truth & set(found[:10].tolist())) >= 9, "and they stand in front"
    first = suspects.iloc[0]
    assert first["label"] == data.CLASS_NAMES[noisy[first["index"] - 1000]] != first["suggested"]
    with pytest.raises(ValueError, match="labels differ"):
        analysis.label_suspects(predictions, shapes.train, "train")


# ---------------------------------------------------------------- corruptions


@pytest.mark.parametrize("name", list(analysis.CORRUPTIONS))
def test_a_corruption_repeats_itself_and_grows(name, shapes, spoilt):
    images = shapes.test.images
    for strength, changed in enumerate(spoilt[name], start=1):
        assert changed.shape == images.shape and changed.dtype == torch.uint8
        assert torch.equal(changed, analysis.corrupt(images, name, strength)), "the same seed spoils alike"
    off = [(changed.float() - images.float()).abs().mean().item() for changed in spoilt[name]]
    assert off[0] > 0.3 and (off == sorted(off) or name == "shift"), "stripes may be moved by their period"


def test_corruptions_change_what_they_are_called_after(shapes, spoilt):
    images = shapes.test.images.float()
    means = [changed.float().mean() / images.mean() for changed in spoilt["brightness"]]
    assert means == pytest.approx(analysis.CORRUPTIONS["brightness"], abs=0.02)
    spreads = [changed.float().std((2, 3)).mean() / images.std((2, 3)).mean() for changed in spoilt["contrast"]]
    assert spreads == pytest.approx(analysis.CORRUPTIONS["contrast"], abs=0.03)
    grey = analysis.corrupt(torch.full((50, 3, 32, 32), 128, dtype=torch.uint8), "noise", 3).float()
    assert grey.std().item() == pytest.approx(20, abs=0.5) and grey.mean().item() == pytest.approx(128, abs=0.5)
    rough = [changed.float().diff(dim=3).abs().mean() for changed in spoilt["blur"]]
    assert rough == sorted(rough, reverse=True)
    assert not torch.equal(spoilt["noise"][0], analysis.corrupt(shapes.test.images, "noise", 1, seed=1))


def test_a_shift_moves_to_one_of_four_sides(shapes):
    images = shapes.test.images
    moved, ways = analysis.corrupt(images, "shift", 3), set()
    for before, after in zip(images, moved):
        for way, (a, b) in enumerate((((..., slice(4, None)), (..., slice(None, -4))),
                                      ((..., slice(None, -4)), (..., slice(4, None))),
                                      ((..., slice(4, None), slice(None)), (..., slice(None, -4), slice(None))),
                                      ((..., slice(None, -4), slice(None)), (..., slice(4, None), slice(None))))):
            if torch.equal(after[a], before[b]):
                ways.add(way)
                break
        else:
            pytest.fail("an image was not moved by four pixels")
    assert ways == {0, 1, 2, 3}


def test_a_corruption_that_does_not_exist_is_refused(shapes):
    for wrong in (("fog", 1), ("noise", 0), ("noise", 6)):
        with pytest.raises(ValueError, match="strength 1 to 5"):
            analysis.corrupt(shapes.test.images, *wrong)
    with pytest.raises(ValueError, match="uint8"):
        analysis.corrupt(shapes.test.images.float(), "noise", 1)


# ---------------------------------------------------------------- where a network looks


class Corner(nn.Module):
    """Class 3 speaks for the brightness of the upper left quarter, and nothing else."""

    def forward(self, inputs):
        logits = torch.zeros(len(inputs), 10)
        return logits.index_add(1, torch.tensor([3]), inputs[:, :, :16, :16].mean((1, 2, 3))[:, None])


def test_integrated_gradients_finds_what_the_answer_depends_on(shapes):
    inputs = STANDARD.apply(shapes.test.images[:8]).abs()
    maps = analysis.saliency(Corner(), inputs, torch.full((8,), 3))
    assert maps.shape == (8, 32, 32) and (maps >= 0).all()
    assert maps.sum((1, 2)).tolist() == pytest.approx([1.0] * 8, abs=1e-4)
    assert maps[:, :16, :16].sum((1, 2)).tolist() == pytest.approx([1.0] * 8, abs=1e-4)
    assert analysis.saliency(Corner(), inputs, torch.full((8,), 4)).sum() == 0


def test_grad_cam_maps_a_layer_to_the_whole_image(shapes):
    torch.manual_seed(0)
    model = models.CNN(channels=(8, 8), dense=(16,))
    maps = analysis.saliency(model, STANDARD.apply(shapes.test.images[:5]), shapes.test.labels[:5],
                             layer=model.features[-1])
    assert maps.shape == (5, 32, 32) and (maps >= 0).all() and torch.isfinite(maps).all()
    totals = maps.sum((1, 2))
    assert ((totals - 1).abs().lt(1e-4) | (totals == 0)).all()


def test_another_seed_makes_other_folds(shapes):
    def held_out(seed):
        seen = []

        def train_one(part, fold):
            seen.append(part.indices)
            return models.Linear()

        analysis.cross_validate(shapes.train, train_one, folds=2, seed=seed)
        return seen[0]

    assert torch.equal(held_out(1), held_out(1)) and not torch.equal(held_out(1), held_out(2))


@pytest.mark.parametrize("strength", [3, 5])
def test_the_blur_has_the_deviation_that_it_says(strength):
    edge = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    edge[..., 16:] = 255
    slope = analysis.corrupt(edge, "blur", strength)[0, 0, 16].double().diff()
    places = torch.arange(31.0).double()
    spread = ((places - 15) ** 2 * slope).sum() / slope.sum()
    assert spread.sqrt().item() == pytest.approx(analysis.CORRUPTIONS["blur"][strength - 1], abs=0.1)
