"""MT-Bench by category, one closed line per method."""

from collections.abc import Iterator
from statistics import fmean

import numpy as np

from analysis.collect import Results
from analysis.scores import heading, setting_of, settings_of
from analysis.style import Drawing, figure, legend, looks
from analysis.variants import hiding, shown

TASK = "mt_bench"
FEWEST = 3  # corners below which a radar is a line


def draw(results: Results) -> Iterator[Drawing]:
    if TASK not in results.tasks:
        return
    for number, setting in enumerate(settings_of(results, TASK) or [None]):
        name = "radar" + (f"_{number + 1}" if number else "")
        title = f"{heading(results, TASK, setting)} by category"
        means = {
            method: mean for method in shown(results) if (mean := category_means(results, method, setting))
        }
        categories = list(dict.fromkeys(category for mean in means.values() for category in mean))
        if len(categories) < FEWEST:
            yield Drawing(name, title, f"Not drawn: fewer than {FEWEST} categories were scored.", None)
            continue
        angles = np.linspace(0, 2 * np.pi, len(categories), endpoint=False)
        drawing, axes = figure(3.6, subplot_kw={"projection": "polar"})
        axes.set_theta_zero_location("N")
        axes.set_theta_direction(-1)
        for method, look in looks(results, list(means)).items():
            mean = means[method]
            values = [mean.get(category, np.nan) for category in categories]
            axes.plot(
                [*angles, angles[0]],
                [*values, values[0]],
                color=look.colour,
                linestyle=look.line,
                marker=look.marker,
                markersize=3.5,
                label=results.title(method),
            )
        axes.set_xticks(angles, categories)
        axes.set_rlabel_position(180 / len(categories))
        axes.set_ylim(1, 10)
        axes.set_yticks([2.5, 5, 7.5, 10], ["2.5", "5", "7.5", "10"], color="#555555")
        axes.spines["polar"].set_color("#c8c8c8")
        legend(drawing, axes)
        without = [results.title(method) for method in shown(results) if method not in means]
        caption = "Mean score of both turns over seeds, 1 in the centre, 10 outside."
        caption += hiding(results)
        caption += f" Without a line: {', '.join(without)}." if without else ""
        yield Drawing(name, title, caption, drawing)


def category_means(results: Results, method: str, setting: tuple | None) -> dict[str, float]:
    """Score by category over the seeds scored as `setting` says; empty where there are none."""
    found: dict[str, list[float]] = {}
    for seed in results.seeds(method):
        outcome = results.evaluation(method, seed, TASK)
        if outcome.status == "ok" and setting_of(outcome) == setting:
            for name, score in outcome.content["evaluation"]["scores"].items():
                if not name.startswith("turn") and score is not None:
                    found.setdefault(name, []).append(score)
    return {name: fmean(values) for name, values in found.items()}
