"""Every result file of an experiment, read once and checked.

A file that cannot be trusted is left out, with the reason; nothing else in `analysis/` opens a result file.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from analysis.files import ROOT, InputError
from analysis.titles import titles

SCHEMA = ROOT / "workflow" / "schemas" / "result.schema.json"
PATTERNS = ("runs/*/seed-*/train", "runs/*/seed-*/eval/*", "runs/*/measure")  # .json
ASIDE = ".crashed"  # instead, of a crashed result moved aside to be tried again: what is known until then
UNTUNED = "none"  # the file in baselines/ that trains nothing: no seed matters, so it has seed 0 only


@dataclass(frozen=True)
class Outcome:
    """What became of one planned result: its file's content, or a word and a reason in its place."""

    status: str
    reason: str | None
    content: dict | None = None


@dataclass(frozen=True)
class Planned:
    """One result that the configuration asks for."""

    path: str  # below the experiment's folder
    kind: str
    method: str
    seed: int | None
    task: str | None
    outcome: Outcome


@dataclass(frozen=True)
class Results:
    """The result files of one experiment that can be trusted, by path below `folder`."""

    folder: Path
    config: dict
    files: dict[str, dict]
    left_out: dict[str, str]  # path below `folder` -> why
    used: set[str] = field(default_factory=set)  # paths of the files asked for; see `taken`

    @property
    def experiment(self) -> str:
        return self.config["name"]

    @property
    def methods(self) -> list[str]:
        return list(self.config["methods"])

    @property
    def tasks(self) -> list[str]:
        return list(self.config["tasks"])

    def seeds(self, method: str) -> list[int]:
        return [0] if adapter(self.config, method) == UNTUNED else self.config["seeds"]

    def adapter(self, method: str) -> str:
        """The file in `baselines/` behind a method: several entries may try one method's settings."""
        return adapter(self.config, method)

    @property
    def tuned(self) -> list[str]:
        """The methods that train something."""
        return [method for method in self.methods if self.adapter(method) != UNTUNED]

    def title(self, method: str) -> str:
        """The method's name in tables; entries of one method are told apart by their parameters."""
        return self._titles[True][method]

    def setting(self, method: str) -> str:
        """The same where the learning rate stands beside it: entries that differ in it alone share a name."""
        return self._titles[False][method]

    def family(self, method: str) -> str:
        """The name that all entries of one method share."""
        return self.setting(method).partition(" (")[0]

    @cached_property
    def _titles(self) -> dict[bool, dict[str, str]]:
        """The titles with and without learning rates."""
        stated = {file["method"]: file["title"] for file in self.files.values()}
        entries: dict[str, list[str]] = {}
        for method in self.methods:
            entries.setdefault(self.adapter(method), []).append(method)
        found: dict[bool, dict[str, str]] = {True: {}, False: {}}
        for file, methods in entries.items():
            title = next((stated[method] for method in methods if method in stated), file)
            for rate in found:
                found[rate] |= (
                    titles(self.config, methods, title.partition(" (")[0], rate)
                    if len(methods) > 1
                    else {methods[0]: stated.get(methods[0], methods[0])}
                )
        shared = Counter(found[True].values())
        found[True] = {m: f"{t} ({m})" if shared[t] > 1 else t for m, t in found[True].items()}
        return found

    def notes(self, method: str) -> list[str]:
        """The known defects of the package a method uses, as its result files state them."""
        found = (file.get("notes", []) for file in self.files.values() if file["method"] == method)
        return list(dict.fromkeys(note for notes in found for note in notes))

    def traced(self) -> "Results":
        """The same results, of which nothing was asked yet."""
        return replace(self, used=set())

    def taken(self) -> tuple[str, ...]:
        """The files asked for since the last call: what a table or figure was made from."""
        files = tuple(sorted(self.used))
        self.used.clear()
        return files

    def location(self, file: str) -> str:
        """Where a result file lies, below the folder: one that was moved aside has another ending."""
        path = Path(file)
        return (path if (self.folder / path).exists() else path.with_suffix(ASIDE)).as_posix()

    def train(self, method: str, seed: int) -> Outcome:
        return self._outcome(train_path(method, seed))

    def measure(self, method: str) -> Outcome:
        return self._outcome(measure_path(method))

    def evaluation(self, method: str, seed: int, task: str) -> Outcome:
        """An evaluation; where it has no file since training failed, what became of the training."""
        found = self._outcome(eval_path(method, seed, task))
        if found.status == "not run":
            trained = self.train(method, seed)
            if trained.status not in ("ok", "not run", "left out"):
                return Outcome(trained.status, trained.reason)
        return found

    def planned(self) -> Iterator[Planned]:
        """Every result the configuration asks for, and what became of it."""
        for method in self.methods:
            wanted = self.config["measure"] is not None and method in self.tuned  # no training, no step
            if wanted or measure_path(method) in self.files:
                yield Planned(measure_path(method), "measure", method, None, None, self.measure(method))
            for seed in self.seeds(method):
                yield Planned(train_path(method, seed), "train", method, seed, None, self.train(method, seed))
                for task in self.tasks:
                    outcome = self.evaluation(method, seed, task)
                    yield Planned(eval_path(method, seed, task), "evaluate", method, seed, task, outcome)

    def _outcome(self, path: str) -> Outcome:
        if path in self.files:
            file = self.files[path]
            self.used.add(path)
            return Outcome(file["status"], file["reason"], file)
        if path in self.left_out:
            return Outcome("left out", f"{path}: {self.left_out[path]}")
        return Outcome("not run", None)


