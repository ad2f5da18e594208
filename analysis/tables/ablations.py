"""What a method's parameters do: a row for each setting, at the best of its learning rates."""

from typing import Any

import pandas as pd

from analysis.cells import cell_over_seeds, held_out, numbers, place, with_bold
from analysis.collect import Results
from analysis.scores import task_columns
from analysis.table import Cell, Column, Row, Table
from analysis.titles import RATE, named
from analysis.variants import alike, best_rates, families, is_numeric, status, varied

UNTRAINED = Cell(notes=("nothing was trained",))


def table(results: Results) -> Table | None:
    """None where no method has entries that differ in their parameters."""
    frames = families(results)
    if not frames:
        return None
    settings = pd.concat([best_rates(frame) for frame in frames.values()])
    names = list(dict.fromkeys(name for frame in frames.values() for name in varied(frame, rate=False)))
    alone = [method for method in results.tuned if results.adapter(method) not in frames]
    methods = [method for method in results.tuned if method in settings.index or method in alone]
    losses, times, samples = {}, {}, {}
    for method in methods:
        runs, samples[method] = held_out(results, method)
        losses[method] = cell_over_seeds(runs, samples[method], UNTRAINED)
        seconds = numbers(runs, lambda run: run.get("training", {}).get("seconds"))
        times[method] = cell_over_seeds(runs, seconds, UNTRAINED)
    losses = with_bold(results, losses, samples, higher=False)
    numeric = {name: is_numeric(settings[name]) for name in names}
    columns = [Column(name, named(name), "number" if numeric[name] else None) for name in names]
    columns += [Column(RATE, named(RATE), "number"), Column("rates", "rates tried", "number")]
    scored = list(task_columns(results, results.tasks))
    columns += [
        *(one.column for one in scored),
        Column("validation_loss", "held-out loss", "loss"),
        Column("training_seconds", "training", "seconds"),
    ]
    idle = {method for method in results.tuned if status(results, method) == "not run"}
    rows = []
    for method in methods:
        own = {"steps": results.config["train"].get("steps")} | results.config["methods"][method]
        cells = [_cell(own.get(name), numeric[name]) for name in names]
        frame = frames.get(results.adapter(method))
        tried = {method} if frame is None else set(alike(frame, method).index)
        cells += [Cell(own.get(RATE)), Cell(len(tried - idle))]
        cells += [*(one.cells[method] for one in scored), losses[method], times[method]]
        rows.append(Row(method, results.family(method), cells))
    caption = "Of the learning rates tried for a setting the one with the least held-out loss stands here."
    caption += f" {len(idle)} of {len(results.tuned)} entries were not run." if idle else ""
    return Table(
        "ablations", "Ablations", caption, columns, rows, [place(results, "held-out loss", losses, False)]
    )


def _cell(value: Any, numeric: bool) -> Cell:
    if value is None:
        return Cell()
    return Cell(mean=value) if numeric else Cell(word=str(value))
