"""The tables: one file each, found by scanning this folder.

A table file defines `table(results)`: a `Table`, or None where the experiment has nothing for it.
"""

import importlib
import pkgutil
import shutil
from dataclasses import replace
from pathlib import Path

from analysis.collect import Results
from analysis.files import write_file
from analysis.table import Table, to_csv, to_latex, to_markdown


def tables(results: Results) -> list[Table]:
    found = []
    for name in sorted(entry.name for entry in pkgutil.iter_modules(__path__) if entry.name != "__main__"):
        traced = results.traced()
        table = importlib.import_module(f"{__name__}.{name}").table(traced)
        if table is not None and table.rows:
            found.append(replace(table, files=traced.taken()))
    return found


def write(results: Results) -> None:
    save(tables(results), results.folder)


def save(made: list[Table], folder: Path) -> None:
    """`tables/<name>.csv`, `.md` and `.tex`, and nothing of an earlier run beside them."""
    shutil.rmtree(folder / "tables", ignore_errors=True)
    for table in made:
        for suffix, form in (("csv", to_csv), ("md", to_markdown), ("tex", to_latex)):
            write_file(folder / "tables" / f"{table.name}.{suffix}", form(table))