def adapter(config: dict, method: str) -> str:
    return config["methods"][method].get("method", method)


def train_path(method: str, seed: int) -> str:
    return f"runs/{method}/seed-{seed}/train.json"


def eval_path(method: str, seed: int, task: str) -> str:
    return f"runs/{method}/seed-{seed}/eval/{task}.json"


def measure_path(method: str) -> str:
    return f"runs/{method}/measure.json"


def read(folder: Path) -> Results:
    """Reads `folder/config.json` and every result file below `folder/runs/`.

    Raises InputError where the folder or its configuration cannot be read.
    """
    config = _config(folder)
    files: dict[str, dict] = {}
    left_out: dict[str, str] = {}
    found = [path for pattern in PATTERNS for path in folder.glob(f"{pattern}.json")]
    aside = [path for pattern in PATTERNS for path in folder.glob(f"{pattern}{ASIDE}")]
    for path in sorted(found + [path for path in aside if path.with_suffix(".json") not in found]):
        name = path.relative_to(folder).with_suffix(".json").as_posix()
        try:
            content = _strict_json(path)
            _check(content, name, config)
        except ValueError as error:
            left_out[name] = str(error)
        else:
            files[name] = content
    left_out |= _other_origin(files)
    return Results(folder, config, {n: f for n, f in files.items() if n not in left_out}, left_out)


def _config(folder: Path) -> dict:
    path = folder / "config.json"
    try:
        config = _strict_json(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; name an experiment's folder, such as results/mini") from None
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}; make it again with `snakemake`") from None
    lacking = [key for key in ("name", "methods", "seeds", "tasks", "measure") if key not in config]
    if lacking:
        raise InputError(f"{path} lacks {', '.join(lacking)}; make it again with `snakemake`")
    return config


def _strict_json(path: Path) -> dict:
    """A JSON object; NaN, infinities and numbers too large for a float raise ValueError."""

    def refuse(constant: str) -> float:
        raise ValueError(f"it holds {constant}")

    def finite(text: str) -> float:
        return number if math.isfinite(number := float(text)) else refuse(text)

    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse, parse_float=finite)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is truncated or not JSON ({error.msg} in line {error.lineno})") from None
    except UnicodeDecodeError:
        raise ValueError("it is not text") from None
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


