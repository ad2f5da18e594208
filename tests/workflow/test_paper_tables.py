"""The configs of mathematical reasoning and language understanding, walked to the end on real data.

The models and the data the hub would give are replaced by small local ones; whatever
else the configs say holds, but for the length of everything.
"""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from workflow.steps import base, check, data, evaluate, lm_evaluation, train
from workflow.steps.configuration import load
from workflow.steps.files import read_json, read_jsonl, write_json, write_jsonl

WORKFLOW = Path(train.__file__).parents[1]
MATHEMATICS = WORKFLOW / "config" / "math-llama3-8b.yaml"
UNDERSTANDING = sorted((WORKFLOW / "config" / "superglue").glob("*-*-*.yaml"))
LLAMA = [path for path in UNDERSTANDING if path.stem.startswith("llama")]
ROBERTA = [path for path in UNDERSTANDING if path.stem.startswith("roberta")]
SMALL: dict[str, Any] = {"device": "cpu", "threads": 1, "seeds": [0]}
BRIEF = {"epochs": None, "steps": 2, "batch_size": 4, "micro_batch_size": 2, "max_length": 1024}


def walk(config: dict, out: Path, *methods: str) -> dict[tuple[str, str], dict]:
    """From data to results: {(method, task): evaluation}.  Every stage as the rules call it."""
    write_json(out / "config.json", config)
    data.prepare(config, out / "data")
    check.check(config, out / "data")
    found = base.find(config["model"]["path"], config["model"]["revision"])
    write_json(out / "base" / "base.json", found)
    results = {}
    for method in methods:
        run = out / "runs" / method / "seed-0"
        write_json(run / "train.json", train.outcome(out, config, method, 0, run))
        evaluate.evaluate(out, config, method, 0, run / "eval")
        for task in config["tasks"]:
            result = read_json(run / "eval" / f"{task}.json")
            jsonschema.validate(result, read_json(WORKFLOW / "schemas" / "result.schema.json"))
            assert result["status"] == "ok", result["reason"]
            results[method, task] = result["evaluation"]
    return results


@pytest.mark.parametrize("path", UNDERSTANDING, ids=lambda path: path.stem)
def test_every_shipped_config_of_a_task_is_valid(path: Path) -> None:
    config = load([path])
    task = path.stem.rpartition("-")[2]
    assert list(config["tasks"]) == list(config["train"]["data"]) == list(config["data"]["sources"]) == [task]


def test_mathematical_reasoning(data_root: Path, tmp_path: Path) -> None:
    folder = data_root / "data"
    sets = {
        "gsm8k": {"path": str(folder / "gsm8k"), "splits": {"train": "train", "test": "test"}},
        "math": {"path": str(folder / "math"), "splits": {"train": "train", "test": "test"}},
        "aqua": {"path": str(folder / "math_eval"), "splits": {"test": "aqua"}},
        "mmlu_math": {"path": str(folder / "mmlu"), "splits": {"test": "test"}},
        "sat_math": {"path": str(folder / "math_eval"), "splits": {"test": "sat"}},
        "numglue": {"path": str(folder / "math_eval"), "splits": {"test": "numglue"}},
        "math_instruct": {
            "path": str(folder / "alpaca_en_demo"),
            "splits": {"train": "train"},
        },  # its columns
    }
    tasks = {task: {"limit": 3, "max_new_tokens": 16} for task in load([MATHEMATICS])["tasks"]}
    overrides = {
        **SMALL,
        "model": {"path": str(data_root / "models" / "stories260K"), "precision": "float32"},
        "data": {
            "validation": 4,
            "sources": {name: {"subset": None, **source} for name, source in sets.items()},
        },
        "train": {**BRIEF, "data": {"math_instruct": 4, "gsm8k": 4, "math": 4}},
        "tasks": tasks,
    }
    results = walk(load([MATHEMATICS], overrides), tmp_path, "chunkft")
    rows = {task: len(list(read_jsonl(tmp_path / "data" / task / "test.jsonl"))) for task in tasks}
    assert rows == {
        "gsm8k": 1319, "aqua": 254, "mmlu_math": 974, "sat_math": 220, "math": 5000, "numglue": 1042
    }  # fmt: skip
    for (_, task), evaluation in results.items():
        assert (evaluation["metric"], evaluation["num_fewshot"], evaluation["n"]) == (
            "exact_match,none",
            0,
            3,
        )
        assert evaluation["task"] == task


def made_up(folder: Path) -> Path:
    """Rows in the columns of the hub's MultiRC, the one set that is not among the real data."""
    rows = [
        {
            "paragraph": f"Ann has {n} pens.",
            "question": "Who has pens?",
            "answer": ("Eve", "Ann")[label],
            "idx": {"paragraph": n, "question": n, "answer": 2 * n + label},
            "label": label,
        }
        for n in range(6)
        for label in (1, 0)
    ]
    write_jsonl(folder / "validation.jsonl", rows)
    return folder


def local(path: Path, data_root: Path, model: Path, out: Path) -> dict:
    """The config in `path` with local rows and a small model, cut short; skips where there are no rows."""
    task = path.stem.rpartition("-")[2]
    found = [folder for folder in (data_root / "data").glob(f"*/{task}") if folder.is_dir()]
    if task == "multirc":
        found.append(made_up(out / "made_up"))
    if not found:
        pytest.skip(f"{data_root} has no {task}")
    train_split = "train" if (found[0] / "train.parquet").exists() else "validation"
    splits = {"train": train_split, "test": "validation"}
    overrides = {
        **SMALL,
        "model": {"path": str(model), "precision": "float32"},
        "data": {
            "validation": 4,
            "sources": {task: {"path": str(found[0]), "subset": None, "splits": splits}},
        },
        "train": {**BRIEF, "data": {task: 8}},
        "tasks": {task: {"limit": 4, "batch_size": 3}},
    }
    return load([path], overrides)


@pytest.mark.parametrize("path", LLAMA, ids=lambda path: path.stem)
def test_language_understanding_in_words(path: Path, data_root: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lm_evaluation, "RESAMPLES", 10)
    results = walk(
        local(path, data_root, data_root / "models" / "stories260K", tmp_path), tmp_path, "chunkft"
    )
    assert {evaluation["n"] for evaluation in results.values()} == {4}


@pytest.mark.parametrize("path", ROBERTA, ids=lambda path: path.stem)
def test_language_understanding_by_a_classifier(
    path: Path, data_root: Path, tiny_roberta: Path, tmp_path: Path
) -> None:
    config = local(path, data_root, tiny_roberta, tmp_path)
    config["train"]["max_length"] = 128
    (evaluation,) = walk(config, tmp_path, "chunkft").values()
    metric = "mcc" if "cola" in path.stem else "acc"
    assert (evaluation["metric"], evaluation["n"]) == (f"{metric},classifier", 4)
    samples = list(read_jsonl(tmp_path / f"runs/chunkft/seed-0/eval/{evaluation['task']}.samples.jsonl"))
    right = [sample["chosen"] == sample["label"] for sample in samples]
    assert evaluation["scores"]["acc,classifier"] == sum(right) / 4
