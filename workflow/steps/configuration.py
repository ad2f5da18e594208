"""A config file and its overrides become one checked experiment, every key filled in.

    python -m workflow.steps.configuration --config workflow/config/mini.yaml

checks without running anything; with `--out` it writes the `config.json` that
every other step reads.
"""

import argparse
import difflib
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

import baselines
from workflow.steps.files import InputError, exit_on_input_error, read_json, write_json

WORKFLOW = Path(__file__).parents[1]
DEFAULTS = WORKFLOW / "config" / "defaults.yaml"
SCHEMA = WORKFLOW / "schemas" / "config.schema.json"
OWN_KEYS = {"method", "lr", "grid", "steps", "vary"}  # of an entry in `settings`; others are the method's


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key written twice, where PyYAML keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise InputError(
                    f"{node.start_mark.name}: `{key}` is written twice, near line {node.start_mark.line + 1}"
                )
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, Loader=_Loader)
    except FileNotFoundError:
        raise InputError(f"the config file {path} does not exist") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise InputError(f"{path}, line {line}: not YAML ({error.problem})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: a config is a mapping of keys to values")
    return content


def load(paths: Iterable[Path], overrides: dict | None = None) -> dict:
    """The experiment in `paths`, later files over earlier ones, `overrides` over all.

    The result has every key of `defaults.yaml`, and `methods` as a mapping from
    each selected method to its settings.  Raises InputError, one sentence naming
    the key, for anything that could not run.
    """
    paths = [Path(path) for path in paths]
    config = read_yaml(DEFAULTS)
    for path in paths:
        config = _merged(config, _extended(path))
    config = _merged(config, overrides or {})
    _check_schema(config)
    if config["name"] is None:
        config["name"] = paths[0].stem
    config["tasks"] = config["tasks"] or {}
    config["methods"] = _selected(config["methods"], config.pop("settings"))
    _check_data(config)
    _check_training(config["train"])
    if config["train"]["head"] == "classifier":
        _check_classifier(config)
    return config


def _extended(path: Path, seen: tuple[Path, ...] = ()) -> dict:
    """The content of a config file, over that of the file it `extends`, a path from its own folder."""
    if path.resolve() in seen:
        raise InputError(f"{path}: it extends itself, by way of {', '.join(p.name for p in seen)}")
    content = read_yaml(path)
    below = content.pop("extends", None)
    if below is None:
        return content
    if not isinstance(below, str):
        raise InputError(f"{path}: `extends` is {below!r}, but must be the path of a config file")
    return _merged(_extended(path.parent / below, (*seen, path.resolve())), content)


def _merged(below: dict, above: dict) -> dict:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merged(below[key], value) if both else value
    return merged


def _check_schema(config: dict) -> None:
    validator = jsonschema.Draft202012Validator(read_json(SCHEMA))
    for error in sorted(validator.iter_errors(config), key=lambda e: len(e.absolute_path)):
        raise InputError(_sentence(error))


def _sentence(error: jsonschema.ValidationError) -> str:
    place = ".".join(map(str, error.absolute_path))
    value = error.instance
    if error.validator == "additionalProperties":
        unknown = next(key for key in value if key not in error.schema["properties"])
        return f"unknown key `{_joined(place, unknown)}`{did_you_mean(unknown, error.schema['properties'])}"
    if error.validator == "type" and isinstance(value, str) and _is_number(value):
        return f"`{place}` is the text {value!r}, not a number: YAML reads 1e-5 as text, write 1.0e-5"
    if error.validator == "exclusiveMinimum":
        return f"`{place}` is {value}, but must be above {error.validator_value}"
    if error.validator == "required":
        return f"`{place}` lacks a key: {error.message}"
    if error.validator == "enum":
        allowed = ", ".join(map(str, error.validator_value))
        return f"`{place}` is {value!r}, but must be one of: {allowed}"
    return f"`{place or 'the config'}`: {error.message}"


