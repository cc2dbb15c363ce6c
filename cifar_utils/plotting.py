"""Every figure of the course: numbers, arrays and tensors in, one matplotlib Figure out.

The figures never enter pyplot, so none stays open and none is drawn twice; `show` draws one, once. Colours are those of
Okabe and Ito and of seaborn's "colorblind" palette; where lines or points cross, a second cue (dashes, marker, hatch,
sign) says the same. Sizes fit a column of 7.2 inches, 700 pixels in a browser, where a point stays a point.
"""

import base64
import io
import math
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import seaborn
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from PIL import Image

WIDTH = 7.2  # inches
_ENOUGH_BYTES = 80_000  # of one figure; a notebook of dozens stays below 1.5 MB
_PALETTE = tuple(seaborn.color_palette("colorblind", 10).as_hex())
_MARKERS = "os^DvPX*<>"
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
_HATCHES = ("", "//", "..", "xx", "\\\\")
_TITLE_COLOURS = {None: "black", True: "#007A5A", False: "#B84A00"}  # green and vermilion, dark enough for text

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLASS_COLOURS: dict[str, str] = dict(zip(_CLASSES, _PALETTE, strict=True))
CHANNEL_COLOURS = {"red": "#D55E00", "green": "#009E73", "blue": "#0072B2", "grey": "#777777"}
SPLIT_COLOURS = {"train": "#0072B2", "val": "#E69F00", "test": "#009E73"}
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}
_SPLIT_DASHES: dict[str, Any] = {"train": "--", "test": ":"}
_MODELS = {  # metric name: name for people, colour
    "most_frequent": ("Most frequent class", "#BBBBBB"), "nearest_mean": ("Nearest class mean", "#949494"),
    "nearest_neighbour": ("Nearest neighbour", "#6A6A6A"), "linear": ("Softmax regression", "#000000"),
    "mlp_baseline": ("MLP 256 (TDSE-03)", "#56B4E9"), "mlp_exercise5": ("MLP 512-256-128 (Exercise 5)", "#0072B2"),
    "mlp_best": ("Best MLP", "#003C67"), "mlp_best_permuted": ("Best MLP, permuted", "#7A9BB8"),
    "cnn_one_layer": ("CNN 32 (TDSE-03)", "#D9C400"), "cnn_two_layer": ("CNN 32-64 (TDSE-03)", "#E69F00"),
    "cnn_three_dense": ("CNN, 3 dense layers", "#CC79A7"), "cnn_best": ("CNN 32-64, better recipe", "#D55E00"),
    "cnn_two_layer_permuted": ("CNN 32-64, permuted", "#8C6D31"), "cnn_kernel_1": ("CNN 1×1", "#56B4E9"),
    "cnn_kernel_3": ("CNN 3×3", "#E69F00"), "cnn_kernel_5": ("CNN 5×5", "#009E73"),
    "cnn_kernel_7": ("CNN 7×7", "#CC79A7"), "pca": ("PCA", "#6A6A6A"), "ae": ("Autoencoder", "#009E73"),
    "jpeg": ("JPEG", "#D55E00"), "webp": ("WebP", "#56B4E9"), "gaussian": ("Gaussian", "#444444"),
    "vae": ("VAE", "#CC79A7"), "vae_spatial": ("Spatial VAE", "#8F3F71"), "ladder": ("Ladder", "#0173B2"),
    "ninety_four": ("Final network", "#8C2D04"),
}
MODEL_NAMES = {name: shown for name, (shown, _) in _MODELS.items()}
MODEL_COLOURS = {name: colour for name, (_, colour) in _MODELS.items()}
METRIC_LABELS = {  # of axes, with the unit; a metric that is not here is a share, or says its unit itself
    "loss": "loss (nats an image)", "f1": "F1", "ece": "calibration error", "mse": "squared error (pixels in [0, 1])",
    "psnr_db": "PSNR (dB)", "ssim": "SSIM", "recon_nats": "reconstruction (nats an image)",
    "kl_nats": "KL (nats an image)", "bits_per_dim": "bits a dimension",
}
_SHARES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "specificity", "ece", "ssim", "probe_accuracy")
_styled = rc_context(seaborn.axes_style("whitegrid") | {  # a decorator: the reader's own style stays as it is
    "font.family": ["sans-serif"], "font.sans-serif": ["DejaVu Sans"], "font.size": 10.0, "axes.labelsize": 10.5,
    "xtick.labelsize": 10.0, "ytick.labelsize": 10.0, "legend.fontsize": 9.5, "axes.titlesize": 11.5,
    "axes.titleweight": "bold", "figure.titlesize": 11.5, "figure.titleweight": "bold", "lines.linewidth": 1.8,
    "axes.edgecolor": "#666666", "grid.color": "#E3E3E3", "axes.spines.top": False, "axes.spines.right": False,
})

Colours = Mapping[str, str] | Sequence[str] | None


