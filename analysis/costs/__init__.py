"""Memory and time of training steps, measured and predicted: their tables and figures.

The results of `workflow.steps.cost` are no experiment: nothing was trained or evaluated, and a grid that was
stopped is as good as a finished one.  So they are read, and shown, apart from the others.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from analysis.cells import SUBJECT
from analysis.collect import flaw
from analysis.files import InputError

PATTERN = "*/b*-l*-*/*.json"
GIB = 2**30
MODELS = {
    "llama2-7b": "Llama 2-7B",
    "llama2-13b": "Llama 2-13B",
    "llama3-8b": "Llama 3-8B",
    "llama3-70b": "Llama 3-70B",
}
SHARED = "shared"  # the setting that all methods are compared in


@dataclass(frozen=True)
class Cost:
    """One result file and, where there is one, its prediction."""

    place: str  # below the folder
    content: dict[str, Any]
    predicted: dict[str, Any] | None

    @property
    def config(self) -> dict[str, Any]:
        return self.content["config"]

    @property
    def method(self) -> str:
        return self.config["entry"]

    @property
    def adapter(self) -> str:
        return self.config["settings"]["method"]

    @property
    def title(self) -> str:
        """The name in tables and figures: of ChunkFT with K; outside the shared setting, with that."""
        family, settings = self.content["title"].partition(" (")[0], self.config["settings"]
        variant = f" ({self.method.removeprefix(self.adapter + '-')})" if self.method != self.adapter else ""
        if self.adapter == SUBJECT:
            streamed = "" if settings["resident"] else ", streamed"
            strided = "" if settings["partition"] == "contiguous" else f", {settings['partition']}"
            variant = f", K = {settings['chunks']}{streamed}{strided}"
        setting = "" if self.config["setting"] == SHARED else f", {self.config['setting']}"
        return family + variant + setting

    @property
    def model(self) -> str:
        return MODELS.get(self.config["model"], self.config["model"])

    @property
    def ok(self) -> bool:
        return self.content["status"] == "ok"

    @property
    def time(self) -> dict[str, Any] | None:
        return self.content["time"] if self.ok else None

    @property
    def peak(self) -> int | None:
        return self.content["memory"]["peak"] if self.ok else None


@dataclass(frozen=True)
class Group:
    """The results for one model, batch size and length, in the order of the names of methods."""

    costs: list[Cost]

    @property
    def name(self) -> str:
        config = self.costs[0].config
        return f"{config['model']}_b{config['batch_size']}_l{config['length']}"

    @property
    def title(self) -> str:
        config = self.costs[0].config
        return f"{self.costs[0].model}, batch {config['batch_size']}, length {config['length']}"

    @property
    def made_on(self) -> str:
        """Such as "NVIDIA H200, bfloat16 weights, torch 2.11.0"."""
        ways = {
            f"{', '.join(c.content['provenance']['hardware']['gpus']) or 'CPU'}, "
            f"{c.config['precision']} weights, torch {c.content['provenance']['versions']['torch']}"
            for c in self.costs
        }
        return "; ".join(sorted(ways))


@dataclass(frozen=True)
class Costs:
    folder: Path
    costs: list[Cost]

    @cached_property
    def groups(self) -> list[Group]:
        def key(cost: Cost) -> tuple:
            return cost.config["model"], cost.config["batch_size"], cost.config["length"]

        return [Group(list(found)) for _, found in groupby(sorted(self.costs, key=key), key)]

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(cost.method for cost in self.costs))

    def adapter(self, method: str) -> str:
        return next(cost.adapter for cost in self.costs if cost.method == method)


def is_cost_folder(folder: Path) -> bool:
    return not (folder / "config.json").exists() and any(folder.glob(PATTERN))


def read(folder: Path) -> Costs:
    """Every result below `folder`, checked.  InputError names the first that cannot be read."""
    path = folder / "predicted.json"
    predicted = json.loads(path.read_text())["cases"] if path.exists() else {}
    costs = []
    for path in sorted(folder.glob(PATTERN)):
        place = path.relative_to(folder).as_posix()
        try:
            content = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"{path} is not JSON ({error}); remove it to have it measured again") from None
        wrong = flaw(content)
        if wrong is not None:
            raise InputError(f"{path}: {wrong}; remove it to have it measured again")
        if not content["config"]["renewal"]:  # of a decomposition, beside the step
            costs.append(Cost(place, content, predicted.get(place)))
    return Costs(folder, costs)


def write(folder: Path) -> None:
    """The tables and figures of the cost results in `folder`."""
    from analysis import figures, tables
    from analysis.costs import figures as draw
    from analysis.costs import tables as make

    costs = read(folder)
    tables.save(make.tables(costs), folder)
    figures.save_all(draw.drawings(costs), folder)
