"""Seeded generators for the embedded experiment: small data in the shapes of the real sets.

Each module is named like the task it stands in for and defines

`generate`  `generate(split, size, seed) -> rows` with the columns of the task;
            no question appears in two splits;
`corpus`    `corpus(size, seed) -> texts` for pre-training: the same knowledge in plain
            sentences, never in the wording of the task, so that fine-tuning has
            something to build on and something left to teach.
"""

import importlib
import pkgutil
import random
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType

SPLITS = {"train": 6, "dev": 1, "test": 3}  # how many keys in ten
PATIENCE = 10_000  # draws in a row without a new row, after which there is none


@cache
def generators() -> dict[str, ModuleType]:
    """Every generator by the name of its task."""
    names = sorted(entry.name for entry in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


def distinct(
    draw: Callable[[random.Random], tuple[str, dict]], split: str, size: int, seed: int
) -> Iterator[dict]:
    """`size` rows of one split, no key twice, no key shared with another split.

    `draw` returns a key and a row.  The key alone decides the split it belongs to,
    so that splits are disjoint whatever their sizes.  Raises ValueError when draw
    after draw brings nothing new.
    """
    rng = random.Random(f"{split} {seed}")
    seen: set[str] = set()
    misses = 0
    while len(seen) < size:
        key, row = draw(rng)
        if key not in seen and random.Random(key).choices(*zip(*SPLITS.items(), strict=True)) == [split]:
            seen.add(key)
            misses = 0
            yield row
        elif (misses := misses + 1) > PATIENCE:
            raise ValueError(f"the generator found only {len(seen)} distinct rows for the {split} split")
