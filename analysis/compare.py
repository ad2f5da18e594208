"""Two result sets side by side: before and after a change, this card and that one.

`python -m analysis.compare results/before results/after` prints how the two were made differently,
then a table of A, B and B - A for every number that both have.
"""

from dataclasses import replace

from analysis.collect import Results
from analysis.report import provenance
from analysis.stage import stage
from analysis.table import Cell, Column, Row, Table, to_markdown
from analysis.tables import tables

ABSENT = Cell(word="not there")


def write(a: Results, b: Results) -> None:
    print(f"# {a.folder} (A) and {b.folder} (B)\n")
    for name, results in (("A", a), ("B", b)):
        for file, why in results.left_out.items():
            print(f"- {name}: left out {file}: {why}")
    for line in made_differently(a, b):
        print(f"- {line}")
    for table in compared(a, b):
        print(f"\n{to_markdown(table)}", end="")


def made_differently(a: Results, b: Results) -> list[str]:
    """What differs in where the two sets come from and in their configurations: "key: A | B"."""
    both = [method for method in a.methods if method in b.methods]
    one, other = (
        {what: ", ".join(values) for what, values in provenance(results)}
        | flat(results.config | {"methods": {m: results.config["methods"][m] for m in both}}, "config")
        for results in (a, b)
    )
    keys = [key for key in one | other if one.get(key) != other.get(key)]
    lines = [f"{key}: {one.get(key, '–')} | {other.get(key, '–')}" for key in keys]
    for name, results in (("A", a), ("B", b)):
        alone = [results.title(method) for method in results.methods if method not in both]
        lines += [f"in {name} alone: {', '.join(alone)}"] if alone else []
    return lines


def flat(config: dict, place: str) -> dict[str, object]:
    """A nested mapping as one, keys joined by dots."""
    found: dict[str, object] = {}
    for key, value in config.items():
        found |= flat(value, f"{place}.{key}") if isinstance(value, dict) else {f"{place}.{key}": value}
    return found


def compared(a: Results, b: Results) -> list[Table]:
    """A table for each column of numbers that both sets have, a row for each method that either has."""
    theirs = {table.name: table for table in tables(b)}
    return [
        side_by_side(table, theirs[table.name], column)
        for table in tables(a)
        if table.name in theirs and len({row.method for row in table.rows}) == len(table.rows)
        for column in table.columns
        if column.quantity and not column.signed and column in theirs[table.name].columns
    ]


def side_by_side(a: Table, b: Table, column: Column) -> Table:
    one, other = (
        dict(zip((r.method for r in t.rows), (r.cells[t.columns.index(column)] for r in t.rows), strict=True))
        for t in (a, b)
    )
    titles = {row.method: row.title for row in (*b.rows, *a.rows)}
    order = dict.fromkeys(row.method for row in (*a.rows, *b.rows))
    rows = []
    for method in order:
        cells = [replace(found.get(method, ABSENT), bold=False) for found in (one, other)]
        rows.append(Row(method, titles[method], [*cells, *_difference(*cells)]))
    columns = [
        Column("a", "A", column.quantity, group="value"),
        Column("b", "B", column.quantity, group="value"),
        Column("difference", "B - A", column.quantity, group="value", signed=True),
        Column("change", "change", "fraction"),
    ]
    caption = "" if a.caption == b.caption else f"A: {a.caption} B: {b.caption}"
    return Table(f"{a.name}_{column.key}", f"{a.title}, {column.title}", caption, columns, rows)


def _difference(one: Cell, other: Cell) -> list[Cell]:
    """B - A, and that as a share of A."""
    if one.mean is None or other.mean is None:
        return [Cell(), Cell()]
    by = other.mean - one.mean
    return [Cell(by), Cell(by / one.mean) if one.mean else Cell()]


if __name__ == "__main__":
    stage(write, "show two experiments' results side by side", "A", "B")
