"""Seconds of a training step, split into forward, backward and update."""

from collections.abc import Iterator

from analysis.collect import Results
from analysis.style import Drawing, figure, legend, stacked_bars

PHASES = ("forward", "backward", "update")


def draw(results: Results) -> Iterator[Drawing]:
    if results.config["measure"] is None:
        return
    outcomes = {method: results.measure(method) for method in results.tuned}
    time = {m: o.content["time"] for m, o in outcomes.items() if o.status == "ok"}
    without = [f"{results.title(m)} ({outcomes[m].status})" for m in results.tuned if m not in time]
    if not time:
        yield Drawing("time", "Time of a step", "Not drawn: nothing was measured.", None)
        return
    small = max(phases["step"] for phases in time.values()) < 1
    divisor, unit = (1e-3, "ms") if small else (1, "s")
    drawing, axes = figure(0.9 + 0.27 * len(time))
    stacked_bars(
        axes,
        [results.title(method) for method in time],
        {name: [(phases[name] or 0) / divisor for phases in time.values()] for name in PHASES},
        f"time of a step, {unit}",
    )
    legend(drawing, axes)
    caption = "Medians over the measured steps."
    fused = [results.title(method) for method, phases in time.items() if phases["update"] is None]
    caption += f" The update is done inside backward by {', '.join(fused)}." if fused else ""
    caption += f" Without a bar: {', '.join(without)}." if without else ""
    yield Drawing("time", "Time of a step", caption, drawing)
