"""A table as data, and its three printed forms: CSV, Markdown and LaTeX."""

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pandas as pd

DASH = "–"
# Largest value first: (at least, divide by, unit, format).  The last of each list takes the rest.
SCALES = {
    "bytes": [(2**30, 2**30, "GiB", ".2f"), (2**20, 2**20, "MiB", ".1f"), (0, 2**10, "KiB", ".1f")],
    "seconds": [(7200, 3600, "h", ".2f"), (1, 1, "s", ".2f"), (0, 1e-3, "ms", ".2f")],
    "fraction": [(0, 0.01, "%", ".1f")],
    "score": [(0, 1, "1–10", ".2f")],
    "rate": [(0, 1, "tokens/s", ".0f")],
    "loss": [(0, 1, "nats", ".3f")],
    "number": [(0, 1, "", "g")],
}
WIDEST = 56  # characters that a column of a two-column paper holds; a wider table takes both columns
LONGEST = 40  # rows that a page of a paper holds; a longer table is broken over pages


@dataclass(frozen=True)
class Cell:
    """A number with its spread over `n` seeds, or a word in its place, or (neither) a dash."""

    mean: float | None = None
    spread: float | None = None
    n: int | None = None  # None: not a matter of seeds
    word: str | None = None
    notes: tuple[str, ...] = ()
    bold: bool = False


@dataclass(frozen=True)
class Column:
    key: str  # in the CSV
    title: str
    quantity: str | None  # a key of SCALES; None for a column of words
    group: str | None = None  # columns of one group share a scale; None: a scale of its own
    signed: bool = False


@dataclass(frozen=True)
class Row:
    method: str
    title: str
    cells: list[Cell]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    name: str
    title: str
    caption: str
    columns: list[Column]
    rows: list[Row]
    remarks: list[str] = field(default_factory=list)
    files: tuple[str, ...] = ()  # the result files it was made from

    def footnotes(self) -> list[str]:
        """Every note once, in reading order; a note's mark is its place here, from 1."""
        notes = (
            note for row in self.rows for note in (*row.notes, *(n for cell in row.cells for n in cell.notes))
        )
        return list(dict.fromkeys(notes))

    def marks(self, notes: tuple[str, ...]) -> str:
        footnotes = self.footnotes()
        return ",".join(str(footnotes.index(note) + 1) for note in notes)

    def headings(self) -> list[str]:
        return [_heading(column, self._scale(column)) for column in self.columns]

    def texts(self) -> Iterator[tuple[Row, list[str]]]:
        """Each row with its cells as they are read, without marks or bold."""
        scales = [self._scale(column) for column in self.columns]
        for row in self.rows:
            columns = zip(self.columns, scales, row.cells, strict=True)
            yield row, [_text(cell, column, scale) for column, scale, cell in columns]

    def _scale(self, column: Column) -> tuple | None:
        if column.quantity is None:
            return None
        group = [
            i for i, c in enumerate(self.columns) if c is column or (column.group and c.group == column.group)
        ]
        values = (abs(row.cells[i].mean) for row in self.rows for i in group if row.cells[i].mean is not None)
        largest = max(values, default=0)
        scales = SCALES[column.quantity]
        return next((scale for scale in scales if largest >= scale[0]), scales[-1])


def _heading(column: Column, scale: tuple | None) -> str:
    if scale is None:
        return column.title
    points = column.signed and column.quantity in ("fraction", "score")
    unit = "points" if points else scale[2]
    return f"{column.title}, {unit}" if unit else column.title


def _text(cell: Cell, column: Column, scale: tuple | None) -> str:
    if cell.mean is None or scale is None:
        return cell.word or DASH
    _, divisor, _, form = scale
    text = f"{cell.mean / divisor:{'+' if column.signed else ''}{form}}"
    if cell.spread is not None:
        text += f" ± {cell.spread / divisor:{form}}"
    return text if cell.n is None else f"{text} ({cell.n})"


