"""Held-out loss over a method's parameters: pairs of numbers as grids, other choices side by side."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle

from analysis.cells import listed
from analysis.collect import Results
from analysis.style import Drawing, figure
from analysis.titles import named, said
from analysis.variants import families, is_numeric, status, varied

FEWEST = 6  # cells below which a grid says nothing that the table does not
MOST = 20  # settings that a column of a paper holds
BEST = "#D55E00"
COLOURS = "cividis"  # even in lightness, also to colour-blind readers and in grey


def draw(results: Results) -> Iterator[Drawing]:
    for adapter, frame in families(results).items():
        title = results.family(frame.index[0])
        numbers = [name for name in varied(frame) if is_numeric(frame[name])]
        choices = [name for name in varied(frame) if name not in numbers]
        empty = _empty(results, frame)
        for one, two in itertools.combinations(numbers, 2):
            if grids := _grids(frame, one, two, choices):
                others = [named(name) for name in numbers if name not in (one, two)]
                least = f", the least of runs that differ in {listed(others)}" if others else ""
                what = f"{title}: {named(one)} and {named(two)}"
                yield _drawing(
                    f"ablation_{adapter}_{one}_{two}", what, f"Held-out loss{least}.", grids, empty
                )
        for name in choices:
            settings = _settings(frame, name)
            if settings is None:
                continue
            best = settings.loc[settings.min(axis=1).nsmallest(MOST).index]
            caption = "Held-out loss, the least over learning rates, where more than one was tried"
            caption += f": the {MOST} best of {len(settings)} settings." if len(settings) > MOST else "."
            what = f"{title}: {named(name)}"
            yield _drawing(f"ablation_{adapter}_{name}", what, caption, {(): best}, empty)


def _empty(results: Results, frame: pd.DataFrame) -> str:
    """What a cell without a number says."""
    words = Counter(status(results, method) for method in frame.index[frame["loss"].isna()])
    failed = [f"{number} {word}" for word, number in words.items() if word != "not run"]
    return f" Empty: not run{f', or failed ({listed(failed)})' if failed else ''}."


def _grids(frame: pd.DataFrame, one: str, two: str, choices: list[str]) -> dict[tuple, pd.DataFrame]:
    """The least loss by `one` (rows) and `two` (columns): a grid for each combination of the choices."""
    found = {}
    for values, group in frame.groupby(choices, sort=False) if choices else [((), frame)]:
        grid = group.groupby([one, two])["loss"].min().unstack()
        if grid.count().sum() >= FEWEST and min(grid.shape) > 1:
            found[tuple(map(said, choices, values))] = grid
    return found


def _settings(frame: pd.DataFrame, name: str) -> pd.DataFrame | None:
    """The least loss by setting of the other parameters (rows) and value of `name` (columns).

    Only settings at which several values were tried; None where that makes too few cells.
    """
    others = [other for other in varied(frame, rate=False) if other != name]
    if not others:
        return None
    settings = frame.groupby([*others, name])["loss"].min().unstack()
    settings = settings[settings.count(axis=1) > 1]
    for level in [level for level in others if settings.index.unique(level).size == 1]:
        if settings.index.nlevels > 1:
            settings = settings.droplevel(level)
    return settings if settings.count().sum() >= FEWEST else None


def _drawing(
    name: str, title: str, caption: str, grids: dict[tuple[str, ...], pd.DataFrame], empty: str
) -> Drawing:
    """The grids two abreast, each under its combination of choices, as far as it tells them apart."""
    across = min(2, len(grids))
    down = math.ceil(len(grids) / across)
    rows = max(len(grid) for grid in grids.values())
    drawing, axes = figure(down * (0.55 + 0.21 * rows), nrows=down, ncols=across, squeeze=False)
    losses = pd.concat([grid.stack() for grid in grids.values()])
    norm = LogNorm(losses.min(), losses.max())
    telling = [len(set(values)) > 1 for values in zip(*grids, strict=True)]
    same = all(grid.index.equals(other.index) for grid, other in itertools.pairwise(grids.values()))
    for number, (place, (values, grid)) in enumerate(zip(axes.flat, grids.items(), strict=False)):
        _heat(place, grid, norm, left=number % across == 0 or not same)
        place.set_title(", ".join(itertools.compress(values, telling)))
    for place in axes.flat[len(grids) :]:
        place.remove()
    fixed = [value for value, tells in zip(next(iter(grids)), telling, strict=True) if not tells]
    caption += f" Throughout: {', '.join(fixed)}." if fixed else ""
    caption += empty if any(grid.isna().any(axis=None) for grid in grids.values()) else ""
    return Drawing(name, title, f"{caption} Darker is less; framed: the least.", drawing)


def _heat(axes: Axes, grid: pd.DataFrame, norm: LogNorm, left: bool) -> None:
    """A grid with its losses written in; its rows are named where it stands at the left."""
    axes.imshow(grid.to_numpy(dtype=float), cmap=COLOURS, norm=norm, aspect="auto")
    for (i, row), (j, column) in itertools.product(enumerate(grid.index), enumerate(grid.columns)):
        loss = grid.loc[row, column]
        if pd.notna(loss):
            light = norm(loss) > 0.55
            axes.text(
                j, i, f"{loss:.2f}", ha="center", va="center", size=6, color="black" if light else "white"
            )
        if loss == norm.vmin:
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=BEST, linewidth=1.5))
    axes.set_xticks(range(len(grid.columns)), grid.columns.map(_text))
    axes.set_xlabel(named(grid.columns.name))
    axes.set_yticks([])
    if left and grid.index.nlevels > 1:
        rows = [", ".join(map(said, grid.index.names, values)) for values in grid.index]
        axes.set_yticks(range(len(rows)), rows)
    elif left:
        axes.set_yticks(range(len(grid.index)), grid.index.map(_text))
        axes.set_ylabel(named(grid.index.name))
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
