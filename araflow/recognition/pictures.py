"""Pictures of training and evaluation, as PNG bytes: the same input gives the same bytes.

Drawn by matplotlib's Agg canvas alone, without ``pyplot``: no window, and no state that outlasts a call.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import SpecError
from araflow.core.screen import visible
from araflow.recognition import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 100
_MOST_COUNTS = 30
"""Classes up to which each cell of a confusion matrix says its count."""
_MOST_NAMES = 120
"""Classes up to which names are legible beside a confusion matrix."""
_MOST_LEGEND = 20
_LONGEST_NAME = 28
_LETTER = 0.7
"""Width of a letter in ems, rather too wide than too narrow."""
_TRAINING = (
    "Training figures are those of windows as they were learned from: augmented, with dropout, by weights that still "
    "moved. They may lie below validation's and the test's."
)
_GAP = 1
"""Pixels between filters."""


def confusion(matrix: NDArray[np.int64], labels: Sequence[str], title: str) -> bytes:
    """Draw a confusion matrix: true classes down, predicted ones across, shades by share of the true class.

    Counts are written into the cells of up to 30 classes, names beside up to 120; beyond, axes count classes from 0.

    Args:
        matrix: Integers, (true class, predicted class), counts.
        labels: Class names in label order.
        title: What stands above it.
    """
    classes = len(labels)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    named = classes <= _MOST_NAMES
    side = max(3.0, min(0.45 * classes, 12.0), classes * 2 / _DPI)  # inches; at least 2 pixels per class
    size = float(np.clip(72 * side / classes * 0.7, 4, 10))  # points, of which an inch has 72
    margin = 0.6 + (_longest(labels) * size * _LETTER / 72 if named else 0.5)
    figure = _figure(side + margin + 1.2, side + margin + 0.6)
    axes = figure.add_axes(_box(figure, margin + 0.2, margin, side, side))
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    bar = figure.add_axes(_box(figure, margin + side + 0.4, margin, 0.15, side))
    figure.colorbar(image, cax=bar).set_label("share of the true class's videos", fontsize=8)
    if named:
        axes.set_xticks(range(classes), _short(labels), rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(range(classes), _short(labels), fontsize=size, parse_math=False)
    if classes <= _MOST_COUNTS:
        for row, column in np.argwhere(matrix):
            shade = "white" if share[row, column] > 0.5 else "black"
            text = str(matrix[row, column])
            axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=min(size, 9))
    axes.set_title(visible(title), fontsize=9, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return _png(figure)


def curves(history: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw loss, top-1 and learning rate by epoch, and say why training may look worse than validation.

    Args:
        history: Per epoch any of ``epoch`` (else counted from 1), ``train_loss``, ``val_loss``, ``train_top1``,
            ``val_top1`` (0 to 1), ``lr``; what is absent or ``None`` is not drawn.
    """
    figure = _figure(12, 3.9)
    from matplotlib.ticker import MaxNLocator

    panels = {
        "loss": {"train_loss": "training", "val_loss": "validation"},
        "top-1 in %": {"train_top1": "training", "val_top1": "validation"},
        "learning rate": {"lr": "learning rate"},
    }
    for number, (title, names) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, 3, number)
        scale = 100.0 if "%" in title else 1.0
        for colour, (name, shown) in zip(("C0", "C1"), names.items(), strict=False):
            points = [
                (row.get("epoch", place), scale * row[name])
                for place, row in enumerate(history, start=1)
                if row.get(name) is not None
            ]
            if points:
                epochs, values = zip(*points, strict=True)
                axes.plot(epochs, values, marker=".", color=colour, label=shown)
        if len(names) > 1 and axes.get_lines():
            axes.legend(fontsize=8)
        if title == "learning rate" and any(row.get("lr") for row in history):
            axes.set_yscale("log")
        if title == "top-1 in %":
            axes.set_ylim(-2, 102)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    figure.text(0.02, 0.02, _TRAINING, fontsize=8)
    figure.subplots_adjust(left=0.06, right=0.98, bottom=0.2, top=0.9, wspace=0.25)
    return _png(figure)


