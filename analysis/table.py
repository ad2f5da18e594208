"""A table as data, and its three printed forms: CSV, Markdown and LaTeX."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

DASH = "–"
# Largest value first: (at least, divide by, unit, decimals).  The last of each list takes the rest.
SCALES = {
    "bytes": [(2**30, 2**30, "GiB", 2), (2**20, 2**20, "MiB", 1), (0, 2**10, "KiB", 1)],
    "seconds": [(7200, 3600, "h", 2), (1, 1, "s", 2), (0, 1e-3, "ms", 2)],
    "fraction": [(0, 0.01, "%", 1)],
    "score": [(0, 1, "1–10", 2)],
    "rate": [(0, 1, "tokens/s", 0)],
    "loss": [(0, 1, "nats", 3)],
}


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
    return f"{column.title}, {'points' if points else scale[2]}"


def _text(cell: Cell, column: Column, scale: tuple | None) -> str:
    if cell.mean is None or scale is None:
        return cell.word or DASH
    _, divisor, _, decimals = scale
    text = f"{cell.mean / divisor:{'+' if column.signed else ''}.{decimals}f}"
    if cell.spread is not None:
        text += f" ± {cell.spread / divisor:.{decimals}f}"
    return text if cell.n is None else f"{text} ({cell.n})"


def to_csv(table: Table) -> str:
    """Plain units (bytes, seconds, fractions); a word stands in `notes`, an empty field is no number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["method", "title"]
    seeded = [any(row.cells[i].n is not None for row in table.rows) for i in range(len(table.columns))]
    for column, many in zip(table.columns, seeded, strict=True):
        header += [column.key, f"{column.key}_sd", f"{column.key}_n"] if many else [column.key]
    writer.writerow([*header, "notes"])
    for row in table.rows:
        fields: list = [row.method, row.title]
        notes = list(row.notes)
        for column, cell, many in zip(table.columns, row.cells, seeded, strict=True):
            fields.append(cell.word if column.quantity is None else cell.mean)
            fields += [cell.spread, cell.n] if many else []
            word = [cell.word] if cell.word and column.quantity else []
            notes += [f"{column.title}: {note}" for note in (*word, *cell.notes)]
        writer.writerow([*fields, "; ".join(notes)])
    return text.getvalue()


def to_markdown(table: Table) -> str:
    def mark(notes: tuple[str, ...]) -> str:
        return f"<sup>{table.marks(notes)}</sup>" if notes else ""

    lines = [f"**{table.title}.** {table.caption}", ""]
    lines.append("| " + " | ".join(["method", *table.headings()]) + " |")
    lines.append("|" + "|".join(["---", *("---:" for _ in table.columns)]) + "|")
    for row, texts in table.texts():
        cells = [
            (f"**{text}**" if cell.bold else text) + mark(cell.notes)
            for text, cell in zip(texts, row.cells, strict=True)
        ]
        lines.append("| " + " | ".join([row.title + mark(row.notes), *cells]).replace("\n", " ") + " |")
    for remark in table.remarks:
        lines += ["", remark]
    if table.footnotes():
        lines.append("")
        lines += [f"<sup>{number}</sup> {note}  " for number, note in enumerate(table.footnotes(), start=1)]
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    """A `table` environment with booktabs rules; needs `\\usepackage{booktabs}`."""

    def mark(notes: tuple[str, ...]) -> str:
        return f"$^{{{table.marks(notes)}}}$" if notes else ""

    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(table.title)}. {_tex(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(["method", *map(_tex, table.headings())]) + r" \\",
        r"\midrule",
    ]
    for row, texts in table.texts():
        cells = [
            (rf"\textbf{{{_tex(text)}}}" if cell.bold else _tex(text)) + mark(cell.notes)
            for text, cell in zip(texts, row.cells, strict=True)
        ]
        lines.append(" & ".join([_tex(row.title) + mark(row.notes), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    below = [_tex(remark) for remark in table.remarks]
    below += [rf"$^{{{number}}}$ {_tex(note)}" for number, note in enumerate(table.footnotes(), start=1)]
    lines += [rf"\par\smallskip\footnotesize\raggedright {line}" for line in below]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


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
