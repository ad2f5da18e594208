"""Training loss against optimizer steps, tokens and seconds."""

from collections.abc import Iterator

import numpy as np
from matplotlib.ticker import EngFormatter

from analysis.collect import Results
from analysis.style import Drawing, figure, legend, looks, plain_ticks
from analysis.variants import hiding, shown

AXES = {
    "step": ("steps", "optimizer steps"),
    "tokens": ("tokens", "tokens"),
    "seconds": ("time", "seconds of training"),
}


def draw(results: Results) -> Iterator[Drawing]:
    tuned = [method for method in shown(results) if method in results.tuned]
    curves = {method: found for method in tuned if (found := smoothed(results, method))}
    without = [results.title(method) for method in tuned if method not in curves]
    for key, (name, label) in AXES.items():
        title = f"Loss against {name}"
        if not curves:
            yield Drawing(f"loss_{name}", title, "Not drawn: no run finished with a loss curve.", None)
            continue
        drawing, axes = figure(2.7)
        for method, look in looks(results, list(curves)).items():
            columns = curves[method]
            x = columns[key].mean(axis=0)
            axes.plot(
                x,
                columns["loss"].mean(axis=0),
                color=look.colour,
                linestyle=look.line,
                marker=look.marker,
                markevery=(0.05, 0.2),
                markersize=3.5,
                label=results.title(method),
            )
            axes.fill_between(
                x,
                columns["loss"].min(axis=0),
                columns["loss"].max(axis=0),
                color=look.colour,
                alpha=0.15,
                linewidth=0,
            )
        axes.set(xlabel=label, ylabel="training loss, nats", xlim=(0, None), yscale="log")
        plain_ticks(axes.yaxis)
        if key != "seconds":  # half a second is not 500m
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        legend(drawing, axes)
        caption = "Running mean over a twentieth of the run; line: mean over seeds, band: lowest to highest."
        caption += hiding(results)
        caption += f" Without a curve: {', '.join(without)}." if without else ""
        yield Drawing(f"loss_{name}", title, caption, drawing)


def smoothed(results: Results, method: str) -> dict[str, np.ndarray] | None:
    """Each column of a method's curves, (seeds, points); cut to the shortest seed; None without a curve."""
    outcomes = [results.train(method, seed) for seed in results.seeds(method)]
    trained = [outcome.content.get("training") for outcome in outcomes if outcome.status == "ok"]
    curves = [training["curve"] for training in trained if training]
    points = min((len(curve["loss"]) for curve in curves), default=0)
    if points == 0:
        return None
    window = max(1, points // 20)
    kernel = np.ones(window) / window
    columns = {}
    for key in (*AXES, "loss"):
        values = np.array([curve[key][:points] for curve in curves], dtype=float)
        columns[key] = np.array([np.convolve(row, kernel, mode="valid") for row in values])
    return columns
