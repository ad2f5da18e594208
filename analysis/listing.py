"""`results.csv`, every result of an experiment, and `left_out.csv`, the files that cannot be trusted."""

import pandas as pd

from analysis.collect import Results, schema
from analysis.files import write_file
from analysis.stage import stage

SECTIONS = ("training", "evaluation", "memory", "time", "batch")


def _columns(section: str) -> list[str]:
    """The numbers and words of a section, in the schema's order: no curves, no nested scores."""
    properties = schema()["properties"][section].get("properties", {})
    return [name for name, kind in properties.items() if kind.get("type") not in ("object", "array")]


def write(results: Results) -> None:
    """`results.csv`: a row per planned result, run or not; `left_out.csv`: file and reason."""
    keys = [(section, column) for section in SECTIONS for column in _columns(section)]
    rows = []
    for planned in results.planned():
        outcome, file = planned.outcome, planned.outcome.content or {}
        row = {"file": planned.path, "kind": planned.kind, "method": planned.method}
        row |= {"title": results.title(planned.method), "seed": planned.seed, "task": planned.task}
        row |= {"status": outcome.status, "reason": outcome.reason, "run_id": file.get("run_id")}
        row |= {key: file.get("provenance", {}).get(key) for key in ("commit", "dirty", "date")}
        row |= {f"{section}.{column}": file.get(section, {}).get(column) for section, column in keys}
        rows.append(row)
    left_out = pd.DataFrame(results.left_out.items(), columns=["file", "why"])
    for name, frame in (("results", pd.DataFrame(rows, dtype=object)), ("left_out", left_out)):
        write_file(results.folder / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    stage(write, "list every result file of an experiment in results.csv, and those left out in left_out.csv")
