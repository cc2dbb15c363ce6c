"""Figures: what they show, by their artists; that none leaks into pyplot; and what `show` hands to the notebook."""

import base64
import io
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from PIL import Image

from cifar_utils import plotting
from cifar_utils.data import CLASS_NAMES

ALT = "A line that rises from left to right, drawn so that this test has something to show."
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)


def history(best=2):
    curves = {
        ("train", "loss"): [2.0, 1.5, 1.0],
        ("val", "loss"): [2.1, 1.6, 1.7],
        ("train", "accuracy"): [0.2, 0.4, 0.6],
    }

    def curve(split, metric):
        return pd.Series(
            curves.get((split, metric), []), index=range(1, 1 + len(curves.get((split, metric), []))), dtype=float
        )

    return SimpleNamespace(best_epoch=best, curve=curve)


def every_figure():
    ten = np.linspace(0.1, 0.9, 10)
    metrics = {"loss": 1.2, "accuracy": 0.5, "f1": 0.4}
    yield plotting.image_grid(IMAGES, [f"image {i}" for i in range(20)], title="Images", row_labels=list("abcd"))
    yield plotting.image_grid(
        torch.tensor(IMAGES[:4]), true=["cat"] * 4, predicted=["cat", "dog"] * 2, confidence=ten[:4], title="Four"
    )
    yield plotting.class_grid(IMAGES, np.arange(20) % 10, per_class=2)
    yield plotting.loss_graph({"mlp_best": history(), "other": history(3)}, "Loss", ["loss", "accuracy"])
    yield plotting.loss_graph(history(None), "Loss", log_y=True)
    yield plotting.metrics_by_split({"train": metrics, "val": metrics, "test": metrics}, "Metrics")
    yield plotting.confusion_matrix(torch.eye(10, dtype=torch.int64) * 5, "Confusion")
    yield plotting.class_bars(
        {"mlp_best": ten, "cnn_best": torch.tensor(ten)}, "F1 by class", "F1", reference={"chance": 0.1}
    )
    yield plotting.bars(
        ["mlp_best", "linear"], [0.5, -0.4], [0.01, 0.02], "Accuracy", "accuracy", points=[[0.4, 0.6], [-0.4]]
    )
    yield plotting.bars(["a", "b"], [1000, 1], title="Time", xlabel="milliseconds", log_x=True)
    yield plotting.lines(
        {"a": (ten, ten), "b": (ten, ten, ten - 0.1, ten + 0.1)}, "Lines", "x", "y", log_x=True, x_ticks=[0.1, 0.9]
    )
    yield plotting.scatter({"cnn_kernel_3": (35, 0.6, 0.5, 0.7), "other": (90, 0.5)}, "Cost", "MFLOP", "a", log_x=True)
    yield plotting.ladder(["start", "up", "down"], [0.5, 0.6, 0.58], "Ladder", "accuracy", low=ten[:3], high=ten[7:])
    arrow = ((0.5, 0.4), (0.7, 0.2), "somebody else's")
    yield plotting.scatter({"a": (ten, ten), "b": (ten, -ten)}, "Clouds", "x", "y", percent=True, arrow=arrow)
    yield plotting.runs_needed({"cnn_kernel_3": [1, 2], "cnn_kernel_5": [0, 1]}, {"cnn_kernel_3": 1, "cnn_kernel_5": 0},
                               {"order": ([1, 10], [0.5, 1])}, "Runs", "points", reference={"80 %": 0.8})
    yield plotting.scatter_classes(np.stack([ten, ten], 1), range(10), "Points", "x", "y")
    yield plotting.small_multiples({k: {"mlp_best": (ten, ten)} for k in "abcd"}, "Panels", "x", "y", percent=True)
    yield plotting.histograms({"red": IMAGES[:, 0], "blue": IMAGES[:, 2]}, "Pixels", "value", reference={"mean": 120})
    yield plotting.filters(torch.randn(4, 3, 5, 5, requires_grad=True), "Filters")
    yield plotting.feature_maps(torch.randn(5, 6, 6, dtype=torch.bfloat16), "Maps", names=list("abcde"))


