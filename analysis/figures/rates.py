"""Held-out loss against the learning rates that were tried."""

from collections.abc import Iterator

from analysis.collect import Results
from analysis.style import Drawing, figure, legend, looks, plain_ticks
from analysis.variants import best_line, trials


def draw(results: Results) -> Iterator[Drawing]:
    searched = {method: best_line(tried) for method, tried in trials(results).items()}
    if not searched:
        return
    drawing, axes = figure(2.7)
    for method, look in looks(results, list(searched)).items():
        tried = searched[method]
        done = [trial for trial in tried if trial.loss is not None]
        best = min(range(len(done)), key=lambda i: done[i].loss, default=None)
        axes.plot(
            [trial.lr for trial in done],
            [trial.loss for trial in done],
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=7,
            markerfacecolor="white",
            label=results.setting(method),
        )
        if best is not None:
            axes.plot(done[best].lr, done[best].loss, color=look.colour, marker=look.marker, markersize=7)
    axes.set(xlabel="learning rate", ylabel="held-out loss, nats", xscale="log", yscale="log")
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    legend(drawing, axes)
    caption = "The learning rates tried for each method. Filled: the least loss."
    if any(trial.beside for tried in searched.values() for trial in tried):
        caption += " Where another parameter was searched too, it has its best value."
    without = [
        f"{results.setting(m)} at {trial.lr:g}{f' ({trial.status})' if trial.status else ''}"
        for m, tried in searched.items()
        for trial in tried
        if trial.loss is None
    ]
    caption += f" Without a loss: {', '.join(without)}." if without else ""
    yield Drawing("rates", "Learning rates", caption, drawing)