@_styled
def show(figure: Figure, alt: str, *, path: Path | str | None = None, dpi: int = 120) -> None:
    """Draw a figure once in the notebook; `alt` says what it shows to someone who cannot see it.

    `path` also saves the PNG, whole or not at all. Raises ValueError for an `alt` of fewer than 60 characters.
    """
    alt = " ".join(alt.split())
    if len(alt) < 60:
        raise ValueError(f"alt has {len(alt)} characters, at least 60 are needed: say what the figure shows")
    buffer = _png(figure, dpi)
    if path is not None:
        beside = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.part")
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(buffer.getvalue())
        os.replace(beside, path)
    from IPython import display, get_ipython  # here: who only saves figures does not wait for its import

    if get_ipython() is not None:  # a plain script has nowhere to draw, and would print the picture's bytes
        png = base64.b64encode(buffer.getvalue()).decode("ascii")
        display.display({"image/png": png, "text/plain": alt}, metadata={"image/png": {"alt": alt}}, raw=True)


def _png(figure: Figure, dpi: int) -> io.BytesIO:
    """A figure as PNG, in a third of the usual bytes, for notebooks that hold dozens of them.

    Drawings are stored in 256 colours, which look the same. Photographs have fewer pixels instead, and where that makes
    more than 80 kB, 6 or else 5 bits a channel: no value moves by more than 4 of 255.
    """
    photographs = any(np.asarray(image.get_array()).ndim == 3 for axes in figure.axes for image in axes.images)
    if not photographs:
        return _packed(_drawn(figure, dpi).quantize(256))
    picture = _drawn(figure, 0.8 * dpi)
    packed = _packed(picture)
    for bits in (6, 5):
        if packed.getbuffer().nbytes > _ENOUGH_BYTES:
            top = 2**bits - 1  # rounded, not cut off: black stays black and white white
            packed = _packed(picture.point([round(round(v / 255 * top) / top * 255) for v in range(256)] * 3))
    return packed


def _drawn(figure: Figure, dpi: float) -> Image.Image:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.08, facecolor="white")
    return Image.open(drawn).convert("RGB")


def _packed(picture: Image.Image) -> io.BytesIO:
    packed = io.BytesIO()
    picture.save(packed, "PNG", optimize=True)
    return packed


def model_colour(name: str) -> str:
    """The colour of a model by its metric name: a variant has its model's, an unknown name always the same one."""
    return MODEL_COLOURS.get(_base(name)) or _PALETTE[zlib.crc32(name.encode()) % len(_PALETTE)]


def model_name(name: str) -> str:
    """The name of a model for people: `mlp_baseline` is "MLP 256 (TDSE-03)"; a variant adds its change."""
    base = _base(name)
    change = name[len(base):].strip("_").replace("_", " ")
    size, _, rest = change.partition(" ")  # "ae_64_no_linear_path": the 64, then what is different
    parts = (size, rest) if base in ("ae", "pca") else (change,)
    return ", ".join(filter(None, (MODEL_NAMES.get(base), *parts)))


def _base(name: str) -> str:
    """The longest known model that `name` is, or begins with: "" where there is none."""
    return max((known for known in _MODELS if name == known or name.startswith(f"{known}_")), key=len, default="")


def _label(name: str) -> str:
    """A split's or a model's name for people; any other as it is ("linear" may mean anything, `mlp_best` may not)."""
    return SPLIT_NAMES.get(name) or (model_name(name) if "_" in name and _base(name) else str(name))


def _colours(names: Iterable[str], colours: Colours = None) -> list[str]:
    """One colour a name: the given one, the course's own for that name, or the next free one of the palette."""
    names = list(names)
    if colours is not None and not isinstance(colours, Mapping):
        return [colours[i % len(colours)] for i in range(len(names))]
    known = CLASS_COLOURS | CHANNEL_COLOURS | SPLIT_COLOURS | MODEL_COLOURS | dict(colours or {})
    taken = [to_rgb(known[name]) for name in names if name in known]
    free = [c for c in _PALETTE if all(math.dist(to_rgb(c), other) > 0.2 for other in taken)] or list(_PALETTE)
    others = [name for name in names if name not in known]
    return [known[name] if name in known else free[others.index(name) % len(free)] for name in names]


def _array(values: Any) -> np.ndarray:
    """A NumPy array of a tensor (any device, with or without gradient), array, series or list."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if "bfloat16" in str(values.dtype) else values
    return np.asarray(values)


def _figure(height: float, rows: int = 1, columns: int = 1, *, width: float = WIDTH, gap: float | None = None,
            ratios: Sequence[float] | None = None) -> tuple[Figure, np.ndarray]:
    """A figure outside pyplot and its axes, (rows, columns); `gap`: inches between them."""
    figure = Figure(figsize=(width, height), layout="constrained")
    if gap is not None:
        figure.set_layout_engine("constrained", w_pad=gap, h_pad=gap, wspace=0.02, hspace=0.02)
    return figure, figure.subplots(rows, columns, squeeze=False, width_ratios=ratios)


def _scale_y(axes: Axes, logarithmic: bool) -> None:
    """Make the y axis linear, or logarithmic with plain numbers (2, 5, 10) where it spans less than two decades."""
    if logarithmic:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if high < 100 * low:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 4 * low else range(1, 10)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())


def _finish(axes: Axes, title: str, xlabel: str, ylabel: str, *, reference: Mapping[str, float] | None = None,
            vertical: bool = False, legend: str = "") -> None:
    """Name everything; draw reference lines across the values' axis; add the legend "inside" or "below", if any."""
    for i, (name, value) in enumerate((reference or {}).items()):
        draw = axes.axvline if vertical else axes.axhline
        draw(value, color="#333333", linewidth=1.3, linestyle=_DASHES[1 + i % 6], label=name,
             zorder=2.5 if vertical else 1.5)
    axes.set_title(title, loc="left", wrap=True)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if legend or reference:
        _legend(axes, axes.get_legend_handles_labels()[0], below=legend != "inside")


