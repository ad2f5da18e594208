"""What the tuned models can do: a column per task, and the loss on held-out answers."""

from analysis.collect import Results
from analysis.scores import held_out_column, score_table, task_columns, ungrouped
from analysis.table import Table


def table(results: Results) -> Table:
    scored = [*task_columns(results, ungrouped(results)), held_out_column(results)]
    return score_table(results, "accuracy", "Accuracy", scored)
