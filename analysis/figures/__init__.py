"""The figures: one file each, found by scanning this folder.

A figure file defines `draw(results)`, which yields one `Drawing` or several.
"""

import importlib
import json
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from analysis.collect import Results
from analysis.files import write_file
from analysis.style import Drawing, save


def drawings(results: Results) -> Iterator[Drawing]:
    for name in sorted(entry.name for entry in pkgutil.iter_modules(__path__) if entry.name != "__main__"):
        traced, files = results.traced(), ()
        for drawing in importlib.import_module(f"{__name__}.{name}").draw(traced):
            files = traced.taken() or files  # what reads nothing new is made from what the one before was
            yield drawing._replace(files=files)


def write(results: Results) -> None:
    save_all(drawings(results), results.folder)


def save_all(made: Iterable[Drawing], experiment: Path) -> None:
    """`figures/<name>.svg` and `.png`, and `figures/captions.json`: what each shows, drawn or not."""
    folder = experiment / "figures"
    captions = []
    for drawing in made:
        captions.append({key: value for key, value in drawing._asdict().items() if key != "figure"})
        captions[-1]["drawn"] = drawing.figure is not None
        if drawing.figure is not None:
            save(drawing.figure, folder / drawing.name)
    write_file(folder / "captions.json", json.dumps(captions, indent=2) + "\n")
    drawn = {caption["name"] for caption in captions if caption["drawn"]}
    for path in folder.glob("*.*"):  # of an earlier run, when there was something else to draw
        if path.stem not in drawn | {"captions"}:
            path.unlink()