def _legend(axes: Axes, handles: Sequence[Any], *, below: bool) -> None:
    """A legend inside the axes where it may be and is short; else below them, where it hides nothing."""
    if len(handles) <= 4 and not below:
        axes.legend(handles=handles, loc="best", framealpha=0.9)
    elif handles and (figure := axes.get_figure()) is not None:
        columns = max(1, min(5, 96 // (6 + max(len(str(handle.get_label())) for handle in handles))))
        figure.legend(handles=handles, loc="outside lower left", frameon=False, ncols=columns)


def _write(value: float, form: str = "") -> str:
    """A number as a reader wants it: by `form`, or to three digits, whole ones in full (1,234)."""
    whole = abs(value) >= 1000 or (float(value).is_integer() and abs(value) >= 100)
    return form.format(value) if form else f"{value:,.0f}" if whole else f"{value:.3g}"


def _value_axis(form: str) -> Any:
    """How the marks of an axis of values are written: 1,000,000 in full, or as per cent where the numbers are."""
    return PercentFormatter(1.0) if form.endswith("%}") else "{x:,.10g}"


def _picture(image: np.ndarray) -> np.ndarray:
    """One image, (3, H, W), (1, H, W) or (H, W), uint8 or float in [0, 1], as matplotlib wants it."""
    shape = image.shape
    if image.ndim == 3 and shape[0] in (1, 3):
        image = image.transpose(1, 2, 0) if shape[0] == 3 else image[0]
    elif image.ndim != 2:
        raise ValueError(f"an image is (3, H, W), (1, H, W) or (H, W), not {shape}: channels come first")
    if image.dtype == np.uint8:
        return image
    image = image.astype(np.float32)
    if not (image.min() >= -0.5 and image.max() <= 1.5):  # NaN, too; a reconstruction may overshoot a little
        raise ValueError(f"float images are in [0, 1], this one reaches from {image.min():.2f} to {image.max():.2f}: "
                         "undo the normalisation first (Normalisation.invert)")
    return image.clip(0, 1)


@_styled
def image_grid(images: Any, titles: Sequence[str] | None = None, columns: int | None = None, title: str = "",
               row_labels: Sequence[str] | None = None, *, true: Sequence[str] | None = None,
               predicted: Sequence[str] | None = None, confidence: Any = None) -> Figure:
    """A grid of images, each pixel one square (nearest neighbour).

    images: (N, 3, H, W), (N, 1, H, W) or (N, H, W), uint8 or float in [0, 1]; `columns`: as many as the titles leave
    room for, at most 10. With `true` and `predicted` (class names) the titles say the predictions, green with a tick
    or vermilion with a cross and the true class, and the `confidence` (N,) in [0, 1]. Raises ValueError.
    """
    pictures = [_picture(image) for image in _array(images)]
    right: list[bool | None] = [None] * len(pictures)
    if predicted is not None:
        sure = [""] * len(pictures) if confidence is None else [f" {value:.0%}" for value in _array(confidence)]
        titles = [f"{name}{percent}" for name, percent in zip(predicted, sure, strict=True)]
        if true is not None:
            right = [t == p for t, p in zip(true, predicted, strict=True)]
            titles = [f"✓ {text}" if hit else f"✗ {text}\nis {t}" for text, hit, t in zip(titles, right, true)]
    if titles is not None and len(titles) != len(pictures):
        raise ValueError(f"{len(pictures)} images and {len(titles)} titles")
    texts = [str(text) for text in titles or ()]
    room = WIDTH - (0.95 if row_labels else 0)
    widest = max((len(line) for text in texts for line in text.split("\n")), default=0)
    columns = columns or max(1, min(10, len(pictures), int(room / (0.1 + widest * 0.079))))
    rows = max(1, math.ceil(len(pictures) / columns))
    cell = min(room / columns, 1.6)
    height = cell + 0.17 * max((text.count("\n") + 1 for text in texts), default=0)
    figure, axes = _figure(rows * height + (0.5 if title else 0.05), rows, columns, gap=0.015,
                           width=cell * columns + WIDTH - room)
    for i, panel in enumerate(axes.flat):
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        if i >= len(pictures):
            continue
        top = 255 if pictures[i].dtype == np.uint8 else 1
        panel.imshow(pictures[i], cmap="gray", vmin=0, vmax=top, interpolation="nearest")
        if texts:
            panel.set_title(texts[i], fontsize=9, fontweight="normal", color=_TITLE_COLOURS[right[i]], pad=2)
        if row_labels is not None and i % columns == 0:
            panel.set_ylabel(row_labels[i // columns], rotation=0, ha="right", va="center", fontsize=9.5)
    if title:
        figure.suptitle(title + "\n", x=0.01, ha="left", linespacing=0.5)  # a little room above the images' titles
    return figure


def reconstructions(images: Any, outputs: Any, title: str, *, each: int = 3) -> Figure:
    """Images (N, 3, 32, 32) above what became of them: the `each` best, middle and worst, by mean squared error.

    images: uint8; outputs: float in [0, 1]. The numbers are the errors, in units of 0.001.
    """
    originals, outputs = _array(images).astype(np.float32) / 255, _array(outputs)
    errors = np.square(outputs - originals).mean((1, 2, 3))
    order, middle = np.argsort(errors), max(0, len(errors) // 2 - each // 2)
    chosen = np.concatenate([order[:each], order[middle:middle + each], order[-each:]])
    numbers = [f"{1000 * error:.2f}" for error in errors[chosen]]
    return image_grid(np.concatenate([originals[chosen], outputs[chosen]]), [""] * len(chosen) + numbers, len(chosen),
                      title, ["original", "decoded"])


def class_grid(images: Any, labels: Any, per_class: int = 10, title: str = "Ten images of each class", *,
               names: Sequence[str] = _CLASSES) -> Figure:
    """The first `per_class` images of each class, a row a class; labels: (N,) integers. Raises ValueError: too few."""
    rows = [np.flatnonzero(_array(labels) == k)[:per_class] for k in range(len(names))]
    if few := [name for name, row in zip(names, rows, strict=True) if len(row) < per_class]:
        raise ValueError(f"fewer than {per_class} images of: {', '.join(few)}")
    return image_grid(_array(images)[np.concatenate(rows)], columns=per_class, title=title, row_labels=names)


@_styled
def loss_graph(histories: Any, title: str, metric: str | Sequence[str] = "loss", *, ylabel: str | None = None,
               splits: Sequence[str] = ("train", "val"), colours: Colours = None, log_y: bool = False) -> Figure:
    """A metric by epoch for {name: History}, or one History, of `training.fit`; a star marks each kept epoch.

    Several metrics have a panel each. Training is dashed, validation solid; histories differ by colour and marker.
    """
    if not isinstance(histories, Mapping):
        histories = {"": histories}
    metrics = [metric] if isinstance(metric, str) else list(metric)
    several, hues, drawn, starred = len(histories) > 1, _colours(histories, colours), [], False
    figure, panels = _figure(3.7, columns=len(metrics))
    for panel, name in zip(panels.flat, metrics, strict=True):
        for i, history in enumerate(histories.values()):
            curves = {split: curve for split in splits if len(curve := history.curve(split, name))}
            for split, curve in curves.items():
                colour = hues[i] if several else SPLIT_COLOURS.get(split, hues[i])
                panel.plot(_array(curve.index), _array(curve), color=colour, linestyle=_SPLIT_DASHES.get(split, "-"),
                           marker=_MARKERS[i % 10] if several else ".", markersize=5, markevery=-(-len(curve) // 15))
                drawn += [] if split in drawn else [split]
            if curves and history.best_epoch in curve.index:  # the last split's: validation, if there is one
                starred = True
                panel.plot(history.best_epoch, curve.loc[history.best_epoch], marker="*", markersize=15, color=colour,
                           markeredgecolor="black", zorder=5)
        label = name.replace("_", " ")
        _finish(panel, title if len(metrics) == 1 else "", "epoch", ylabel or METRIC_LABELS.get(name, label))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        _scale_y(panel, log_y)
    handles = [Line2D([], [], color=colour, marker=_MARKERS[i % 10], markersize=5, label=_label(name))
               for i, (name, colour) in enumerate(zip(histories, hues, strict=True)) if several]
    handles += [Line2D([], [], color="#444444" if several else SPLIT_COLOURS.get(split, hues[0]),
                       linestyle=_SPLIT_DASHES.get(split, "-"), label=_label(split)) for split in drawn]
    handles += [Line2D([], [], marker="*", markersize=11, linestyle="", color="white", markeredgecolor="black",
                       label="kept epoch")] * starred
    _legend(panels.flat[-1], handles, below=len(metrics) > 1)
    if len(metrics) > 1:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def _grouped(axes: Axes, series: Mapping[str, Any], colours: Sequence[str], form: str, *, flat: bool) -> None:
    """Bars of several series side by side, lying (`flat`) or standing, with their numbers; hatched from the second."""
    thick = 0.84 / len(series)
    for i, ((name, values), colour) in enumerate(zip(series.items(), colours, strict=True)):
        places = np.arange(len(values)) + (i - (len(series) - 1) / 2) * thick
        draw = axes.barh if flat else axes.bar
        drawn = draw(places, values, thick * 0.93, color=colour, label=_label(name), hatch=_HATCHES[i % 5],
                     edgecolor="white", linewidth=0)
        texts = [_write(value, form) for value in values]
        axes.bar_label(drawn, texts, padding=3, fontsize=9, rotation=0 if flat else 90)
    axes.grid(axis="y" if flat else "x", visible=False)


@_styled
def metrics_by_split(metrics: Mapping[str, Mapping[str, float]], title: str,
                     names: Sequence[str] | None = None) -> Figure:
    """The metrics of the splits side by side, {split: {metric: number}}: shares in one panel, each other in its own."""
    names = list(names or dict.fromkeys(name for values in metrics.values() for name in values))
    groups = [[name for name in names if name in _SHARES]] + [[name] for name in names if name not in _SHARES]
    groups = [group for group in groups if group]
    figure, panels = _figure(3.9, columns=len(groups), ratios=[max(1.6, len(group)) for group in groups])
    for panel, group in zip(panels.flat, groups, strict=True):
        shares = group[0] in _SHARES
        series = {split: np.array([float(v.get(name, math.nan)) for name in group]) for split, v in metrics.items()}
        _grouped(panel, series, _colours(metrics), "{:.3f}" if shares else "{:#.3g}", flat=False)
        ticks = [name.replace("_", "\n") if shares else "" for name in group]
        panel.set_xticks(range(len(group)), ticks, fontsize=9.5)
        panel.set_xlim(-0.55, len(group) - 0.45)
        panel.margins(y=0.2)
        if shares:
            panel.set(ylim=(0, 1.17), yticks=np.linspace(0, 1, 6))
        _finish(panel, "", "metric" if shares else "", "share" if shares else METRIC_LABELS.get(group[0], group[0]))
    _legend(panels.flat[0], panels.flat[0].get_legend_handles_labels()[0], below=True)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_styled
def confusion_matrix(confusion: Any, title: str, normalise: bool = True, *, names: Sequence[str] = _CLASSES) -> Figure:
    """A confusion matrix of (K, K) counts, rows true, columns predicted; normalised: per cent of the true class."""
    counts = _array(confusion).astype(float)
    if counts.shape != (len(names), len(names)):
        raise ValueError(f"one row and column for each of {len(names)} classes is needed, not {counts.shape}")
    shown = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1) if normalise else counts
    figure, axes = _figure(6.0)
    panel = axes[0, 0]
    seaborn.heatmap(shown, ax=panel, annot=True, fmt=".0f", cmap="Blues", vmin=0, vmax=100 if normalise else None,
                    square=True, linewidths=0.6, annot_kws={"fontsize": 10},
                    cbar_kws={"label": "% of the true class" if normalise else "images", "shrink": 0.8})
    for text in panel.texts[::len(names) + 1]:
        text.set_fontweight("bold")  # the diagonal
    panel.set_xticks(np.arange(len(names)) + 0.5, names, rotation=40, ha="right", rotation_mode="anchor")
    panel.set_yticks(np.arange(len(names)) + 0.5, names, rotation=0)
    _finish(panel, title, "predicted class", "true class")
    return figure


@_styled
def class_bars(series: Mapping[str, Any], title: str, xlabel: str, colours: Colours = None, *, form: str = "{:.2f}",
               names: Sequence[str] = _CLASSES, reference: Mapping[str, float] | None = None,
               ylabel: str = "class") -> Figure:
    """A bar for each class and series, {name: values (10,)}; `reference`: {name: value} as lines; `form` of numbers."""
    values = {name: _array(v).astype(float) for name, v in series.items()}
    if wrong := [f"{name} {v.shape}" for name, v in values.items() if v.shape != (len(names),)]:
        raise ValueError(f"one value for each of {len(names)} classes is needed, not {', '.join(wrong)}")
    figure, axes = _figure(1.0 + len(names) * max(0.3, 0.2 * len(values)) + 0.3 * bool(len(values) > 1 or reference))
    panel = axes[0, 0]
    _grouped(panel, values, _colours(values, colours), form, flat=True)
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    panel.margins(x=0.1)
    panel.xaxis.set_major_formatter(_value_axis(form))
    legend = "below" if len(values) > 1 else ""
    _finish(panel, title, xlabel, ylabel, reference=reference, vertical=True, legend=legend)
    return figure


@_styled
def bars(names: Sequence[str], values: Any, errors: Any = None, title: str = "", xlabel: str = "",
         colours: Colours = None, *, reference: Mapping[str, float] | None = None, form: str = "", ylabel: str = "",
         points: Sequence[Any] | None = None, log_x: bool = False) -> Figure:
    """One horizontal bar a name; errors: (N,) half widths or (2, N); `points`: the single runs of each bar, as dots.

    `reference`: {name: value} as lines. `form` of the numbers: "{:.1%}" writes shares as per cent, at the axis, too.
    """
    values = _array(values).astype(float)
    if colours is None and not any(name in MODEL_COLOURS or name in SPLIT_COLOURS for name in names):
        colours = [_PALETTE[0]]  # where colours mean nothing, one is enough
    figure, axes = _figure(0.85 + 0.36 * len(names) + 0.3 * bool(reference))
    panel = axes[0, 0]
    half = None if errors is None else np.nan_to_num(_array(errors).astype(float))
    panel.barh(range(len(names)), values, 0.72, color=_colours(names, colours), capsize=3.5, zorder=2, xerr=half)
    below, above = (0.0, 0.0) if half is None else np.broadcast_to(half, (2, len(values)))
    left, right = values - below, values + above
    for i, dots in enumerate(points or ()):
        left[i], right[i] = min(left[i], *_array(dots)), max(right[i], *_array(dots))
    for i, value in enumerate(values):  # beyond the bar, its interval and its dots
        place, side, aligned = (right[i], 6, "left") if value >= 0 else (left[i], -6, "right")
        panel.annotate(_write(value, form), (place, i), (side, 0), textcoords="offset points", ha=aligned,
                       va="center", fontsize=9.5, zorder=5,
                       bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})
    for i, dots in enumerate(points or ()):
        heights = i + np.linspace(-0.2, 0.2, len(dots)) if len(dots) > 1 else [i]
        panel.plot(_array(dots), heights, "o", color="white", markeredgecolor="black", markersize=4, zorder=4)
    panel.set_yticks(range(len(names)), [_label(name) for name in names])
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    panel.set_xscale("log" if log_x else "linear")
    panel.margins(x=0.13)
    if not log_x:
        panel.locator_params(axis="x", nbins=7)
        panel.set_xlim(left=0 if (left >= 0).all() else None)
    panel.xaxis.set_major_formatter(_value_axis(form))
    _finish(panel, title, xlabel, ylabel, reference=reference, vertical=True)
    return figure


@_styled
def lines(series: Mapping[str, Any], title: str, xlabel: str, ylabel: str, log_x: bool = False, log_y: bool = False,
          colours: Colours = None, *, reference: Mapping[str, float] | None = None, markers: bool = True,
          x_ticks: Sequence[float] | None = None, percent: bool = False) -> Figure:
    """Curves: {name: (x, y)}, or (x, y, low, high) with a band; each has its own colour, dashes and marker.

    `reference`: {name: y} as level lines; `x_ticks`: the marks of the x axis (a sweep's settings); `percent`: shares.
    """
    figure, axes = _figure(3.8)
    panel = axes[0, 0]
    for i, ((name, curve), colour) in enumerate(zip(series.items(), _colours(series, colours), strict=True)):
        x, y, *band = (_array(values) for values in curve)
        panel.plot(x, y, color=colour, linestyle=_DASHES[i % 7], marker=_MARKERS[i % 10] if markers else "",
                   markersize=5.5, markevery=max(1, len(x) // 15), label=_label(name), zorder=3)
        if band:
            panel.fill_between(x, *band, color=colour, alpha=0.18, linewidth=0)
    panel.set_xscale("log" if log_x else "linear")
    _scale_y(panel, log_y)
    if x_ticks is not None:
        panel.set_xticks(list(x_ticks), [f"{tick:g}" for tick in x_ticks])
        panel.set_xticks([], minor=True)
    if percent:
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    _finish(panel, title, xlabel, ylabel, reference=reference, legend="inside" if len(series) > 1 or reference else "")
    return figure


@_styled
def scatter_classes(points: Any, labels: Any, title: str, xlabel: str, ylabel: str, *,
                    names: Sequence[str] = _CLASSES) -> Figure:
    """Points (N, 2) by class, labels (N,) integers: each class with its colour and marker, drawn in mixed order."""
    order = np.random.default_rng(0).permutation(len(points))  # else the last class would cover the others
    x, y = _array(points)[order].T
    kinds = np.array(names)[_array(labels)[order]]
    figure, axes = _figure(5.0)
    panel = axes[0, 0]
    seaborn.scatterplot(x=x, y=y, hue=kinds, style=kinds, hue_order=names, style_order=names, ax=panel, s=22, alpha=0.8,
                        linewidth=0.3, palette=_colours(names), markers=list(_MARKERS[:len(names)]))
    panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, markerscale=1.4)
    _finish(panel, title, xlabel, ylabel)
    return figure


@_styled
def histograms(series: Mapping[str, Any], title: str, xlabel: str, ylabel: str = "share of values (%)", bins: int = 64,
               colours: Colours = None, *, log_y: bool = False, reference: Mapping[str, float] | None = None) -> Figure:
    """Outlined histograms over common bins, in per cent of each series, {name: values}; `reference`: {name: x}."""
    values = {name: _array(v).ravel() for name, v in series.items()}
    low, high = min(v.min() for v in values.values()), max(v.max() for v in values.values())
    edges = np.linspace(low, high, bins + 1)
    if all(np.issubdtype(v.dtype, np.integer) for v in values.values()):  # as many whole numbers in each bin
        step = max(1, math.ceil((int(high) - int(low) + 1) / bins))
        edges = np.arange(int(low) - 0.5, int(high) + step + 0.5, step)
    figure, axes = _figure(3.6)
    panel = axes[0, 0]
    for i, ((name, v), colour) in enumerate(zip(values.items(), _colours(values, colours), strict=True)):
        heights = 100 * np.histogram(v, edges)[0] / v.size
        panel.stairs(heights, edges, color=colour, linestyle=_DASHES[i % 7], linewidth=1.8, label=_label(name))
        if len(values) <= 2:
            panel.stairs(heights, edges, color=colour, fill=True, alpha=0.15)
    _scale_y(panel, log_y)
    _finish(panel, title, xlabel, ylabel, reference=reference, vertical=True,
            legend="inside" if len(values) > 1 or reference else "")
    return figure


def filters(weights: Any, title: str, columns: int | None = None, *, names: Sequence[str] | None = None) -> Figure:
    """Filters as images: (F, 3, h, w), (F, 1, h, w), (F, h, w), or (F, 3072), rows of a dense layer on the pixels.

    Each filter is scaled by itself, its channels jointly: its least weight becomes 0, its greatest 1. So colours
    compare within a filter and not between filters. Raises ValueError for other numbers of channels.
    """
    array = _array(weights).astype(np.float64)
    if array.ndim == 2 and array.shape[1] == 3072:
        array = array.reshape(-1, 3, 32, 32)
    array = array[:, None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise ValueError(f"filters are (F, 3, h, w) or (F, 1, h, w), not {array.shape}: of a deeper layer choose "
                         "one input channel, weights[:, :1]")
    low, high = array.min((1, 2, 3), keepdims=True), array.max((1, 2, 3), keepdims=True)
    scaled = (array - low) / np.where(high > low, high - low, 1)
    return image_grid(scaled, names, columns or (None if names else 8), title)


templates = filters


@_styled
def feature_maps(maps: Any, title: str, columns: int = 8, *, names: Sequence[str] | None = None,
                 label: str = "activation") -> Figure:
    """Maps (F, h, w) of numbers on one colour scale, whose meaning and unit is `label`; centred on 0 if signed."""
    maps = _array(maps).astype(np.float64)
    if maps.ndim != 3:
        raise ValueError(f"feature maps are (F, h, w), not {maps.shape}: choose one image's, maps[0]")
    columns = min(columns, len(maps))
    rows, cell = math.ceil(len(maps) / columns), min((WIDTH - 0.9) / columns, 2.2)
    height = rows * (cell + 0.18 * bool(names)) + 0.45
    figure, axes = _figure(height, rows, columns, width=columns * cell + 0.9, gap=0.015)
    top, signed = float(np.abs(maps).max()) or 1.0, maps.min() < 0
    for i, panel in enumerate(axes.flat):
        panel.set_axis_off()
        if i < len(maps):
            drawn = panel.imshow(maps[i], cmap="RdBu_r" if signed else "viridis", vmin=-top if signed else 0, vmax=top,
                                 interpolation="nearest")
            panel.set_title(names[i] if names else "", fontsize=9, fontweight="normal", pad=2)
    figure.colorbar(drawn, ax=axes, label=label, shrink=0.9, aspect=25)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_styled
def scatter(series: Mapping[str, Any], title: str, xlabel: str, ylabel: str, colours: Colours = None, *,
            log_x: bool = False, percent: bool = False, arrow: tuple[Any, Any, str] | None = None,
            reference: Mapping[str, float] | None = None) -> Figure:
    """Points: {name: (x, y)}, one or several, or (x, y, low, high) with intervals; single points bear their names.

    `percent`: y are shares. `reference`: {name: y} as lines. `arrow`: from (x, y) to (x, y) with a legend, for a pair
    that somebody else reports.
    """
    figure, axes = _figure(3.9)
    panel = axes[0, 0]
    for i, ((name, points), colour) in enumerate(zip(series.items(), _colours(series, colours), strict=True)):
        x, y, *ends = (np.atleast_1d(_array(values)).astype(float) for values in points)
        panel.plot(x, y, _MARKERS[i % 10], color=colour, markersize=8, markeredgecolor="black", label=_label(name),
                   zorder=3)
        if ends:
            panel.vlines(x, *ends, color=colour, linewidth=2, zorder=2)
        if len(x) == 1:
            panel.annotate(_label(name), (x[0], y[0]), xytext=(9, -3), textcoords="offset points", fontsize=9.5)
    if arrow is not None:
        panel.annotate("", arrow[1], arrow[0], arrowprops={"arrowstyle": "-|>", "color": "#333333", "linewidth": 1.5})
        panel.plot(*zip(*arrow[:2]), color="#333333", linewidth=0, marker="+", markersize=9, label=arrow[2])
    panel.set_xscale("log" if log_x else "linear")
    panel.margins(x=0.14, y=0.12)
    if log_x:
        panel.xaxis.set_major_formatter("{x:,.10g}")
    if percent:
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    several = any(np.size(points[0]) > 1 for points in series.values())
    _finish(panel, title, xlabel, ylabel, reference=reference, legend="below" if several else "")
    return figure


@_styled
def ladder(names: Sequence[str], values: Any, title: str, xlabel: str, *, low: Any = None, high: Any = None) -> Figure:
    """Shares that were reached one change after the other, from top to bottom; beside each what it gained in points.

    A bar reaches from the value before to the value after the change: blue to the right for a gain, vermilion and
    hatched to the left for a loss. `low`, `high`: intervals of the values, left out where they are not a number.
    """
    values = _array(values).astype(float)
    figure, axes = _figure(0.95 + 0.36 * len(names))
    panel = axes[0, 0]
    gains = np.diff(values, prepend=values[0])
    for i, (value, gain) in enumerate(zip(values, gains)):
        panel.barh(i, gain, 0.6, left=value - gain, color=_PALETTE[0] if gain >= 0 else _PALETTE[3], zorder=2,
                   hatch="" if gain >= 0 else "//", edgecolor="white")
        panel.plot([value, value], [i - 0.3, min(i + 1.3, len(values) - 0.7)], color="#333333", linewidth=1, zorder=3)
        words = f"{value:.1%}" + (f" ({100 * gain:+z.1f})".replace("-", "−") if i else "")
        reached = np.nanmax([value, value - gain, *([] if high is None else [_array(high)[i]])])
        panel.annotate(words, (reached, i), (7, 0), textcoords="offset points", va="center", fontsize=9.5, zorder=5,
                       bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})
    panel.plot(values, range(len(values)), "o", color="black", markersize=4.5, zorder=4)
    if low is not None and high is not None:
        panel.hlines(range(len(values)), _array(low), _array(high), color="black", linewidth=1.6, zorder=4)
    panel.set_yticks(range(len(names)), [str(name) for name in names])
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    every = np.concatenate([_array(each).astype(float) for each in (values, low, high) if each is not None])
    least, most = np.nanmin(every), np.nanmax(every)
    span = (most - least) or 0.01
    panel.set_xlim(least - 0.04 * span, most + 0.28 * span)  # room for the words beside the last
    panel.xaxis.set_major_formatter(PercentFormatter(1.0))
    _finish(panel, title, xlabel, "")
    return figure


@_styled
def runs_needed(runs: Mapping[str, Any], reported: Mapping[str, float], curves: Mapping[str, Any], title: str,
                ylabel: str, *, colours: Colours = None, reference: Mapping[str, float] | None = None) -> Figure:
    """Left: {name: values of single runs} as dots, {name: reported value} as a line each; right: {name: (runs, share)}.

    The left panel shows why one run each cannot decide, the right one how many could; its `reference` are level lines.
    """
    figure, axes = _figure(4.1, columns=2, ratios=[1, 1.35])
    left, right = axes[0]
    hues = dict(zip(runs, _colours(runs, colours), strict=True))
    for i, (name, values) in enumerate(runs.items()):
        values = _array(values)
        left.plot(i + np.linspace(-0.16, 0.16, len(values)), values, _MARKERS[i], color=hues[name], markersize=8,
                  markeredgecolor="black", zorder=3, label=f"{_label(name)}: our runs")
        left.axhline(reported[name], color=hues[name], linestyle=_DASHES[1 + i], linewidth=2.2, zorder=2,
                     label=f"{_label(name)}: reported, one run")
    left.set_xticks(range(len(runs)), [_label(name) for name in runs])
    left.set_xlim(-0.6, len(runs) - 0.4)
    left.margins(y=0.12)
    left.grid(axis="x", visible=False)
    for i, (name, (x, y)) in enumerate(curves.items()):
        right.plot(_array(x), _array(y), color=_PALETTE[(0, 3, 7)[i % 3]], linestyle=_DASHES[i], label=name)
    right.set(xscale="log", ylim=(0, 1.02))
    right.xaxis.set_major_formatter("{x:,.10g}")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    _finish(left, "", "network", ylabel)
    _finish(right, "", "runs of each", "probability")
    for name, value in (reference or {}).items():
        right.axhline(value, color="#333333", linewidth=1.2, linestyle=":")
        right.annotate(name, (right.get_xlim()[0], value), xytext=(4, 3), textcoords="offset points", fontsize=9)
    handles = [handle for panel in (left, right) for handle in panel.get_legend_handles_labels()[0]]
    _legend(right, handles, below=True)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@_styled
def small_multiples(panels: Mapping[str, Mapping[str, Any]], title: str, xlabel: str, ylabel: str, columns: int = 3, *,
                    percent: bool = False, log_y: bool = False, colours: Colours = None) -> Figure:
    """A panel of curves for each heading, {heading: {name: (x, y)}}, on one y axis; a name has one look in all."""
    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    hues, rows = _colours(names, colours), math.ceil(len(panels) / columns)
    figure, axes = _figure(0.8 + 1.75 * rows, rows, columns, gap=0.06)
    for i, panel in enumerate(axes.flat):
        panel.set_visible(i < len(panels))
        panel.sharey(axes[0, 0])
        heading = list(panels)[i] if i < len(panels) else ""
        for name, (x, y) in panels.get(heading, {}).items():
            k = names.index(name)
            panel.plot(_array(x), _array(y), color=hues[k], linestyle=_DASHES[k % 7], marker=_MARKERS[k % 10],
                       markersize=4.5, label=_label(name))
        _finish(panel, "", xlabel, ylabel)
        panel.set_title(heading, loc="left", fontsize=10.5)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        _scale_y(panel, log_y)
        if percent:
            panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _legend(axes[0, 0], axes[0, 0].get_legend_handles_labels()[0], below=True)
    figure.suptitle(title, x=0.01, ha="left")
    return figure