@pytest.mark.slow
def test_every_figure_is_named_saved_and_left_out_of_pyplot(tmp_path, capsys):
    before = dict(matplotlib.rcParams)
    for i, figure in enumerate(every_figure()):
        plotting.show(figure, ALT, path=tmp_path / "figures" / f"{i}.png")
        with Image.open(tmp_path / "figures" / f"{i}.png") as picture:
            assert 250 < picture.width < 1000 and picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        charts = [axes for axes in figure.axes if axes.get_xlabel() or axes.lines]
        assert all(axes.get_xlabel() for axes in charts)
        assert figure.get_suptitle() or any(axes.get_title(loc="left") for axes in charts)
        assert all(text.get_fontsize() >= 9 for text in figure.findobj(matplotlib.text.Text) if text.get_text())
    assert len(list((tmp_path / "figures").iterdir())) == i + 1  # nothing is left beside
    assert not pyplot.get_fignums()
    assert dict(matplotlib.rcParams) == before


def test_show_draws_once_with_the_alternative_text(monkeypatch):
    import IPython

    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(IPython.display, "display", lambda *args, **kwargs: shown.append((args, kwargs)))
    assert plotting.show(plotting.lines({"a": ([1, 2], [1, 2])}, "Rise", "x", "y"), f"  {ALT}\n") is None
    [((data,), kwargs)] = shown
    assert data["text/plain"] == ALT and kwargs == {"metadata": {"image/png": {"alt": ALT}}, "raw": True}
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width > 700
    with pytest.raises(ValueError, match="9 characters"):
        plotting.show(plotting.lines({"a": ([1], [1])}, "Rise", "x", "y"), "too short")
    assert len(shown) == 1


def test_large_photographs_are_stored_with_fewer_bits_that_nobody_sees():
    figure = plotting.image_grid(IMAGES.repeat(5, 0), columns=10, title="Noise, which no format can pack")
    full = np.array(plotting._drawn(figure, 96)).astype(int)
    packed = plotting._png(figure, 120)
    stored = np.array(Image.open(packed)).astype(int)
    assert len(set(stored[..., 0].flat)) <= 32 and np.abs(stored - full).max() <= 4
    assert {0, 255} <= set(stored.flat)  # black and white are still there
    small = plotting.image_grid(IMAGES[:2], title="Two")
    assert np.array_equal(np.array(Image.open(plotting._png(small, 120))), np.array(plotting._drawn(small, 96)))


def test_the_loss_graph_marks_the_kept_epoch():
    figure = plotting.loss_graph({"mlp_best": history(2), "cnn_best": history(3)}, "Loss")
    stars = [
        (line.get_xdata()[0], line.get_ydata()[0], line.get_color())
        for line in figure.axes[0].lines
        if line.get_marker() == "*"
    ]
    assert stars == [(2, 1.6, plotting.MODEL_COLOURS["mlp_best"]), (3, 1.7, plotting.MODEL_COLOURS["cnn_best"])]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["Best MLP", "CNN 32-64, better recipe", "training", "validation", "kept epoch"]


def test_the_confusion_matrix_is_in_per_cent_of_the_true_class():
    counts = np.zeros((10, 10), int)
    counts[0, :2] = 30, 10
    texts = [text.get_text() for text in plotting.confusion_matrix(counts, "Confusion").axes[0].texts]
    assert texts[:3] == ["75", "25", "0"] and texts[10] == "0"  # a row without images is no division by zero
    assert plotting.confusion_matrix(counts, "Counts", normalise=False).axes[0].texts[0].get_text() == "30"
    with pytest.raises(ValueError, match="10 classes"):
        plotting.confusion_matrix(counts[:3, :3], "Confusion")


