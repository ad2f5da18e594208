"""Which bytes of the parameters are trained at which step, for methods that train some at a time."""

from collections.abc import Iterator

from matplotlib.collections import PolyCollection

from analysis.collect import Results
from analysis.style import Drawing, figure, looks
from analysis.table import SCALES
from analysis.variants import hiding, shown

CYCLES = 2  # enough to see the order


def draw(results: Results) -> Iterator[Drawing]:
    for method in shown(results):
        schedule = next(
            filter(None, (recorded(results, method, seed) for seed in results.seeds(method))), None
        )
        if schedule is None:
            continue
        parts, steps = schedule["parts"], schedule["steps"]
        stays = schedule["order"][: CYCLES * len(parts)]
        largest = max(stop for part in parts for _, stop in part)
        _, divisor, unit, _ = next(scale for scale in SCALES["bytes"] if largest >= scale[0])
        boxes = [
            box(turn * steps, (turn + 1) * steps, start / divisor, stop / divisor)
            for turn, part in enumerate(stays)
            for start, stop in parts[part]
        ]
        drawing, axes = figure(2.4)
        colour = looks(results, [method])[method].colour
        # as a picture inside the vector file: a large model has tens of thousands of boxes
        axes.add_collection(PolyCollection(boxes, facecolor=colour, linewidth=0, rasterized=True))
        axes.set(
            xlim=(0, len(stays) * steps),
            ylim=(largest / divisor, 0),
            xlabel="optimizer steps",
            ylabel=f"parameters in the model's order, {unit}",
        )
        caption = (
            f"Coloured: what is trained. {len(parts)} parts, {steps} steps each, the first "
            f"{len(stays)} of {len(schedule['order'])} turns.{hiding(results)}"
        )
        title = f"{results.title(method)}: what is trained when"
        yield Drawing(f"schedule_{method}", title, caption, drawing)


def recorded(results: Results, method: str, seed: int) -> dict | None:
    content = results.train(method, seed).content or {}
    return content.get("training", {}).get("schedule")


def box(left: float, right: float, top: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]
