"""Experiments that train on one task each, as one: a table of SuperGLUE has a column from each of them.

`python -m analysis.join results/superglue results/roberta-large-*` writes the tables of the task groups
to `results/superglue/tables/`.
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from analysis.collect import Outcome, Results, first_change, read
from analysis.files import InputError
from analysis.stage import exit_on_bad_input
from analysis.tables import glue, math, save, superglue

OWN = ("name", "data", "tasks")  # keys of a configuration in which the experiments may differ


@dataclass(frozen=True)
class Joined(Results):
    """Evaluations of several experiments; nothing else can be asked."""

    parts: dict[str, Results] = field(default_factory=dict)  # by task

    def evaluation(self, method: str, seed: int, task: str) -> Outcome:
        return self.parts[task].evaluation(method, seed, task)


def join(folder: Path, experiments: list[Results]) -> Joined:
    """Raises InputError where the experiments are not of the same runs on different tasks."""
    parts: dict[str, Results] = {}
    first = experiments[0]
    for one in experiments:
        change = first_change(_common(one.config), _common(first.config))
        if change or (one.methods, one.config["seeds"]) != (first.methods, first.config["seeds"]):
            why = change or "other methods or seeds"
            raise InputError(f"{one.folder} cannot be joined with {first.folder}: {why}")
        for task in one.tasks:
            if task in parts:
                raise InputError(f"{task} is in {parts[task].folder} and in {one.folder}; name one of them")
            parts[task] = one
    config = first.config | {
        "name": folder.name,
        "tasks": {t: r.config["tasks"][t] for t, r in parts.items()},
    }
    files = {f"{one.folder}/{path}": file for one in experiments for path, file in one.files.items()}
    return Joined(folder, config, files, {}, parts=parts)


def _common(config: dict) -> dict:
    train = {key: value for key, value in config["train"].items() if key != "data"}
    return {key: value for key, value in config.items() if key not in OWN} | {"train": train}


def main() -> None:
    parser = argparse.ArgumentParser(description="Tables over experiments that train on one task each.")
    parser.add_argument("out", type=Path, help="a folder for the tables, such as results/superglue")
    parser.add_argument("folders", type=Path, nargs="+", help="the experiments' folders")
    arguments = parser.parse_args()
    joined = join(arguments.out, [read(folder) for folder in arguments.folders])
    made = [table for table in (group.table(joined) for group in (math, superglue, glue)) if table]
    if not made:
        raise InputError(f"no task of {', '.join(joined.tasks)} has a table of its own")
    save(made, arguments.out)
    for table in made:
        print(arguments.out / "tables" / f"{table.name}.md")


if __name__ == "__main__":
    exit_on_bad_input(main)
