"""The searches for learning rates: every rate tried, and the held-out loss it gave."""

from analysis.cells import listed
from analysis.collect import Results
from analysis.table import Cell, Column, Row, Table
from analysis.variants import best_line, trials

NO_LOSS = Cell(notes=("no loss is recorded for this rate",))


def table(results: Results) -> Table | None:
    """None where no search is recorded."""
    searched = trials(results)
    several = any(trial.beside for tried in searched.values() for trial in tried)
    rows, last = [], []
    for method, tried in searched.items():
        losses = [trial.loss for trial in tried if trial.loss is not None]
        best = min(losses, default=None)
        for trial in tried:
            missing = Cell(word=trial.status) if trial.status else NO_LOSS
            loss = missing if trial.loss is None else Cell(trial.loss)
            chosen = Cell(word="yes" if trial.loss is not None and trial.loss == best else "no")
            beside = [Cell(word=trial.beside or None)] if several else []
            rows.append(Row(method, results.setting(method), [Cell(trial.lr), *beside, loss, chosen]))
        line = [trial for trial in best_line(tried) if trial.status != "not run"]
        if best is not None and best in (line[0].loss, line[-1].loss):
            last.append(results.setting(method))
    columns = [
        Column("lr", "learning rate", "number"),
        *([Column("beside", "with", None)] if several else []),
        Column("loss", "held-out loss", "loss"),
        Column("best", "best", None),
    ]
    remark = (
        f"The best rate is the smallest or largest tried for {listed(last)}: beyond it was not searched."
        if last
        else "Each best rate lies between others that were tried."
    )
    numbers = {len(tried) for tried in searched.values()}
    runs = f"{' or '.join(map(str, sorted(numbers)))} {'runs' if several else 'rates'}"
    caption = f"{runs} for each method; the loss is that of held-out rows."
    return Table("rates", "Learning rates", caption, columns, rows, [remark])
