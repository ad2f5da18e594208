"""Peak memory of each method, stacked by what is alive at the peak."""

from collections.abc import Iterator

from analysis.collect import Results
from analysis.style import PARTS, Drawing, figure, legend
from analysis.table import SCALES

NAMES = ("weights", "gradients", "optimizer", "activations")


def draw(results: Results) -> Iterator[Drawing]:
    outcomes = {method: results.measure(method) for method in results.tuned}
    memory = {m: o.content["memory"] for m, o in outcomes.items() if o.status == "ok"}
    split = {m: parts for m, parts in memory.items() if all(parts[name] is not None for name in NAMES)}
    without = [f"{results.title(m)} ({outcomes[m].status if m not in memory else 'not told apart'})"
               for m in results.tuned if m not in split]  # fmt: skip
    if not split:
        yield Drawing("memory", "Memory by part", "Not drawn: no measurement tells the parts apart.", None)
        return
    largest = max(sum(parts[name] for name in NAMES) for parts in split.values())
    _, divisor, unit, _ = next(scale for scale in SCALES["bytes"] if largest >= scale[0])
    drawing, axes = figure(0.9 + 0.27 * len(split))
    titles = [results.title(method) for method in split]
    left = [0.0] * len(split)
    for name, (colour, hatch) in zip(NAMES, PARTS, strict=True):
        widths = [parts[name] / divisor for parts in split.values()]
        axes.barh(titles, widths, left=left, height=0.68, color=colour, hatch=hatch, edgecolor="white", linewidth=0.4,
                  label=name)  # fmt: skip
        left = [start + width for start, width in zip(left, widths, strict=True)]
    weights = min(parts["weights"] for parts in split.values()) / divisor
    axes.axvline(weights, color="black", linewidth=0.9, linestyle=(0, (4, 2)), label="weights alone")
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel=f"memory at the peak, {unit}")
    legend(drawing, axes)
    caption = "What is alive at the peak of a step. Dashed: the weights alone, which no method goes below."
    caption += f" Without a bar: {', '.join(without)}." if without else ""
    yield Drawing("memory", "Memory by part", caption, drawing)
