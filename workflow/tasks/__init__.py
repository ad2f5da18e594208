"""The data sets: one file each, found by scanning this folder.

A task file defines

`COLUMNS`   the columns of a row and their Python types, those of the hub's data set;
`example`   `example(row, template) -> [(text, is_answer), ...]`: the row as training
            text, cut into pieces of prompt and answer, worded as the evaluation words
            it; the loss counts the answers only;
`rows`      where it is there, `rows(source) -> rows`: brings rows of another release into
            these columns, or leaves some out;
`question`, `right`  of a task that MAmmoTH's evaluation asks: its question and right answer;
`sentences` of a task that a classifier can learn: the one or two texts it reads.
"""

import importlib
import pkgutil
from functools import cache
from types import ModuleType


@cache
def tasks() -> dict[str, ModuleType]:
    """Every task by name, sorted."""
    names = sorted(entry.name for entry in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}
