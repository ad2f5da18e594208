"""Time of a training step by phase, tokens a second, and seconds of the whole training."""

from analysis.cells import BOLD_RULE, cell_of, cell_over_seeds, conditions, place, with_bold
from analysis.collect import Results
from analysis.published import Published
from analysis.table import Column, Row, Table

PHASES = ("forward", "backward", "update", "step")


def table(results: Results) -> Table:
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
        training[method] = cell_over_seeds(runs, _seconds, "nothing was trained")
        samples[method] = {s: run.content["training"]["seconds"] for s, run in runs.items() if run.status == "ok"}
    training = with_bold(training, samples, higher=False)
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
    caption = f"{conditions(results)} Medians over the measured steps; training counts its own steps alone, (n seeds)."
    by_step = {method: cells[PHASES.index("step")] for method, cells in steps.items()}
    remarks = place(results, "time of a step", by_step, higher=False)
    remarks += place(results, "training time", training, higher=False) + [BOLD_RULE]
    return Table("time", "Time", caption, columns, rows, remarks)


def _seconds(run: dict) -> float | None:
    return run["training"]["seconds"] if "training" in run else None
