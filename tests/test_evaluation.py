"""Evaluation: metrics against numbers worked out by hand and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from cifar_utils import analysis, data, evaluation, models
from cifar_utils.batches import STANDARD, UNIT_RANGE, Batches
from cifar_utils.evaluation import Predictions


@pytest.fixture(scope="module")
def predictions():
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (500,), generator=random)
    logits = torch.randn(500, 10, generator=random) + 2 * torch.nn.functional.one_hot(labels, 10)
    return Predictions(logits, labels)


def test_metrics_agree_with_scikit_learn(predictions):
    got = evaluation.report(predictions)
    true, said = predictions.labels.numpy(), predictions.classes.numpy()
    precision, recall, f1, support = sk.precision_recall_fscore_support(true, said)
    assert got.metrics["accuracy"] == pytest.approx(sk.accuracy_score(true, said))
    assert got.metrics["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(true, said))
    assert got.metrics["loss"] == pytest.approx(sk.log_loss(true, predictions.probabilities.numpy()), rel=1e-5)
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1), ("support", support)):
        assert got.per_class[name].to_numpy() == pytest.approx(values)
    assert np.array_equal(got.confusion, sk.confusion_matrix(true, said))
    others = got.confusion.sum() - got.confusion.sum(1)
    false_alarms = got.confusion.sum(0) - got.confusion.diagonal()
    assert got.per_class["specificity"].to_numpy() == pytest.approx(1 - false_alarms / others)
    assert list(got.per_class.index) == list(data.CLASS_NAMES)


def test_averages_over_classes_weigh_each_class_alike():
    """Nine tenths of the images are of one class; a macro average does not care."""
    random = torch.Generator().manual_seed(1)
    labels = torch.cat([torch.zeros(900, dtype=torch.int64), torch.arange(100) % 10])
    logits = torch.randn(1000, 10, generator=random) + 1.5 * torch.nn.functional.one_hot(labels, 10)
    got = evaluation.report(Predictions(logits, labels))
    said = logits.argmax(1).numpy()
    expected = sk.precision_recall_fscore_support(labels.numpy(), said, average="macro")
    for name, value in zip(("precision", "recall", "f1"), expected):
        assert got.metrics[name] == pytest.approx(value)
    assert got.metrics["specificity"] == pytest.approx(got.per_class["specificity"].mean())


def test_calibration_error_has_fifteen_bins():
    """Too sure of some images and not sure enough of others, so that wider bins would cancel one against the other."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (2000,), generator=random)
    logits = torch.randn(2000, 10, generator=random) + 2 * torch.nn.functional.one_hot(labels, 10)
    made = Predictions(logits * torch.linspace(0.3, 4, 2000)[:, None], labels)
    confidence, correct = made.confidence.double().numpy(), made.correct.double().numpy()

    def error(count):
        bins = np.ceil(confidence * count)  # a bin ends with its upper edge
        return sum(np.mean(bins == b) * abs(confidence[bins == b].mean() - correct[bins == b].mean())
                   for b in np.unique(bins))

    assert evaluation.report(made).metrics["ece"] == pytest.approx(error(15), abs=1e-6)
    assert all(abs(error(count) - error(15)) > 1e-4 for count in (5, 10, 14, 16, 20))


def test_rows_of_the_confusion_matrix_are_true_classes():
    logits = torch.eye(10)[torch.tensor([5, 5, 3])]
    confusion = evaluation.report(Predictions(logits, torch.tensor([3, 3, 3]))).confusion
    assert confusion[3, 5] == 2
    assert confusion[3, 3] == 1


def test_calibration_error_of_known_confidence():
    """One wrong in four at confidence 1 is an error of 0.25."""
    logits = 100 * torch.eye(10)[torch.tensor([0, 1, 2, 3])]
    got = evaluation.report(Predictions(logits, torch.tensor([0, 1, 2, 4])))
    assert got.metrics["ece"] == pytest.approx(0.25)


def test_predict_keeps_order_mode_and_normalisation():
    examples = data.synthetic_shapes(train_size=310, test_size=20).train
    model = models.MLP((8,), dropout=0.5).train()
    got = evaluation.predict(model, Batches(examples, normalisation=UNIT_RANGE, shuffle=True, flip=True))
    assert model.training
    assert torch.equal(got.labels, examples.labels)
    expected = model.eval()(UNIT_RANGE.apply(examples.images))
    assert torch.allclose(got.logits, expected, atol=1e-4)
    assert torch.equal(got.correct, got.classes == examples.labels)
    assert torch.allclose(got.confidence, expected.softmax(1).amax(1), atol=1e-4)


def test_a_model_without_ten_logits_is_refused():
    examples = data.synthetic_shapes(train_size=100, test_size=20).train
    with pytest.raises(ValueError, match="10 logits"):
        evaluation.predict(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 9)), examples)


class Grey(torch.nn.Linear):
    """Gives one grey value for every pixel."""

    def forward(self, inputs):
        return torch.full_like(inputs, self.weight.item())