def _joined(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def did_you_mean(word: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean `{close[0]}`?" if close else f"; known here: {', '.join(known)}"


def _selected(names: str | list[str], settings: dict) -> dict:
    """The selected methods' settings, their parameters' defaults filled in and checked."""
    selected = {}
    for name in settings if names == "all" else names:
        if name not in settings:
            raise InputError(
                f"`methods` names `{name}`, which is not under `settings`{did_you_mean(name, settings)}"
            )
        file = settings[name].get("method", name)
        if file not in baselines.methods():
            known = did_you_mean(file, baselines.methods())
            raise InputError(f"`settings.{name}`: there is no method `{file}` in baselines/{known}")
        for varied, entry in _varied(name, {"method": file, **settings[name]}):
            if baselines.trains(baselines.methods()[file]) and "lr" not in entry:
                raise InputError(f"`settings.{name}` has no learning rate: give `lr`")
            selected[varied] = _with_parameters(name, entry, baselines.methods()[file].PARAMETERS)
    return selected


def _varied(name: str, entry: dict) -> Iterable[tuple[str, dict]]:
    """The entry itself; with `vary`, one entry for each combination of the values there, named by them."""
    vary = entry.pop("vary", None)
    if vary is None:
        yield name, entry
        return
    for key in vary.keys() & (entry.keys() | {"method", "grid"}):
        raise InputError(f"`settings.{name}.vary.{key}`: it cannot be varied, or has a value beside `vary`")
    for values in itertools.product(*vary.values()):
        point = dict(zip(vary, values, strict=True))
        yield "-".join([name, *(f"{key}-{value}" for key, value in point.items())]), {**entry, **point}


def _with_parameters(name: str, entry: dict, parameters: dict) -> dict:
    for key, value in entry.items():
        if key in OWN_KEYS:
            continue
        place = f"settings.{name}.{key}"
        if key not in parameters:
            raise InputError(f"unknown key `{place}`{did_you_mean(key, {*OWN_KEYS, *parameters})}")
        default = parameters[key]
        numeric = isinstance(default, (int, float)) and not isinstance(default, bool)
        if numeric and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise InputError(
                f"`{place}` is {value!r}, but must be a number (YAML reads 1e-5 as text, write 1.0e-5)"
            )
        if isinstance(default, (bool, str)) and type(value) is not type(default):
            raise InputError(
                f"`{place}` is {value!r}, but must be a {type(default).__name__} such as {default!r}"
            )
    return {**parameters, **entry}


def _check_data(config: dict) -> None:
    from workflow.tasks import tasks

    sources = config["data"]["sources"]
    for place, names in (("data.sources", sources), ("train.data", config["train"]["data"])):
        for name in names:
            if name not in tasks():
                known = did_you_mean(name, tasks())
                raise InputError(f"`{place}.{name}`: there is no task `{name}` in workflow/tasks/{known}")
    for place, names in (("train.data", config["train"]["data"]), ("tasks", config["tasks"])):
        for name in names:
            if name not in sources:
                raise InputError(
                    f"`{place}.{name}` has no rows: say where they come from under `data.sources.{name}`"
                )
    if config["model"]["path"] is None and config["model"]["architecture"] is None:
        raise InputError(
            "`model`: give `path` (a pretrained model) or `architecture` (a model to pre-train here)"
        )


def _check_classifier(config: dict) -> None:
    from workflow.tasks import tasks

    for place, names in (("train.data", config["train"]["data"]), ("tasks", config["tasks"])):
        for name in names:
            if not hasattr(tasks()[name], "sentences"):
                raise InputError(f"`{place}.{name}` is no task for a classifier; set `train.head: language`")
    if config["model"]["path"] is None:
        raise InputError("`train.head`: a model made here is a language model; give `model.path`")
    if config["measure"]:
        raise InputError("`measure` times language models; set it to null beside `train.head: classifier`")


def _check_training(train: dict) -> None:
    if not train["data"]:
        raise InputError("`train.data` is empty: name the tasks to train on")
    if (train["steps"] is None) == (train["epochs"] is None):
        raise InputError("`train`: give `steps` or `epochs`, exactly one of the two")
    micro = train["micro_batch_size"]
    if micro and train["batch_size"] % micro:
        raise InputError(
            f"`train.micro_batch_size` {micro} does not divide `train.batch_size` {train['batch_size']}"
        )


def check_machine(config: dict) -> None:
    """Raises InputError where the config asks for a GPU that torch does not see."""
    if config["device"] == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError(
                "`device` is cuda, but torch sees no GPU here; set `device: cpu` or install a CUDA build"
            )


def check_results(config: dict, path: Path) -> None:
    """Refuses a results folder that another config made: its data and model are not these."""
    if not path.exists():
        return
    made_by = read_json(path)
    for key in ("name", "model", "data"):
        for place, before, now in differences(key, made_by.get(key), config[key]):
            raise InputError(
                f"{path.parent} holds the results of another config (`{place}` was {json.dumps(before)}, "
                f"is now {json.dumps(now)}); give this one another `name`, or remove the folder"
            )


def differences(place: str, before: Any, now: Any) -> Iterable[tuple[str, Any, Any]]:
    """The leaves in which two configs differ, as (dotted key, before, now)."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from differences(f"{place}.{key}", before.get(key), now.get(key))
    elif before != now:
        yield place, before, now


def overrides_from(pairs: Iterable[str]) -> dict:
    """`train.steps=10`, or a whole mapping as JSON, as {"train": {"steps": 10}}; values are read as YAML."""
    overrides: dict = {}
    for pair in pairs:
        if pair.startswith("{"):
            overrides = _merged(overrides, json.loads(pair))
            continue
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"`{pair}`: an override is written key=value")
        nested: Any = yaml.safe_load(value)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        overrides = _merged(overrides, nested)
    return overrides


def from_command_line(value: Any) -> Any:
    """What Snakemake's `--config` gives; inside mappings and lists it leaves numbers as text."""
    if isinstance(value, Mapping):
        return {key: from_command_line(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [from_command_line(inner) for inner in value]
    return yaml.safe_load(value) if isinstance(value, str) else value


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Check a config; with --out, write it with every key filled in."
    )
    parser.add_argument(
        "--config", type=Path, nargs="+", required=True, help="YAML files, later ones over earlier ones"
    )
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides, such as train.steps=10"
    )
    parser.add_argument("--out", type=Path, help="write the resolved config here, after checking the machine")
    arguments = parser.parse_args()
    config = load(arguments.config, overrides_from(arguments.set))
    if arguments.out:
        check_machine(config)
        check_results(config, arguments.out)
        write_json(arguments.out, config)
    print(f"{config['name']}: {len(config['methods'])} methods, {len(config['seeds'])} seeds, valid")


if __name__ == "__main__":
    exit_on_input_error(main)