def first_layer(weights: NDArray[np.floating[Any]]) -> bytes:
    """Draw the filters of a first layer at their first instant, row by row.

    Filters on R, G, B are drawn as colours, grey being 0, each scaled to its own largest weight. Filters on u, v are
    drawn as optical flow: hue is the direction of motion that they answer to most, saturation how strongly.

    Args:
        weights: (filters, channels, [frames,] height, width) with 3 or 2 channels. Of a 2D network that takes stacked
            frames, channel-major, (filters, channels × frames, …) is to be reshaped to (filters, channels, frames, …).

    Raises:
        SpecError: The shape is another one.
    """
    if weights.ndim not in (4, 5) or weights.shape[1] not in (2, 3) or 0 in weights.shape:
        raise SpecError(
            f"first layer: weights have the shape {weights.shape}; allowed: (filters, 2 or 3 channels, [frames,] "
            "height, width); reshape stacked frames to (filters, channels, frames, height, width)"
        )
    filters = np.asarray(weights[:, :, 0] if weights.ndim == 5 else weights, dtype=np.float32).transpose(0, 2, 3, 1)
    largest = np.maximum(np.abs(filters).max(axis=(1, 2, 3), keepdims=True), np.finfo(np.float32).tiny)
    if filters.shape[-1] == 3:
        tiles = 0.5 + 0.5 * filters / largest
    else:
        from araflow.media.colours import flow_colours

        tiles = np.stack([flow_colours(tile, fastest=1.0) for tile in filters / largest]) / np.float32(255)
    count, height, width, _ = tiles.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    mosaic = np.ones((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), dtype=np.float32)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = _GAP + row * (height + _GAP), _GAP + column * (width + _GAP)
        mosaic[top : top + height, left : left + width] = tile
    zoom = max(1, round(800 / max(mosaic.shape)))
    mosaic = mosaic.repeat(zoom, axis=0).repeat(zoom, axis=1)
    figure = _figure(mosaic.shape[1] / _DPI, mosaic.shape[0] / _DPI)
    figure.figimage(mosaic)
    return _png(figure)


def embedding_plot(
    points: NDArray[np.floating[Any]],
    targets: NDArray[np.integer[Any]],
    labels: Sequence[str],
    *,
    title: str = "",
    axes: tuple[str, str] = ("", ""),
) -> bytes:
    """Draw points in the plane, coloured by class.

    Up to 20 classes have a legend; of more, each class's name is written at its median point.

    Args:
        points: (points, 2).
        targets: Integers, (points,): index into ``labels``.
        labels: Class names in label order.
        title: What stands above.
        axes: What stands beside the axes, across and up.

    Raises:
        SpecError: Points and targets do not belong together, or a point is not a number.
    """
    if points.shape != (len(targets), 2) or not np.isfinite(points).all():
        raise SpecError(f"embedding: {len(targets)} targets need {len(targets)} finite points in the plane")
    import matplotlib

    figure = _figure(9, 7)
    legend = len(labels) <= _MOST_LEGEND
    names = _short(labels)
    longest = max(len(names[index]) for index in np.unique(targets))
    beside = 0.6 + longest * 8 * _LETTER / 72 if legend else 0.1  # inches
    place = figure.add_axes(_box(figure, 0.7, 0.6, 9 - 0.7 - beside, 7 - 1.0))
    place.set_title(visible(title), fontsize=10, parse_math=False)
    place.set_xlabel(axes[0])
    place.set_ylabel(axes[1])
    place.grid(alpha=0.3)
    name = "tab10" if len(labels) <= 10 else "tab20" if legend else "turbo"
    colours = matplotlib.colormaps[name]
    for index in np.unique(targets):
        own = points[targets == index]
        colour = colours(int(index) if legend else float(index) / len(labels))
        place.scatter(own[:, 0], own[:, 1], s=14, color=colour, linewidths=0)
        if not legend:
            x, y = np.median(own, axis=0)
            place.text(x, y, names[index], fontsize=6, ha="center", va="center", parse_math=False)
    if legend:
        _legend(place, names, colours, np.unique(targets))
    return _png(figure)


def line_of_text(text: str, height: int) -> NDArray[np.float32]:
    """Return where the letters of a line are, 0 to 1: float32 (height, width)."""
    figure = _figure(max(1, len(text)) * height / _DPI, height / _DPI)  # no letter is wider than it is tall, or a few
    with _no_glyph_warnings():
        figure.text(0, 0.5, text, va="center", fontsize=0.7 * height * 72 / _DPI, parse_math=False)
        figure.canvas.draw()
    shown = np.asarray(figure.canvas.buffer_rgba(), np.float32)[..., 0]  # type: ignore[attr-defined] # Agg's
    used = np.flatnonzero((shown < 255).any(axis=0))
    return np.asarray(1 - shown[:, : used[-1] + 1 if len(used) else 1] / 255, np.float32)


def _legend(axes: Axes, names: Sequence[str], colours: Any, present: NDArray[np.integer[Any]]) -> None:  # noqa: ANN401
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], marker="o", linestyle="", color=colours(int(index))) for index in present]
    shown = axes.legend(handles, [" "] * len(handles), loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    for text, index in zip(shown.get_texts(), present, strict=True):  # set here: legend() skips names that begin with _
        text.set_parse_math(False)
        text.set_text(names[index])


def _figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches."""
    require.packages("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _box(figure: Figure, left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
    """A place within the figure in inches, as the shares that matplotlib wants."""
    whole_width, whole_height = figure.get_size_inches()
    return left / whole_width, bottom / whole_height, width / whole_width, height / whole_height


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    with _no_glyph_warnings():
        figure.savefig(data, format="png", dpi=_DPI, metadata={"Software": None})
    return data.getvalue()


@contextlib.contextmanager
def _no_glyph_warnings() -> Iterator[None]:
    """A class named in a script that the font lacks is drawn as boxes; that is no reason to warn per letter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


def _longest(labels: Sequence[str]) -> int:
    return max(map(len, _short(labels)))


def _short(labels: Sequence[str]) -> list[str]:
    names = map(visible, labels)
    return [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names]
