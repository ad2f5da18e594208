"""Language understanding: GLUE's tasks and their average."""

from analysis.collect import Results
from analysis.scores import group_table
from analysis.table import Table


def table(results: Results) -> Table | None:
    return group_table(results, "glue", "GLUE")
