"""What ChunkFT was to reach before it was measured, and whether it did."""

from collections.abc import Callable

from analysis.costs import GIB, Cost, Costs
from analysis.table import Cell, Column, Row, Table

B1, B8 = "llama2-7b/b1-l1024-shared", "llama2-7b/b8-l1024-shared"
PRODUCTS, UNCHECKPOINTED = "llama2-7b/b8-l1024-products", "llama2-7b/b8-l1024-uncheckpointed"

# Place of the result, quantity, the most it may be; a step's time is relative to that of another place.
TARGETS: list[tuple[str, str, float]] = [
    (f"{B1}/chunkft-k128-streamed", "peak, GiB", 12.95),
    (f"{B1}/chunkft-k128-streamed", f"step / {B1}/full", 0.5),
    (f"{B1}/chunkft-k128-streamed", "peak over chunks varies, %", 1),
    (f"{B1}/chunkft-k128-streamed", "switching, % of a cycle", 2),
    (f"{B1}/chunkft-k32", "peak, GiB", 15.4),
    (f"{B1}/chunkft-k32", "switching, % of a cycle", 2),
    (f"{PRODUCTS}/chunkft-k128", "peak, GiB", 15.5),
    (f"{PRODUCTS}/chunkft-k128", f"step / {B8}/full", 0.45),
    (f"{PRODUCTS}/chunkft-k128", f"step / {B8}/lora", 0.4),
    (f"{PRODUCTS}/chunkft-k128", f"step / {B8}/lomo", 0.55),
    (f"{PRODUCTS}/chunkft-k128", "peak over chunks varies, %", 1),
    (f"{PRODUCTS}/chunkft-k128", "switching, % of a cycle", 2),
    (f"{UNCHECKPOINTED}/chunkft-k128", f"step / {B8}/full", 0.4),
    ("llama3-70b/b1-l1024-shared/chunkft-k512-streamed", "peak, GiB", 134),
]
OWN: dict[str, Callable[[Cost], float]] = {
    "peak, GiB": lambda cost: cost.peak / GIB,
    "peak over chunks varies, %": lambda cost: 100 * (1 - cost.content["memory"]["peak_lowest"] / cost.peak),
    # below zero is noise
    "switching, % of a cycle": lambda cost: (
        100 * max(cost.time["switch"] or 0, 0) / (cost.time["turn_steps"] * cost.time["step"])
    ),
}


def targets(costs: Costs) -> Table | None:
    """None where none of the cases is among `costs`."""
    cases = {cost.place.removesuffix(".json"): cost for cost in costs.costs if cost.time}
    rows, files = [], []
    for place, quantity, most in TARGETS:
        other = quantity.removeprefix("step / ")
        if place not in cases or quantity not in OWN and other not in cases:
            continue
        case, shown = cases[place], quantity
        if quantity in OWN:
            value = OWN[quantity](case)
        else:
            value = case.time["step"] / cases[other].time["step"]
            shown = f"step / {cases[other].title}'s"
            files.append(cases[other].place)
        files.append(case.place)
        batch = f"{case.model}, batch {case.config['batch_size']}"
        digits = 2 if quantity == "peak, GiB" else 1 if quantity in OWN else 3
        words = (batch, shown, f"{most:g}", f"{value:.{digits}f}", "met" if value <= most else "missed")
        rows.append(Row(case.method, case.title, [Cell(word=word) for word in words]))
    if not rows:
        return None
    titles = {"most": "at most"}
    keys = ("model", "quantity", "most", "measured", "verdict")
    columns = [Column(key, titles.get(key, key), None) for key in keys]
    made_on = "; ".join(sorted({group.made_on for group in costs.groups}))
    caption = f"{made_on}. Set before anything was measured; length 1024, random weights."
    return Table("targets", "Targets", caption, columns, rows, files=tuple(dict.fromkeys(files)))
