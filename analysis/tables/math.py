"""Mathematical reasoning, zero-shot in the paper: a column per task, and their average."""

from analysis.collect import Results
from analysis.scores import group_table
from analysis.table import Table


def table(results: Results) -> Table | None:
    return group_table(results, "math", "Mathematical reasoning")
