"""Published numbers beside ours: value, difference and verdict, from `published.yaml`."""

from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath

import yaml

from analysis.cells import SUBJECT
from analysis.collect import Results
from analysis.table import Cell, Column

FILE = Path(__file__).with_suffix(".yaml")
UNITS = {"GB": 1e9, "GiB": 2**30, "h": 3600, "fraction": 1, "score": 1}


class Published:
    """The published numbers for one column of one table, for the model an experiment is about."""

    def __init__(self, results: Results, table: str, column: str):
        self.results = results
        self.model = model_of(results.config)
        self.entries = [
            entry
            for entry in facts()["entries"]
            if (entry["table"], entry["column"]) == (table, column) and entry["model"] == self.model
        ]

    def columns(self, ours: Column) -> list[Column]:
        """Three columns beside `ours`; none where nothing was published for this model."""
        if not self.entries:
            return []
        return [
            replace(ours, key=f"{ours.key}_published", title=f"{ours.title} published"),
            replace(ours, key=f"{ours.key}_difference", title="difference", signed=True),
            Column(f"{ours.key}_verdict", "verdict", None),
        ]

    def cells(self, method: str, ours: Cell, conditions: dict) -> list[Cell]:
        """The cells of `columns`; `conditions` are those our number was made under.

        Of several published numbers the first one made under our conditions is
        taken, else the first.
        """
        if not self.entries:
            return []
        adapter = self.results.adapter(method)
        known = [entry for entry in self.entries if value_of(entry, method, adapter) is not None]
        if not known:
            return [Cell(notes=("not published, or not known here",)), Cell(), Cell()]
        ours_under = conditions | training(self.results.config)
        differing = [differences(entry["conditions"], ours_under) for entry in known]
        entry, unlike = min(zip(known, differing, strict=True), key=lambda pair: bool(pair[1]))
        published, verdict = beside(entry, value_of(entry, method, adapter), ours.mean, unlike)
        comparable = ours.mean is not None and not unlike
        return [published, Cell(mean=ours.mean - published.mean) if comparable else Cell(), verdict]


@cache
def facts() -> dict:
    return yaml.safe_load(FILE.read_text())


def model_of(config: dict) -> str | None:
    """The name in `published.yaml` of the model a configuration starts from; None for any other."""
    path = (config.get("model") or {}).get("path") or ""
    last = PurePosixPath(path).name.lower()
    return next((name for name, ends in facts()["models"].items() if last in ends), None)


def value_of(entry: dict, method: str, adapter: str) -> float | None:
    """What `entry` has for a configuration's `method`, whose file in `baselines/` is `adapter`, if anything.

    A method called otherwise than its file, such as `lora-r100`, differs from the one published; ChunkFT's
    settings do not, since none was published.
    """
    as_published = method == adapter or adapter == SUBJECT
    return entry["values"].get(method, entry["values"].get(adapter) if as_published else None)


def training(config: dict) -> dict:
    """What a published number may depend on besides its own measurement."""
    train, sources = config.get("train", {}), config.get("data", {}).get("sources", {})
    paths = (sources.get(name, {}).get("path", name) for name in train.get("data", {}))
    return {
        "data": "+".join(sorted(PurePosixPath(path).name.lower() for path in paths)),
        "epochs": train.get("epochs"),
        "checkpoints": "the last",
    }


def differences(published: dict, ours: dict) -> list[str]:
    """The conditions that keep two numbers from being compared, in words."""
    unlike = []
    for name, wanted in published.items():
        allowed = wanted if isinstance(wanted, list) else [wanted]
        if wanted is None:
            unlike.append(f"{name.replace('_', ' ')} not stated there")
        elif ours.get(name) not in allowed:
            here = ours.get(name)
            there = " or ".join(map(str, allowed))
            unlike.append(
                f"{name.replace('_', ' ')} {there} there, {'not stated' if here is None else here} here"
            )
    return unlike


def beside(entry: dict, published: float, ours: float | None, unlike: list[str]) -> tuple[Cell, Cell]:
    """The published number, which is in the unit of `entry`, and the verdict on ours beside it."""
    value = published * UNITS[entry["unit"]]
    source = f"{entry['source']}: {facts()['sources'][entry['source']]}"
    shown = Cell(value, notes=(f"{source}; {entry['remark']}" if entry.get("remark") else source,))
    if ours is None or unlike:
        why = "there is no number of ours" if ours is None else "; ".join(unlike)
        return shown, Cell(word="not comparable", notes=(why,))
    within = abs(ours - value) <= tolerance(entry["table"], entry["unit"], value)
    return shown, Cell(word="match" if within else "differs")


def tolerance(table: str, unit: str, value: float) -> float:
    limits = facts()["tolerance"][table]
    return limits["relative"] * abs(value) if "relative" in limits else limits[unit]