def to_csv(table: Table) -> str:
    """Plain units (bytes, seconds, fractions); a word stands in `notes`, an empty field is no number."""
    seeded = {
        c.key for i, c in enumerate(table.columns) if any(row.cells[i].n is not None for row in table.rows)
    }
    records = []
    for row in table.rows:
        record: dict = {"method": row.method, "title": row.title}
        notes = list(row.notes)
        for column, cell in zip(table.columns, row.cells, strict=True):
            record[column.key] = cell.word if column.quantity is None else cell.mean
            if column.key in seeded:
                record |= {f"{column.key}_sd": cell.spread, f"{column.key}_n": cell.n}
            word = [cell.word] if cell.word and column.quantity else []
            notes += [f"{column.title}: {note}" for note in (*word, *cell.notes)]
        records.append(record | {"notes": "; ".join(notes)})
    return pd.DataFrame(records, dtype=object).to_csv(index=False, lineterminator="\n")


def to_markdown(table: Table) -> str:
    def shown(text: str, bold: bool, notes: tuple[str, ...]) -> str:
        return (f"**{text}**" if bold else text) + (f"<sup>{table.marks(notes)}</sup>" if notes else "")

    aligned = ("left", *("right" for _ in table.columns))
    text = f"**{table.title}.** {table.caption}\n\n"
    text += _frame(table, shown).to_markdown(index=False, colalign=aligned, disable_numparse=True) + "\n"
    text += "".join(f"\n{remark}\n" for remark in table.remarks)
    notes = [f"<sup>{number}</sup> {note}  \n" for number, note in enumerate(table.footnotes(), start=1)]
    return text + ("\n" + "".join(notes) if notes else "")


def to_latex(table: Table) -> str:
    """A `table` environment with booktabs rules, `table*` where it is wide, `longtable` where it is long.

    Needs `\\usepackage{booktabs}`, and `longtable` for the last, which LaTeX sets in one column only.
    """

    def shown(text: str, bold: bool, notes: tuple[str, ...]) -> str:
        text = rf"\textbf{{{_tex(text)}}}" if bold else _tex(text)
        return text + (f"$^{{{table.marks(notes)}}}$" if notes else "")

    long = len(table.rows) > LONGEST
    headings = ["method", *map(_stacked, table.headings())]
    text = (
        _frame(table, shown)
        .set_axis(headings, axis="columns")
        .to_latex(
            index=False,
            escape=False,
            column_format="l" + "r" * len(table.columns),
            caption=f"{_tex(table.title)}. {_tex(table.caption)}",
            label=f"tab:{table.name}",
            longtable=long,
        )
    )
    below = [_tex(remark) for remark in table.remarks]
    below += [rf"$^{{{number}}}$ {_tex(note)}" for number, note in enumerate(table.footnotes(), start=1)]
    notes = "".join(rf"\par\smallskip\raggedright {line}" + "\n" for line in below)
    small = "\\footnotesize\\setlength{\\tabcolsep}{3pt}\n"
    if long:
        return "{" + small + text + notes + "\\par}\n"
    star = "*" if _width(table) > WIDEST else ""
    inside = text.removeprefix("\\begin{table}\n").removesuffix("\\end{table}\n")
    return f"\\begin{{table{star}}}\n\\centering{small}{inside}{notes}\\end{{table{star}}}\n"


def _stacked(heading: str) -> str:
    """A heading in LaTeX, broken into lines where it is longer than numbers are."""
    lines = [_tex(line) for line in textwrap.wrap(heading, 12, break_long_words=False)]
    return lines[0] if len(lines) == 1 else r"\shortstack[r]{" + r"\\".join(lines) + "}"


def _width(table: Table) -> int:
    """Characters across the table as LaTeX sets it, about."""
    texts = [[row.title, *cells] for row, cells in table.texts()]
    headings = [max(map(len, heading.split())) for heading in ("method", *table.headings())]
    columns = zip(headings, *([len(text) for text in row] for row in texts), strict=True)
    return sum(max(lengths) + 2 for lengths in columns)


def _frame(table: Table, shown: Callable[[str, bool, tuple[str, ...]], str]) -> pd.DataFrame:
    """The table as it is read; `shown` sets one cell from its text, whether it is bold, and its notes."""
    rows = []
    for row, texts in table.texts():
        cells = zip(texts, row.cells, strict=True)
        rows.append([shown(row.title, False, row.notes), *(shown(t, c.bold, c.notes) for t, c in cells)])
    return pd.DataFrame(rows, columns=["method", *table.headings()])


_TEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "–": "--",
        "\n": " ",
        **{character: "\\" + character for character in "&%$#_{}"},
    }
)


def _tex(text: str) -> str:
    return text.translate(_TEX)