@cache
def schema() -> dict:
    return json.loads(SCHEMA.read_text())


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(schema())


def flaw(content: object) -> str | None:
    """Where and how the content of a result file breaks the schema most, if it does."""
    error = best_match(_validator().iter_errors(content))
    if error is None:
        return None
    return f"{'.'.join(map(str, error.absolute_path)) or 'the file'}: {error.message[:200]}"


def _check(content: dict, name: str, config: dict) -> None:
    """Raises ValueError unless `content` is a result of this experiment and lies where it belongs."""
    version = schema()["properties"]["schema"]["const"]
    if content.get("schema") != version:
        raise ValueError(f"it has schema version {content.get('schema')}; version {version} is read")
    wrong = flaw(content)
    if wrong is not None:
        raise ValueError(wrong)
    if content["experiment"] != config["name"]:
        raise ValueError(f"it belongs to the experiment {content['experiment']}, not {config['name']}")
    if content["method"] not in config["methods"]:
        raise ValueError(f"its method {content['method']} is not in config.json")
    home = _home(content, name)
    if home != name:
        raise ValueError(f"it is a copy: its content belongs in {home}")
    seeds = [0] if adapter(config, content["method"]) == UNTUNED else config["seeds"]
    if content["kind"] != "measure" and content["seed"] not in seeds:
        raise ValueError(f"its seed {content['seed']} is not in config.json")
    if content["kind"] == "evaluate" and Path(name).stem not in config["tasks"]:
        raise ValueError(f"its task {Path(name).stem} is not in config.json")
    now = {**config, "settings": config["methods"][content["method"]]}
    if (change := first_change(content["config"], now)) is not None:
        raise ValueError(f"it was made with another configuration: {change}")
    curve = content.get("training", {}).get("curve", {})
    if len({len(column) for column in curve.values()}) > 1:
        raise ValueError("training.curve: its columns differ in length")
    if not all(isinstance(value, (int, float)) for column in curve.values() for value in column):
        raise ValueError("training.curve: it holds something other than numbers")


def first_change(then: dict, now: dict, place: str = "") -> str | None:
    """The first key that both have with different values, in words.  Keys that one lacks decide nothing."""
    for key in sorted(then.keys() & now.keys()):
        if isinstance(then[key], dict) and isinstance(now[key], dict):
            if (change := first_change(then[key], now[key], f"{place}{key}.")) is not None:
                return change
        elif then[key] != now[key]:
            return f"{place}{key} was {then[key]}, and config.json has {now[key]}"
    return None


def _home(content: dict, name: str) -> str:
    """Where a file with this content lies; a failed evaluation does not say its task, its name does."""
    if content["kind"] == "measure":
        return measure_path(content["method"])
    if content["kind"] == "train":
        return train_path(content["method"], content["seed"])
    task = content.get("evaluation", {}).get("task", Path(name).stem)
    return eval_path(content["method"], content["seed"], task)


def _other_origin(files: dict[str, dict]) -> dict[str, str]:
    """Files made from other data or another base model than most: path -> why.

    Two origins in one experiment mean that results were copied together.  Ties go
    to the origin with the newest file.
    """
    left_out = {}
    for key in ("data", "model"):
        known = {name: file for name, file in files.items() if file["provenance"][key] is not None}
        counts = Counter(file["provenance"][key] for file in known.values())
        newest: dict[str, str] = {}
        for file in known.values():
            origin = file["provenance"][key]
            newest[origin] = max(newest.get(origin, ""), file["provenance"]["date"])
        if len(counts) > 1:
            usual = max(counts, key=lambda origin: (counts[origin], newest[origin]))
            for name, file in known.items():
                if (origin := file["provenance"][key]) != usual:
                    left_out[name] = (
                        f"it was made from other {key} ({origin[:12]}) than the rest ({usual[:12]})"
                    )
    return left_out
