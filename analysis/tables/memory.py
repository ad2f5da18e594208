"""Peak memory of a training step, by what is alive at the peak."""

from analysis.cells import PARTS, cell_of, conditions, place
from analysis.collect import Results
from analysis.published import Published
from analysis.table import Column, Row, Table

COLUMNS = (*PARTS, "peak", "process")


def table(results: Results) -> Table | None:
    """None where the configuration asks for no measurement."""
    if results.config["measure"] is None:
        return None
    columns = [Column(f"{part}_bytes", part, "bytes", group="bytes") for part in COLUMNS]
    outcomes = {method: results.measure(method) for method in results.tuned}
    cells = {
        method: [
            cell_of(outcome, "memory", part, f"{part}: not told apart on this device") for part in COLUMNS
        ]
        for method, outcome in outcomes.items()
    }
    peaks = {method: row[COLUMNS.index("peak")] for method, row in cells.items()}
    published = Published(results, "memory", "peak")
    columns += published.columns(columns[COLUMNS.index("peak")])
    rows = []
    for method in results.tuned:
        batch = (outcomes[method].content or {}).get("batch", {})
        beside = published.cells(method, peaks[method], batch)
        rows.append(Row(method, results.title(method), cells[method] + beside, tuple(results.notes(method))))
    caption = (
        f"{conditions(results)} The parts are those alive at the peak; process is the peak resident set."
    )
    return Table(
        "memory", "Memory", caption, columns, rows, [place(results, "peak memory", peaks, higher=False)]
    )
