"""Time of a training step by phase, tokens a second, and seconds of the whole training."""

from analysis.cells import BOLD_RULE, cell_of, cell_over_seeds, conditions, numbers, place, with_bold
from analysis.collect import Results
from analysis.published import Published
from analysis.table import Cell, Column, Row, Table

PHASES = ("forward", "backward", "update", "step")


def table(results: Results) -> Table | None:
    """None where the configuration asks for no measurement."""
    if results.config["measure"] is None:
        return None
    columns = [Column(f"{phase}_seconds", phase, "seconds", group="step") for phase in PHASES]
    columns += [
        Column("tokens_per_second", "throughput", "rate"),
        Column("training_seconds", "training", "seconds", group="training"),
    ]
    steps, training, samples = {}, {}, {}
    for method in results.tuned:
        measured = results.measure(method)
        fused = "update: done inside backward"
        steps[method] = [cell_of(measured, "time", key, fused) for key in (*PHASES, "tokens_per_second")]
        runs = {seed: results.train(method, seed) for seed in results.seeds(method)}
        samples[method] = numbers(runs, lambda run: run.get("training", {}).get("seconds"))
        training[method] = cell_over_seeds(runs, samples[method], Cell(notes=("nothing was trained",)))
    training = with_bold(results, training, samples, higher=False)
    published = Published(results, "time", "training")
    columns += published.columns(columns[-1])
    rows = [
        Row(
            method,
            results.title(method),
            [*steps[method], training[method], *published.cells(method, training[method], {})],
            tuple(results.notes(method)),
        )
        for method in results.tuned
    ]
    caption = (
        f"{conditions(results)} Medians over the measured steps; training is the steps of whole runs, (n)."
    )
    by_step = {method: cells[PHASES.index("step")] for method, cells in steps.items()}
    places = [
        place(results, what, cells, higher=False)
        for what, cells in (("time of a step", by_step), ("training time", training))
    ]
    return Table("time", "Time", caption, columns, rows, [" ".join(places), BOLD_RULE])