def test_axes_say_what_they_show():
    matrix = plotting.confusion_matrix(np.eye(10), "Confusion").axes[0]
    assert (matrix.get_xlabel(), matrix.get_ylabel()) == ("predicted class", "true class")
    graph = plotting.loss_graph({"mlp_best": history()}, "Loss").axes[0]
    assert (graph.get_xlabel(), graph.get_ylabel()) == ("epoch", "loss (nats an image)")


def test_bars_show_the_whole_interval_and_their_number_beyond_it():
    panel = plotting.bars(["a", "b"], [0.087, 0.011], [0.05, 0.022], "A lead", points=[[0.08], [0.02, 0.04]]).axes[0]
    assert panel.get_xlim()[0] < -0.011
    numbers = {text.get_text(): text.xy[0] for text in panel.texts}
    assert numbers == {"0.087": pytest.approx(0.137), "0.011": 0.04}
    assert plotting.bars(["a"], [0.087], [0.05], "A lead").axes[0].get_xlim()[0] == 0


def test_training_is_dashed_and_validation_solid():
    curves = plotting.loss_graph(history(), "Loss").axes[0].lines[:2]
    assert [(list(line.get_ydata()), line.get_linestyle()) for line in curves] == [
        ([2.0, 1.5, 1.0], "--"), ([2.1, 1.6, 1.7], "-")]


