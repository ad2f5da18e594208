"""Accuracy against peak memory, one figure per task, with the methods no other method dominates."""

from collections.abc import Iterator

from analysis.cells import listed
from analysis.collect import Results
from analysis.scores import GROUPS, TITLES, Scored, average_column, in_group, task_columns, ungrouped
from analysis.style import Drawing, figure, legend, looks
from analysis.table import SCALES
from analysis.variants import hiding, shown


def draw(results: Results) -> Iterator[Drawing]:
    for scored in task_columns(results, ungrouped(results)):
        yield _drawing(results, f"pareto_{scored.column.key}", scored.column.title, scored)
    for group in GROUPS:
        if average := average_column(results, group):
            title = f"average of {listed([TITLES[task] for task in in_group(results, group)])}"
            yield _drawing(results, f"pareto_{group}", title, average)


def _drawing(results: Results, name: str, what: str, scored: Scored) -> Drawing:
    cells, points = scored.cells, {}
    methods = shown(results)
    for method in methods:
        measured = results.measure(method)
        peak = measured.content["memory"]["peak"] if measured.status == "ok" else None
        if peak is not None and cells[method].mean is not None:
            points[method] = (peak, cells[method].mean)
    against = f"{what} against memory"
    if not points:
        return Drawing(name, against, "Not drawn: no method has both a score and a measured peak.", None)
    _, divisor, unit, _ = next(s for s in SCALES["bytes"] if max(p for p, _ in points.values()) >= s[0])
    _, share, score_unit, _ = SCALES[scored.column.quantity][0]
    drawing, axes = figure(2.7)
    front = undominated(points)
    steps = sorted((points[method][0] / divisor, points[method][1] / share) for method in front)
    axes.step(*zip(*steps, strict=True), where="post", color="#9a9a9a", linewidth=0.9, zorder=1)
    look_of = looks(results, methods)
    for method, (peak, score) in points.items():
        look = look_of[method]
        spread = (cells[method].spread or 0) / share
        axes.errorbar(
            peak / divisor,
            score / share,
            yerr=spread or None,
            color=look.colour,
            marker=look.marker,
            linestyle="none",
            elinewidth=0.8,
            capsize=2,
            label=results.title(method),
            markerfacecolor=look.colour if method in front else "white",
        )
    for method in methods:
        if method not in results.tuned and (score := cells[method].mean) is not None:
            look, title = look_of[method], results.title(method)
            axes.axhline(score / share, color=look.colour, linestyle=look.line, linewidth=1, label=title)
    axes.margins(0.12)
    axes.set(xlabel=f"peak memory, {unit}", ylabel=f"{scored.column.title}, {score_unit}")
    legend(drawing, axes)
    return Drawing(name, against, _caption(results, points, front), drawing)


def undominated(points: dict[str, tuple[float, float]]) -> list[str]:
    """The methods that no other dominates."""
    return [
        method for method in points if not any(dominates(points[other], points[method]) for other in points)
    ]


def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether `one` takes no more memory, scores no lower, and is better in one of the two."""
    return one[0] <= other[0] and one[1] >= other[1] and one != other


def _caption(results: Results, points: dict[str, tuple[float, float]], front: list[str]) -> str:
    undominated_titles = listed([results.title(method) for method in front])
    caption = f"Up and left is better. Filled and joined: {undominated_titles}, dominated by none."
    for method in points:
        above = [results.title(other) for other in points if dominates(points[other], points[method])]
        caption += f" {results.title(method)} is dominated by {listed(above)}." if above else ""
    caption += hiding(results)
    without = [results.title(m) for m in shown(results) if m in results.tuned and m not in points]
    caption += f" Without a point: {', '.join(without)}." if without else ""
    return caption + " Bars: standard deviation over seeds."
