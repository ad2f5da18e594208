"""Tables of what a training step costs: predicted, measured and published."""

from analysis import published
from analysis.cells import PARTS
from analysis.costs import Cost, Costs, Group
from analysis.costs.targets import targets
from analysis.table import Cell, Column, Row, Table

PHASES = ("forward", "backward", "update", "step")


def tables(costs: Costs) -> list[Table]:
    made = [table for group in costs.groups for table in (memory(group), time(group)) if table is not None]
    return [table for table in (targets(costs), agreement(costs), *made) if table is not None]


def memory(group: Group) -> Table:
    columns = [Column(f"{part}_bytes", part, "bytes", group="bytes") for part in (*PARTS, "peak")]
    columns += [
        Column("predicted_bytes", "predicted", "bytes", group="bytes"),
        Column("predicted_difference", "predicted less peak", "fraction"),
    ]
    by_hand = {cost.place: _formula(cost) for cost in group.costs}
    if any(cell.mean for cell in by_hand.values()):
        columns += [Column("formula_bytes", "by formula", "bytes", group="bytes")]
    else:
        by_hand = {}
    beside = {cost.place: _published(cost, "memory", "peak", cost.peak) for cost in group.costs}
    known = any(cells[0].mean is not None for cells in beside.values())
    if known:
        columns += [
            Column("published_bytes", "published", "bytes", group="bytes"),
            Column("verdict", "verdict", None),
        ]
    rows = []
    for cost in sorted(group.costs, key=lambda cost: (cost.peak is None, cost.peak)):
        found = cost.content["memory"] if cost.ok else {}
        cells = [Cell(found[part]) if cost.ok else _word(cost) for part in (*PARTS, "peak")]
        cells += _prediction(cost) + ([by_hand[cost.place]] if by_hand else [])
        cells += beside[cost.place] if known else []
        rows.append(Row(cost.method, cost.title, cells))
    caption = (
        f"{group.title}; {group.made_on}. Peak: the most the CUDA allocator handed out. The parts are those "
        "alive at the peak; activations hold logits and all that is transient. Predicted without a GPU. The "
        "formula is of weights, gradients and optimizer: M parameters in D layers, A trained, in K chunks."
    )
    files = tuple(cost.place for cost in group.costs)
    return Table(f"memory_{group.name}", "Memory of a training step", caption, columns, rows, files=files)


def time(group: Group) -> Table | None:
    """None where nothing was timed."""
    timed = [cost for cost in group.costs if cost.time]
    if not timed:
        return None
    epoch = published.facts()["epoch"]
    columns = [Column(f"{phase}_seconds", phase, "seconds", group="step") for phase in PHASES]
    columns += [
        Column("estimated_seconds", "roofline", "seconds", group="step"),
        Column("tokens_per_second", "throughput", "rate"),
        Column("epoch_seconds", f"epoch of {epoch['data']}", "seconds"),
    ]
    beside = {cost.place: _published(cost, "time", "training", _epoch(cost)) for cost in timed}
    known = any(cells[0].mean is not None for cells in beside.values())
    if known:
        columns += [Column("published_seconds", "published", "seconds"), Column("verdict", "verdict", None)]
    rows = []
    for cost in sorted(timed, key=lambda cost: cost.time["step"]):
        cells = [Cell(cost.time[phase]) for phase in PHASES]
        cells += [Cell(_roofline(cost)), Cell(cost.time["tokens_per_second"]), Cell(_epoch(cost))]
        rows.append(Row(cost.method, cost.title, cells + (beside[cost.place] if known else [])))
    caption = (
        f"{group.title}; {group.made_on}. No update where it happens inside backward. Roofline: an estimate "
        "of the least a step can take, from the card's peak rates. An epoch is "
        f"{epoch['samples']} sequences of this length, each step with its part of switching."
    )
    files = tuple(cost.place for cost in timed)
    return Table(f"time_{group.name}", "Time of a training step", caption, columns, rows, files=files)


def agreement(costs: Costs) -> Table | None:
    """How far predictions are from what was measured, by method; None where nothing was predicted."""
    columns = [
        Column("cases", "cases", "number"),
        Column("mean_difference", "mean", "fraction"),
        Column("largest_difference", "largest", "fraction"),
        Column("largest_case", "where", None),
    ]
    rows = []
    for method in sorted(costs.methods):
        both = [c for c in costs.costs if c.method == method and c.ok and _predicted(c)]
        if both:
            away = {c.place: _predicted(c) / c.peak - 1 for c in both}
            worst = max(away, key=lambda place: abs(away[place]))
            cells = [Cell(len(both)), Cell(sum(away.values()) / len(away)), Cell(away[worst])]
            where = worst.removesuffix(f"/{method}.json")
            rows.append(Row(method, both[0].title, [*cells, Cell(word=where)]))
    caption = "Predicted less measured peak, as a share of what was measured."
    files = tuple(cost.place for cost in costs.costs)
    return Table("prediction", "Prediction", caption, columns, rows, files=files) if rows else None


def _epoch(cost: Cost) -> float:
    """Seconds of all samples of the named data at this length."""
    return published.facts()["epoch"]["samples"] * cost.config["length"] / cost.time["tokens_per_second"]


def _roofline(cost: Cost) -> float | None:
    """Estimated for the card it was measured on."""
    gpus = " ".join(cost.content["provenance"]["hardware"]["gpus"])
    seconds = (cost.predicted or {}).get("seconds") or {}
    return next((value for card, value in seconds.items() if card in gpus), None)


def _formula(cost: Cost) -> Cell:
    found = (cost.predicted or {}).get("formula")
    return Cell(found["bytes"], notes=(found["text"],)) if found else Cell()


def _predicted(cost: Cost) -> int | None:
    return cost.predicted["peak"] if cost.predicted else None


def _prediction(cost: Cost) -> list[Cell]:
    predicted = _predicted(cost)
    if predicted is None:
        why = (cost.predicted["reason"],) if cost.predicted else ()
        return [Cell(word=cost.predicted["status"] if cost.predicted else None, notes=why), Cell()]
    return [Cell(predicted), Cell(predicted / cost.peak - 1 if cost.peak else None)]


def _word(cost: Cost) -> Cell:
    reason = cost.content["reason"]
    return Cell(word=cost.content["status"], notes=(reason,) if reason else ())


def _published(cost: Cost, table: str, column: str, ours: float | None) -> list[Cell]:
    """The published number made under the most like conditions, and the verdict."""
    under = dict(cost.content.get("batch", {}))
    under |= {"hardware": ", ".join(cost.content["provenance"]["hardware"]["gpus"])}
    found = []
    for entry in published.facts()["entries"]:
        here = (entry["table"], entry["column"], entry["model"]) == (table, column, cost.model)
        value = published.value_of(entry, cost.method, cost.adapter) if here else None
        if value is not None:
            found.append((published.differences(entry["conditions"], under), value, entry))
    if not found:
        return [Cell(), Cell()]
    unlike, value, entry = min(found, key=lambda each: len(each[0]))
    return [*published.beside(entry, value, ours, unlike)]