def test_grey_images_are_shown_from_black_to_white_whatever_values_they_have():
    for images, white in ((IMAGES[:1, 0] // 2 + 50, 255), (np.full((1, 4, 4), 0.5), 1)):
        assert plotting.image_grid(images).axes[0].images[0].get_clim() == (0, white)


def test_wrong_predictions_have_a_colour_and_a_sign():
    figure = plotting.image_grid(
        IMAGES[:2], true=["cat", "dog"], predicted=["cat", "cat"], confidence=torch.tensor([0.5, 0.25])
    )
    titles = [(axes.title.get_text(), axes.title.get_color()) for axes in figure.axes]
    assert [text for text, _ in titles] == ["✓ cat 50%", "✗ cat 25%\nis dog"] and titles[0][1] != titles[1][1]


@pytest.mark.parametrize(
    "images,message",
    [
        (IMAGES.transpose(0, 2, 3, 1), "channels come first"),
        (IMAGES.astype(float), r"Normalisation\.invert"),
        (np.full((1, 3, 4, 4), np.nan), "undo"),
        (IMAGES[:, :2], "channels come first"),
    ],
)
def test_images_of_another_kind_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        plotting.image_grid(images)


def test_filters_are_scaled_one_by_one_and_jointly_over_channels():
    weights = torch.zeros(3, 3, 2, 2)
    weights[0, 0], weights[0, 1] = -4.0, 4.0
    weights[1] = torch.linspace(0, 0.1, 12).reshape(3, 2, 2)
    shown = [axes.images[0].get_array() for axes in plotting.filters(weights, "Filters", 3).axes]
    np.testing.assert_allclose(shown[0][0, 0], [0, 1, 0.5])
    assert shown[1].min() == 0 and shown[1].max() == 1 and np.isfinite(shown[2]).all()
    assert len(plotting.filters(np.ones((10, 3072)), "Templates", 5).axes) == 10
    with pytest.raises(ValueError, match="one input channel"):
        plotting.filters(torch.randn(8, 16, 3, 3), "Filters")


def test_colours_are_steady_and_apart():
    assert tuple(plotting.CLASS_COLOURS) == CLASS_NAMES and len(set(plotting.CLASS_COLOURS.values())) == 10
    assert plotting.model_colour("mlp_best_wide") == plotting.MODEL_COLOURS["mlp_best"]
    assert plotting.model_colour("vae_spatial_2") == plotting.MODEL_COLOURS["vae_spatial"]  # the longest name wins
    assert plotting.model_colour("something") == plotting.model_colour("something")
    assert plotting.model_name("mlp_baseline") == "MLP 256 (TDSE-03)" and plotting.model_name("my_net") == "my net"
    assert plotting.model_name("ae_64_no_linear_path") == "Autoencoder, 64, no linear path"
    assert plotting.model_name("cnn_kernel_3_16_pixels") == "CNN 3×3, 16 pixels"
    names = ["mlp_best", "b", "train", "d", "red", "f"]
    assert len(set(plotting._colours(names))) == len(names)
    assert plotting._colours(names, {"b": "#123456"})[1] == "#123456"
    values = (
        plotting.histograms({"all": np.arange(256, dtype=np.uint8)}, "Pixels", "value")
        .axes[0]
        .patches[0]
        .get_data()
        .values
    )
    assert np.ptp(values) == 0  # equally many whole numbers in each bin


def test_reconstructions_show_the_best_the_middle_and_the_worst():
    images = np.zeros((30, 3, 8, 8), np.uint8)
    outputs = np.zeros((30, 3, 8, 8), np.float32) + np.sqrt(np.arange(30) / 1000)[:, None, None, None]
    figure = plotting.reconstructions(images, outputs, "Reconstructions", each=2)
    assert [panel.get_title() for panel in figure.axes[6:]] == ["0.00", "1.00", "14.00", "15.00", "28.00", "29.00"]


def test_a_ladder_shows_each_change_from_the_value_before_to_the_value_after():
    figure = plotting.ladder(["start", "better", "worse"], [0.5, 0.6, 0.57], "Ladder", "accuracy (%)",
                             low=[0.48, np.nan, 0.5], high=[0.52, np.nan, 0.66])
    axes = figure.axes[0]
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    assert spans == pytest.approx(np.array([(0.5, 0.5), (0.5, 0.6), (0.6, 0.57)]))
    assert [text.get_text() for text in axes.texts] == ["50.0%", "60.0% (+10.0)", "57.0% (−3.0)"]
    assert [text.xy[0] for text in axes.texts] == [0.52, 0.6, 0.66]  # beyond the bar and its interval
    assert [label.get_text() for label in axes.get_yticklabels()] == ["start", "better", "worse"]
    assert axes.yaxis_inverted() and axes.get_xlabel() == "accuracy (%)"
    assert axes.patches[1].get_facecolor() != axes.patches[2].get_facecolor()


def test_points_may_have_lines_to_compare_with():
    panel = plotting.scatter({"a": (1, 0.5)}, "Points", "x", "y", reference={"people": 0.95}).axes[0]
    assert [line.get_ydata()[0] for line in panel.lines if line.get_label() == "people"] == [0.95]


def labels_of(panel):
    return panel.get_xlabel(), panel.get_ylabel()


def ticks_of(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_axes_of_every_chart_are_not_exchanged():
    x, y = [1.0, 2.0, 4.0], [0.1, 0.5, 0.3]
    charts = {
        "lines": plotting.lines({"a": (x, y)}, "T", "across", "up"),
        "scatter": plotting.scatter({"a": (x, y)}, "T", "across", "up", arrow=((1, 0.1), (4, 0.3), "theirs")),
        "histograms": plotting.histograms({"a": np.arange(8)}, "T", "across", "up"),
        "class_bars": plotting.class_bars({"a": np.arange(10)}, "T", "across", ylabel="up"),
        "bars": plotting.bars(["a", "b"], [0.2, 0.7], title="T", xlabel="across", ylabel="up"),
        "classes": plotting.scatter_classes(np.array([[1, 2]]), [0], "T", "across", "up"),
        "panels": plotting.small_multiples({"one": {"a": (x, y)}, "two": {"a": (y, x)}}, "T", "across", "up"),
    }
    labels = {name: labels_of(figure.axes[0]) for name, figure in charts.items()}
    assert labels == dict.fromkeys(charts, ("across", "up"))
    for name in ("lines", "scatter"):
        assert np.array_equal(charts[name].axes[0].lines[0].get_xydata(), np.transpose([x, y]))
    [arrow] = [text for text in charts["scatter"].axes[0].texts if text.arrow_patch]
    assert (arrow.xyann, arrow.xy) == ((1, 0.1), (4, 0.3))  # from, to
    assert charts["histograms"].axes[0].patches[0].get_data().values.sum() == pytest.approx(100)
    one, two = charts["panels"].axes[:2]
    assert (one.get_title(loc="left"), two.get_title(loc="left")) == ("one", "two")
    assert list(two.lines[0].get_xdata()) == y
    left, right = plotting.runs_needed({"cnn_kernel_3": [1, 2], "b": [0, 1]}, {"cnn_kernel_3": 1.5, "b": 0.5},
                                       {"order": ([1, 10], [0.5, 1])}, "T", "points").axes
    reported = [line for line in left.lines if str(line.get_label()).endswith("reported, one run")]
    assert [line.get_ydata()[0] for line in reported] == [1.5, 0.5]
    dots = [line.get_xdata() for line in left.lines if str(line.get_label()).endswith("our runs")]
    assert [np.mean(x) for x in dots] == [0, 1] and all(np.ptp(x) > 0.1 for x in dots)  # apart, about their network
    assert list(right.lines[0].get_xdata()) == [1, 10]


def test_every_row_and_bar_bears_its_own_name():
    confusion = plotting.confusion_matrix(np.eye(10), "T").axes[0]
    assert ticks_of(confusion.xaxis) == ticks_of(confusion.yaxis) == list(CLASS_NAMES)
    panel = plotting.class_bars({"a": np.arange(10)}, "T", "x").axes[0]
    assert ticks_of(panel.yaxis) == list(CLASS_NAMES)
    assert [bar.get_width() for bar in panel.patches] == list(range(10))
    panel = plotting.bars(["low", "high"], [0.2, 0.7], title="T", xlabel="x").axes[0]
    assert ticks_of(panel.yaxis) == ["low", "high"] and [bar.get_width() for bar in panel.patches] == [0.2, 0.7]
    shares, loss = plotting.metrics_by_split({"test": {"recall": 0.1, "accuracy": 0.2, "loss": 3.0}}, "T").axes
    assert ticks_of(shares.xaxis) == ["recall", "accuracy"]
    assert [bar.get_height() for bar in shares.patches] == [0.1, 0.2]
    assert labels_of(loss) == ("", "loss (nats an image)") and loss.patches[0].get_height() == 3
    grid = plotting.class_grid(IMAGES, np.arange(20) % 10, per_class=2).axes
    assert [panel.get_ylabel() for panel in grid[::2]] == list(CLASS_NAMES)
    assert np.array_equal(grid[7].images[0].get_array(), IMAGES[13].transpose(1, 2, 0))  # the second cat
    outputs = np.full((3, 3, 32, 32), 0.5, np.float32)
    pair = plotting.reconstructions(IMAGES[:3], outputs, "T", each=1).axes
    assert (pair[0].get_ylabel(), pair[3].get_ylabel()) == ("original", "decoded")
    assert (pair[3].images[0].get_array() == 0.5).all() and np.ptp(pair[0].images[0].get_array()) > 0.5


def test_each_point_has_the_colour_of_its_class():
    points = np.stack([np.arange(10), 10.0 * np.arange(10)], 1)
    drawn = plotting.scatter_classes(points, range(10), "T", "x", "y").axes[0].collections[0]
    assert all(y == 10 * x for x, y in drawn.get_offsets())
    found = zip(drawn.get_offsets(), drawn.get_facecolors())
    colours = {int(x): tuple(np.round(colour[:3], 3)) for (x, _), colour in found}
    wanted = [tuple(np.round(plotting.to_rgb(colour), 3)) for colour in plotting.CLASS_COLOURS.values()]
    assert [colours[k] for k in range(10)] == wanted
