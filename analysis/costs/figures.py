"""Figures of what a training step costs."""

from collections.abc import Callable, Iterator

from analysis.cells import PARTS, SUBJECT
from analysis.costs import GIB, SHARED, Cost, Costs, Group
from analysis.style import (
    COLUMN,
    Drawing,
    Look,
    figure,
    legend,
    looks,
    plain_ticks,
    stacked_bars,
    weights_line,
)

TRACED = ("lomo", "lora", "badam", "hift", SUBJECT)  # near each other: full fine-tuning is off their scale


def drawings(costs: Costs) -> Iterator[Drawing]:
    for group in costs.groups:
        if len(group.costs) > 2:
            yield parts(group)
            yield from traces(costs, group)
        yield from chunks(group)
        yield from time_against_memory(costs, group)
    yield from against(costs, "batch_size", "sequences in a batch", ("model", "length", "setting"))
    yield from against(costs, "length", "tokens in a sequence", ("model", "batch_size", "setting"))


def parts(group: Group) -> Drawing:
    """Stacked bars, the smallest peak first, with the line of the 16-bit weights alone."""
    measured = sorted((cost for cost in group.costs if cost.ok), key=lambda cost: cost.peak)
    drawing, axes = figure(1.0 + 0.2 * len(measured))
    stacked_bars(
        axes,
        [cost.title for cost in measured],
        {part: [cost.content["memory"][part] / GIB for cost in measured] for part in PARTS},
        "memory at the peak, GiB",
    )
    full = [cost.content["memory"]["weights"] for cost in measured if cost.adapter == "full"]
    if full:
        weights_line(axes, full[0] / GIB)
    predicted = [
        (cost.predicted["peak"] / GIB, row)
        for row, cost in enumerate(measured)
        if cost.predicted and cost.predicted["peak"]
    ]
    if predicted:
        x, y = zip(*predicted, strict=True)
        axes.plot(x, y, "|", color="#000000", markersize=9, label="predicted")
    legend(drawing, axes)
    caption = f"{group.title}; {group.made_on}. What is alive at the peak of a step."
    files = tuple(cost.place for cost in measured)
    return Drawing(f"memory_{group.name}", "Memory by part", caption, drawing, files)


def traces(costs: Costs, group: Group) -> Iterator[Drawing]:
    """Live tensors along the step with the peak, above the weights."""
    chosen = [c for c in group.costs if c.ok and c.adapter in TRACED and c.config["setting"] == SHARED]
    chosen = [cost for cost in chosen if cost.content["memory"]["trace"].get("bytes")]
    if not chosen:
        return
    # of each method the variant that needs least: more lines could not be told apart
    least = {cost.adapter: cost for cost in sorted(chosen, key=lambda cost: cost.peak, reverse=True)}
    chosen = [cost for cost in chosen if cost is least[cost.adapter]]
    drawing, axes = figure(2.3)
    styles = looks(costs, [cost.method for cost in chosen])
    for cost in chosen:
        levels = cost.content["memory"]["trace"]["bytes"]
        x = [100 * i / len(levels) for i in range(len(levels))]
        _line(axes, x, [level / GIB for level in levels], styles[cost.method], cost.title, marks=False)
    axes.set(xlabel="% of the step's operators", ylabel="live tensors, GiB")
    legend(drawing, axes)
    caption = f"{group.title}; {group.made_on}. Live tensors along the step that has the highest peak."
    files = tuple(cost.place for cost in chosen)
    yield Drawing(f"trace_{group.name}", "Memory along a step", caption, drawing, files)


