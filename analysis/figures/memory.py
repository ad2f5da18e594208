"""Peak memory of each method, stacked by what is alive at the peak."""

from collections.abc import Iterator
from statistics import mode

from analysis.cells import PARTS
from analysis.collect import Results
from analysis.style import Drawing, figure, legend, stacked_bars, weights_line
from analysis.table import SCALES


def draw(results: Results) -> Iterator[Drawing]:
    if results.config["measure"] is None:
        return
    outcomes = {method: results.measure(method) for method in results.tuned}
    memory = {m: o.content["memory"] for m, o in outcomes.items() if o.status == "ok"}
    split = {m: parts for m, parts in memory.items() if all(parts[name] is not None for name in PARTS)}
    without = [
        f"{results.title(m)} ({outcomes[m].status if m not in memory else 'not told apart'})"
        for m in results.tuned
        if m not in split
    ]
    if not split:
        yield Drawing("memory", "Memory by part", "Not drawn: no measurement tells the parts apart.", None)
        return
    largest = max(sum(parts[name] for name in PARTS) for parts in split.values())
    _, divisor, unit, _ = next(scale for scale in SCALES["bytes"] if largest >= scale[0])
    drawing, axes = figure(0.9 + 0.27 * len(split))
    stacked_bars(
        axes,
        [results.title(method) for method in split],
        {name: [parts[name] / divisor for parts in split.values()] for name in PARTS},
        f"memory at the peak, {unit}",
    )
    # of most methods: adapters add to the model's own weights, and 4-bit ones are smaller
    weights = mode(parts["weights"] for parts in split.values()) / divisor
    weights_line(axes, weights)
    legend(drawing, axes)
    caption = "What is alive at the peak of a step. Dashed: the weights alone."
    caption += f" Without a bar: {', '.join(without)}." if without else ""
    yield Drawing("memory", "Memory by part", caption, drawing)
