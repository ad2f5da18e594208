"""What a result depends on: its part of the config, and the code that affects its numbers.

A rule carries the fingerprint of its result as a parameter, so that Snakemake
makes again what would come out different, and nothing else: a comment edited, a
docstring, another method's settings change no fingerprint.
"""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("chunkft", "baselines", "workflow")
NOT_NUMBERS = {"workflow.steps.progress", "workflow.steps.provenance", "workflow.steps.configuration"}


def relevant_config(config: dict, stage: str, method: str | None = None) -> dict:
    """The part of a resolved config that decides what a stage writes."""
    data = {"data": config["data"], "train": {key: config["train"][key] for key in ("data", "template")}}
    model = {"model": config["model"]}
    if stage == "data":
        return data
    if stage == "base":
        made_here = config["model"]["path"] is None
        return {**model, **(data if made_here else {})}
    settings = {key: value for key, value in config["methods"][method].items() if key != "grid"}
    run = {
        **model,
        **data,
        "train": config["train"],
        "device": config["device"],
        "threads": config["threads"],
    }
    if stage == "measure":
        return {**model, "train": config["train"], "device": config["device"], "threads": config["threads"],
                "measure": config["measure"], "settings": settings}  # fmt: skip
    if stage == "train":
        return {**run, "settings": settings}
    if stage == "evaluate":
        return {**run, "settings": settings, "tasks": config["tasks"]}
    raise ValueError(f"no stage is called {stage}")


def fingerprint(config: dict, stage: str, method: str | None = None, seed: int | None = None) -> str:
    """Sixteen hex digits that change when the result of `stage` could."""
    modules = [f"workflow.steps.{stage}"]
    if stage in ("data", "evaluate"):
        modules += [f"workflow.tasks.{task}" for task in config["data"]["sources"]]
    if stage in ("data", "base"):
        modules += [
            f"workflow.synthetic.{task}"
            for task in config["data"]["sources"]
            if _file(f"workflow.synthetic.{task}")
        ]
    if method is not None:
        modules.append(f"baselines.{config['methods'][method]['method']}")
    return code_fingerprint(modules, [relevant_config(config, stage, method), method, seed])


def code_fingerprint(modules: list[str], parts: list[Any]) -> str:
    """Sixteen hex digits of `parts` and of the code of these modules and all they import here."""
    code = {name: _code_hash(name) for name in sorted(closure(frozenset(modules)))}
    return hashlib.sha256(json.dumps([*parts, code], sort_keys=True).encode()).hexdigest()[:16]


@cache
def closure(modules: frozenset[str]) -> frozenset[str]:
    """`modules` and every module of this project that they import, directly or not."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found and name not in NOT_NUMBERS:
            found.add(name)
            waiting += _imports(name)
    return frozenset(found)


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse(_file(name).read_text())


@cache
def _imports(name: str) -> tuple[str, ...]:
    imported: list[str] = []
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.level:
                raise ValueError(f"{name} imports relatively; fingerprints follow absolute imports only")
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found for found in imported if found.split(".")[0] in PACKAGES and _file(found))


@cache
def _code_hash(name: str) -> str:
    tree = ast.parse(_file(name).read_text())
    for node in ast.walk(tree):
        if isinstance(
            node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        ) and ast.get_docstring(node):
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _file(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None
