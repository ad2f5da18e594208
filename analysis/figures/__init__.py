"""The figures: one file each, found by scanning this folder.

A figure file defines `draw(results)`, which yields one `Drawing` or several.
"""

import importlib
import json
import pkgutil

from analysis.collect import Results
from analysis.files import write_file
from analysis.style import Drawing, save


def drawings(results: Results) -> list[Drawing]:
    names = sorted(entry.name for entry in pkgutil.iter_modules(__path__) if entry.name != "__main__")
    return [d for name in names for d in importlib.import_module(f"{__name__}.{name}").draw(results)]


def write(results: Results) -> None:
    """`figures/<name>.svg` and `.png`, and `figures/captions.json`: what each shows, drawn or not."""
    folder = results.folder / "figures"
    captions = []
    for drawing in drawings(results):
        captions.append({"name": drawing.name, "title": drawing.title, "caption": drawing.caption})
        captions[-1]["drawn"] = drawing.figure is not None
        if drawing.figure is not None:
            save(drawing.figure, folder / drawing.name)
        else:
            for suffix in (".svg", ".png"):  # of an earlier run, when there was something to draw
                (folder / drawing.name).with_suffix(suffix).unlink(missing_ok=True)
    write_file(folder / "captions.json", json.dumps(captions, indent=2) + "\n")
