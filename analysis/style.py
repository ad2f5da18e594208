"""How every figure looks: sizes, fonts, and one colour, marker and line per method.

The colours are Okabe and Ito's (Color Universal Design, 2008), told apart by
colour-blind readers; marker and line style tell the methods apart in grey.
"""

import io
import itertools
import math
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from analysis.collect import Results
from analysis.files import write_file

COLUMN = 3.35  # inches: a column of a two-column paper
PARAMETERS = {
    "backend": "Agg",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 5,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "figure.constrained_layout.use": True,
    "figure.max_open_warning": 0,  # each is closed when it is saved
    "svg.hashsalt": "chunkft",
    "svg.fonttype": "path",
}
matplotlib.rcParams.update(PARAMETERS)


class Look(NamedTuple):
    colour: str
    marker: str
    line: str | tuple


# By file in baselines/, so that a method looks the same in every experiment; a kind shares a colour.
LOOKS = {
    "chunkft": Look("#D55E00", "o", "-"),
    "full": Look("#000000", "s", "-"),
    "adamw8bit": Look("#000000", "p", (0, (4, 4))),
    "sgd": Look("#7F5539", "<", (0, (8, 2, 1, 2))),
    "none": Look("#8a8a8a", "x", (0, (1, 2))),
    # adapters
    "lora": Look("#0072B2", "^", "--"),
    "dora": Look("#0072B2", "8", (0, (3, 1, 1, 1))),
    "qlora": Look("#0072B2", ">", (0, (2, 1))),
    # projected gradients
    "galore": Look("#009E73", "D", "-."),
    "apollo": Look("#009E73", "d", (0, (6, 2))),
    "apollo_mini": Look("#009E73", "*", (0, (1, 1))),
    # updates inside backward
    "lomo": Look("#E69F00", "v", ":"),
    "adalomo": Look("#E69F00", "H", (0, (5, 1))),
    # a block of layers at a time
    "badam": Look("#CC79A7", "P", (0, (5, 1, 1, 1, 1, 1))),
    "hift": Look("#CC79A7", "X", (0, (2, 1, 1, 1))),
    "lisa": Look("#CC79A7", "h", (0, (8, 2))),
}
# For methods that are not listed, in the order of the configuration.
SPARE = [
    Look("#56B4E9", "o", (0, (6, 2))),
    Look("#5D3A9B", "s", (0, (2, 1))),
    Look("#A6A100", "^", (0, (8, 2, 1, 2))),
    Look("#882255", "D", (0, (4, 4))),
]
# For further entries of one method, in its colour: marker and line.
FURTHER = [("d", (0, (3, 1))), ("p", (0, (1, 1))), ("X", (0, (5, 2, 1, 2))), ("*", (0, (8, 3))), ("<", ":")]
# The parts of a bar, dark to light and hatched in turn, so that they differ in grey too.
PARTS = [
    {"color": "#0b3c5d", "edgecolor": "#0b3c5d"},
    {"color": "#5b93bf", "edgecolor": "#ffffff", "hatch": "////"},
    {"color": "#a9cbe6", "edgecolor": "#0b3c5d"},
    {"color": "#ffffff", "edgecolor": "#5b93bf", "hatch": "...."},
]


def looks(results: Results, methods: list[str]) -> dict[str, Look]:
    """A look for each of `methods`; more than six entries of one method share looks."""
    spare = itertools.cycle(SPARE)
    first: dict[str, Look] = {}  # by file in baselines/
    for adapter in map(results.adapter, results.methods):
        if adapter not in first:
            first[adapter] = LOOKS.get(adapter) or next(spare)
    chosen: dict[str, Look] = {}
    for method in methods:
        look = first[results.adapter(method)]
        further = (look._replace(marker=marker, line=line) for marker, line in FURTHER)
        taken = {(other.colour, other.marker) for other in chosen.values()}
        free = (one for one in (look, *further) if (one.colour, one.marker) not in taken)
        chosen[method] = next(free, look)
    return chosen


class Drawing(NamedTuple):
    """A figure ready to be saved; None where there is nothing to draw, and the caption says why."""

    name: str
    title: str
    caption: str
    figure: Figure | None
    files: tuple[str, ...] = ()  # the result files it was made from


def figure(height: float, **axes) -> tuple[Figure, Any]:
    """A figure one column wide and `height` inches high, and its axes, as `pyplot.subplots` gives them."""
    return plt.subplots(figsize=(COLUMN, height), **axes)


def plain_ticks(axis: Axis) -> None:
    """Numbers written out on a logarithmic axis, at least three or so however short it is."""
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    subs = (1, 3) if decades > 2 else (1, 2, 5)
    axis.set_major_locator(LogLocator(subs=subs) if decades > 0.9 else MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def stacked_bars(axes: Axes, titles: list[str], parts: dict[str, list[float]], label: str) -> None:
    """A bar per title from top to bottom, each the sum of its parts from left to right."""
    left = [0.0] * len(titles)
    for (name, widths), part in zip(parts.items(), PARTS, strict=False):
        axes.barh(titles, widths, left=left, height=0.68, linewidth=0.5, label=name, **part)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel=label, xlim=(0, max(left) * 1.04))


def weights_line(axes: Axes, weights: float) -> None:
    axes.axvline(weights, color="#D55E00", linewidth=1.1, linestyle=(0, (4, 2)), label="weights alone")


def legend(drawing: Figure, axes: Axes) -> None:
    """Below the axes, where it covers no data; the figure grows with it, and the axes keep their size."""
    handles, labels = axes.get_legend_handles_labels()
    longest = max(map(len, labels))
    columns = max(1, min(3, 76 // (longest + 8), len(labels)))
    labels = [textwrap.fill(label, 44) for label in labels]
    drawing.set_figheight(drawing.get_figheight() + 0.15 * max(0, math.ceil(len(labels) / columns) - 2))
    drawing.legend(handles, labels, loc="outside lower center", ncols=columns, columnspacing=1.2)


def save(drawing: Figure, path: Path) -> None:
    """`path`.svg and `path`.png: the same bytes for the same data."""
    for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        image = io.BytesIO()
        drawing.savefig(image, format=suffix, metadata=metadata)
        write_file(path.with_suffix(f".{suffix}"), image.getvalue())
    plt.close(drawing)