def chunks(group: Group) -> Iterator[Drawing]:
    """ChunkFT's peak, and where it was timed its step, against K."""
    own = [c for c in group.costs if c.ok and c.adapter == SUBJECT and c.config["setting"] == SHARED]
    lines: dict[str, list[Cost]] = {}
    for cost in sorted(own, key=lambda cost: cost.config["settings"]["chunks"]):
        settings = cost.config["settings"]
        name = settings["partition"] + ("" if settings["resident"] else ", state streamed")
        lines.setdefault(name, []).append(cost)
    if len({cost.config["settings"]["chunks"] for cost in own}) < 3:
        return
    panels: list[tuple[str, Callable[[Cost], float]]] = [("peak, GiB", lambda cost: cost.peak / GIB)]
    if all(cost.time for cost in own):
        panels.append(("step, s", lambda cost: cost.time["step"]))
    drawing, rows = figure(1.2 + 1.1 * len(panels), nrows=len(panels), sharex=True, squeeze=False)
    for axes, (label, value) in zip(rows[:, 0], panels, strict=True):
        for (name, line), marker in zip(lines.items(), "os^D", strict=False):
            ks = [cost.config["settings"]["chunks"] for cost in line]
            axes.plot(ks, [value(cost) for cost in line], marker=marker, label=name)
        axes.set(ylabel=label, xscale="log")
    rows[-1, 0].set_xlabel("chunks, K")
    plain_ticks(rows[-1, 0].xaxis)
    legend(drawing, rows[0, 0])
    caption = f"{group.title}; {group.made_on}. ChunkFT with different numbers of chunks."
    yield Drawing(
        f"chunks_{group.name}", "Number of chunks", caption, drawing, tuple(cost.place for cost in own)
    )


def time_against_memory(costs: Costs, group: Group) -> Iterator[Drawing]:
    timed = [cost for cost in group.costs if cost.time and cost.config["setting"] == SHARED]
    if len(timed) < 2:
        return
    drawing, axes = figure(COLUMN * 0.75)
    styles = looks(costs, [cost.method for cost in timed])
    for cost in timed:
        _line(axes, [cost.peak / GIB], [cost.time["step"]], styles[cost.method], cost.title)
    axes.set(xlabel="peak, GiB", ylabel="step, s", xscale="log")
    plain_ticks(axes.xaxis)
    legend(drawing, axes)
    caption = f"{group.title}; {group.made_on}. Forward, backward and update of one step; switching apart."
    files = tuple(cost.place for cost in timed)
    yield Drawing(f"pareto_{group.name}", "Time against memory", caption, drawing, files)


def against(costs: Costs, axis: str, label: str, alike: tuple[str, ...]) -> Iterator[Drawing]:
    """Peak against one key of the config, where all of `alike` are the same, for three values or more."""
    families: dict[tuple, list[Cost]] = {}
    for cost in costs.costs:
        if cost.ok:
            families.setdefault(tuple(cost.config[key] for key in alike), []).append(cost)
    for place, family in families.items():
        lines: dict[str, list[Cost]] = {}
        for cost in sorted(family, key=lambda cost: cost.config[axis]):
            lines.setdefault(cost.method, []).append(cost)
        lines = {method: line for method, line in lines.items() if len(line) > 2}
        if not lines:
            continue
        drawing, axes = figure(2.4)
        styles = looks(costs, list(lines))
        for method, line in lines.items():
            x = [cost.config[axis] for cost in line]
            _line(axes, x, [cost.peak / GIB for cost in line], styles[method], line[0].title)
        axes.set(xlabel=label, ylabel="peak, GiB", xscale="log", yscale="log")
        plain_ticks(axes.xaxis)
        plain_ticks(axes.yaxis)
        legend(drawing, axes)
        same = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in zip(alike, place, strict=True))
        name = f"memory_by_{axis}_{'_'.join(map(str, place))}"
        files = tuple(cost.place for line in lines.values() for cost in line)
        yield Drawing(name, f"Memory against {label}", f"Peak of a step; {same}.", drawing, files)


def _line(axes, x: list, y: list, look: Look, label: str, marks: bool = True) -> None:
    marker = look.marker if marks else None
    axes.plot(x, y, color=look.colour, marker=marker, linestyle=look.line, label=label)