def test_reconstructions_are_cut_and_measured_as_by_hand():
    examples = data.synthetic_shapes(train_size=30, test_size=10).train
    model = Grey(1, 1)
    model.weight.data.fill_(1.5)
    found = evaluation.reconstruct(model, examples)
    assert found.outputs.max() == 1 and found.outputs.shape == examples.images.shape
    errors = (1 - examples.images.double() / 255).square().mean((1, 2, 3))
    assert found.errors.numpy() == pytest.approx(errors.numpy(), rel=1e-5)
    report = evaluation.reconstruction_report(found)
    assert report["mse"] == pytest.approx(errors.mean().item(), rel=1e-5)
    assert report["psnr_db"] == pytest.approx(-10 * np.log10(errors.mean().item()), rel=1e-4)


def test_ssim_is_one_for_equal_images_and_that_of_the_first_images_only():
    examples = data.synthetic_shapes(train_size=600, test_size=10).train
    same = evaluation.Reconstructions(examples.images, examples.images.float() / 255)
    assert evaluation.reconstruction_report(same, 300)["ssim"] == pytest.approx(1, abs=1e-5)
    half = same.outputs.clone()
    half[300:] = 0.5
    half = evaluation.Reconstructions(examples.images, half)
    assert evaluation.reconstruction_report(half, 300)["ssim"] == pytest.approx(1, abs=1e-5)
    assert evaluation.reconstruction_report(half)["ssim"] < 0.8


def test_a_classifier_is_no_autoencoder():
    examples = data.synthetic_shapes(train_size=30, test_size=10).train
    with pytest.raises(ValueError, match="gives an image for each image"):
        evaluation.reconstruct(models.Linear(), examples)


def test_views_average_the_logits_of_an_image_its_mirror_image_and_both_moved():
    torch.manual_seed(0)
    examples = data.synthetic_shapes(train_size=12, test_size=10).train
    model = models.CNN((4, 4), dense=(8,), dropout=0.5).train()
    inputs = UNIT_RANGE.apply(examples.images)

    def logits(seen):
        model.eval()
        with torch.inference_mode():
            return model(seen)

    wide = torch.nn.functional.pad(inputs, (1, 1, 1, 1), mode="reflect")
    centre = (logits(inputs) + logits(inputs.flip(3))) / 2
    corners = [(logits(seen) + logits(seen.flip(3))) / 2 for seen in (wide[..., :32, :32], wide[..., 2:, 2:])]
    expected = {1: logits(inputs), 2: centre, 6: centre / 2 + sum(corners) / 4}
    for views, values in expected.items():
        model.train()
        found = evaluation.predict(model, examples, normalisation=UNIT_RANGE, views=views)
        assert torch.allclose(found.logits, values, atol=1e-5)
        assert model.training  # left as it was
        evaluation.predict(model.eval(), examples, normalisation=UNIT_RANGE, views=views)
        assert not any(layer.training for layer in model.modules())
    with pytest.raises(ValueError, match="1, 2 or 6 views"):
        evaluation.predict(model, examples, views=3)


def test_predictions_in_bfloat16_are_float32_numbers_near_those_of_float32():
    torch.manual_seed(0)
    examples, model = data.synthetic_shapes(train_size=20, test_size=10).train, models.MLP((64,)).eval()
    exact, rounded = (evaluation.predict(model, examples, precision=p).logits for p in ("float32", "bfloat16"))
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert torch.allclose(exact, rounded, atol=0.05)
    assert evaluation.predict(model.eval(), examples).logits.equal(exact) and not model.training


def test_a_class_without_images_has_no_part_in_the_balanced_accuracy():
    logits = 9.0 * torch.eye(10)[[0, 0, 1, 2]]
    metrics = evaluation.report(Predictions(logits, torch.tensor([0, 0, 1, 1]))).metrics
    assert metrics["balanced_accuracy"] == pytest.approx(0.75)


def test_ssim_has_the_constants_of_a_range_of_one():
    dark, light = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), 0.4)
    expected = (2 * 0.2 * 0.4 + 1e-4) / (0.2**2 + 0.4**2 + 1e-4)  # Wang et al. 2004, flat images: (0.01 * 1)² = 1e-4
    assert evaluation.similarity(dark, light).item() == pytest.approx(expected, abs=5e-5)


def test_examples_are_standardised_unless_told_otherwise():
    torch.manual_seed(0)
    examples = data.synthetic_shapes(train_size=100, test_size=20).train
    model = models.MLP((8,)).eval()
    with torch.no_grad():
        expected = model(STANDARD.apply(examples.images))
        both = expected.log_softmax(1) + model(STANDARD.apply(examples.images.flip(3))).log_softmax(1)
    assert torch.allclose(evaluation.predict(model, examples).logits, expected, atol=1e-4)
    assert torch.allclose(analysis.predict_both_ways(model, examples).logits, both / 2, atol=1e-4)
