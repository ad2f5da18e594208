"""The tables: one file each, found by scanning this folder.

A table file defines `table(results) -> Table`.
"""

import importlib
import pkgutil

from analysis.collect import Results
from analysis.files import write_file
from analysis.table import Table, to_csv, to_latex, to_markdown


def tables(results: Results) -> list[Table]:
    names = sorted(entry.name for entry in pkgutil.iter_modules(__path__) if entry.name != "__main__")
    return [importlib.import_module(f"{__name__}.{name}").table(results) for name in names]


def write(results: Results) -> None:
    """`tables/<name>.csv`, `.md` and `.tex`."""
    for table in tables(results):
        for suffix, form in (("csv", to_csv), ("md", to_markdown), ("tex", to_latex)):
            write_file(results.folder / "tables" / f"{table.name}.{suffix}", form(table))
