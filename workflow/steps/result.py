"""Result files: what every one carries, whatever was run."""

from pathlib import Path
from types import ModuleType

import baselines
from workflow.steps.files import InputError, read_json, sha256
from workflow.steps.fingerprint import fingerprint, relevant_config
from workflow.steps.provenance import provenance

SCHEMA_VERSION = 1


def result(kind: str, experiment: Path, config: dict, method: str, seed: int | None, status: str = "ok",
           reason: str | None = None, **parts: dict) -> dict:  # fmt: skip
    """A result as `workflow/schemas/result.schema.json` describes it.

    `experiment` is the folder of the resolved config; `parts` are the sections
    of that kind of result (training, evaluation, memory, time, batch).
    """
    settings = config["methods"][method]
    file = baselines.methods()[settings["method"]]
    return {
        "schema": SCHEMA_VERSION,
        "kind": kind,
        "experiment": config["name"],
        "method": method,
        "title": titles(config)[method],
        "notes": list(file.NOTES),
        "seed": seed,
        "status": status,
        "reason": reason,
        "run_id": run_id(kind, experiment, config, method, seed),
        "config": relevant_config(config, kind, method),
        "provenance": provenance(data_revision(experiment), model_revision(experiment)),
        **parts,
    }


def titles(config: dict) -> dict[str, str]:
    """Each method's name in tables; what would be alike has the learning rate in it."""
    files = {name: baselines.methods()[entry["method"]] for name, entry in config["methods"].items()}
    plain = {name: title(name, entry, files[name]) for name, entry in config["methods"].items()}
    return {
        name: title(name, entry, files[name], rate=list(plain.values()).count(plain[name]) > 1)
        for name, entry in config["methods"].items()
    }


def title(name: str, settings: dict, file: ModuleType, rate: bool = False) -> str:
    """The method's name in tables; a second entry of one method is told apart by its parameters."""
    if name == settings["method"]:
        return file.TITLE
    changed = [
        key if settings[key] is True else f"{key} {settings[key]}"
        for key, default in file.PARAMETERS.items()
        if settings[key] != default
    ]
    changed += [f"{settings['steps']} steps"] if "steps" in settings else []
    changed += [f"lr {settings['lr']:g}"] if rate else []
    return f"{file.TITLE} ({', '.join(changed) or name})"


def read_config(path: Path, method: str) -> dict:
    """The resolved config at `path`.  InputError where it does not compare `method`."""
    config = read_json(path)
    if method not in config["methods"]:
        raise InputError(f"{path} has no method {method!r}; it has {', '.join(config['methods'])}")
    return config


def run_id(kind: str, experiment: Path, config: dict, method: str, seed: int | None) -> str:
    """The fingerprint of the run, and of the data and model it starts from."""
    started_from = (data_revision(experiment) or "none")[:8], (model_revision(experiment) or "none")[-8:]
    return "-".join((fingerprint(config, kind, method, seed), *started_from))


def data_revision(experiment: Path) -> str | None:
    manifest = experiment / "data" / "manifest.json"
    return sha256(manifest) if manifest.exists() else None


def model_revision(experiment: Path) -> str | None:
    base = experiment / "base" / "base.json"
    return read_json(base)["revision"] if base.exists() else None


def refusal(config: dict, method: str, seed: int) -> tuple[str, str] | None:
    """(status, reason) where a method cannot be run at all; known before anything is loaded."""
    file = baselines.methods()[config["methods"][method]["method"]]
    missing = baselines.missing_packages(file)
    if missing:
        return "not installed", f"pip install {' '.join(missing)}"
    reason = file.supports(run_of(config, method, seed, steps=1))
    return ("not supported", reason) if reason else None


def run_of(config: dict, method: str, seed: int, steps: int) -> baselines.Run:
    """What the method's file is told about a run of `steps` optimizer steps."""
    settings, train = config["methods"][method], config["train"]
    parameters = baselines.methods()[settings["method"]].PARAMETERS
    return baselines.Run(
        method=method,
        lr=settings.get("lr", 0.0),
        steps=steps,
        batch_size=train["batch_size"],
        accumulation=train["batch_size"] // (train["micro_batch_size"] or train["batch_size"]),
        weight_decay=train["weight_decay"],
        max_grad_norm=train["max_grad_norm"],
        precision=config["model"]["precision"],
        checkpointing=train["checkpointing"],
        device=config["device"],
        seed=seed,
        parameters={key: settings[key] for key in parameters},
    )
