"""GSM8K and MMLU by lm-eval: its stock task definitions, asked about the questions on disk.

Prompts, answer extraction, metrics and aggregation are lm-eval's own, read from
the installed package; the data set's address is the one thing replaced.
"""

import logging
import random
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import lm_eval.utils
import numpy
import torch
from datasets import Dataset
from lm_eval.api.group import Group
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from workflow.steps.files import read_jsonl
from workflow.tasks.mmlu import description

STOCK = Path(lm_eval.__file__).parent / "tasks"
# The metric and filter that are the task's score; all others are kept beside it.
METRICS = {"gsm8k": "exact_match,flexible-extract", "mmlu": "acc,none"}
SEED = 1234  # lm-eval's own default for numpy, torch and the choice of examples; `random` has 0

logging.getLogger("lm_eval").setLevel(logging.ERROR)
# lm-eval compiles a task's templates anew for every question: a fifth of the time with a small model.
lm_eval.utils.env.from_string = cache(lm_eval.utils.env.from_string)


def wrap(model: Any, tokenizer: Any) -> HFLM:
    """A transformers model as lm-eval asks it."""
    return HFLM(pretrained=model, tokenizer=tokenizer)


def evaluation(lm: HFLM, task: str, settings: dict, data: Path) -> tuple[dict, list[dict]]:
    """Asks `lm` the questions in `data`: the `evaluation` object of a result file, and every sample.

    `settings["limit"]` takes the first questions of the file, for MMLU of each
    subject; null takes all.
    """
    started = time.perf_counter()
    loaded = TaskManager(include_defaults=False).load([TASKS[task](data)])
    for part in loaded["tasks"].values():
        part.set_config("num_fewshot", settings["num_fewshot"])
        part.set_fewshot_seed(SEED)
        if part.OUTPUT_TYPE == "generate_until":
            part.set_config("generation_kwargs", {"max_gen_toks": settings["max_new_tokens"]}, update=True)
    random.seed(0)
    numpy.random.seed(SEED)
    torch.manual_seed(SEED)
    lm.batch_size_per_gpu = settings["batch_size"]
    found = evaluate(lm=lm, task_dict=loaded, limit=settings["limit"])

    results = found["results"]
    metric, answer_filter = METRICS[task].split(",")
    return {
        "task": task,
        "metric": METRICS[task],
        "score": results[task][METRICS[task]],
        "stderr": _number(results[task][f"{metric}_stderr,{answer_filter}"]),
        "n": results[task]["sample_len"],
        "scores": {
            name if part == task else f"{part}/{name}": _number(value)
            for part, values in results.items()
            for name, value in values.items()
            if "," in name  # metric,filter; the others are names and counts
        },
        "judge": None,
        "version": found["versions"][task],
        "num_fewshot": settings["num_fewshot"],
        "limit": settings["limit"],
        "batch_size": settings["batch_size"],
        "seconds": time.perf_counter() - started,
        "seeds": {"random": 0, "numpy": SEED, "torch": SEED, "fewshot": SEED},
        "truncated": _truncated(lm, loaded["tasks"].values(), settings.get("max_new_tokens", 0)),
    }, [{"task": part, **sample} for part, samples in found["samples"].items() for sample in samples]


def _truncated(lm: HFLM, tasks: Iterable[ConfigurableTask], max_new_tokens: int) -> int:
    """How many questions lost their beginning, since prompt and answer exceed the model's context."""
    prompts = [instance.args[0] for task in tasks for instance in task.instances if instance.idx == 0]
    return sum(len(lm.tok_encode(prompt)) + max_new_tokens > lm.max_length for prompt in prompts)


def gsm8k(data: Path) -> ConfigurableTask:
    splits = {split: list(read_jsonl(data / f"{split}.jsonl")) for split in ("train", "test")}
    return _task(load_yaml(STOCK / "gsm8k/gsm8k.yaml"), splits)


def mmlu(data: Path) -> Group:
    """The stock groups with the data's subjects; one that lm-eval does not know joins the top group."""
    splits = {split: list(read_jsonl(data / f"{split}.jsonl")) for split in ("dev", "test")}
    folder = STOCK / "mmlu/default"
    top = load_yaml(folder / "_mmlu.yaml")
    group = Group.from_config(top)
    stock_groups = {name: load_yaml(folder / f"_{name}.yaml") for name in top["task"]}
    categories = {f"{name}_tasks": Group.from_config(stock) for name, stock in stock_groups.items()}
    for category in categories.values():
        group.add(category)
    for subject in sorted({row["subject"] for row in splits["test"]}):
        stock = folder / f"mmlu_{subject}.yaml"
        if stock.exists():
            definition = load_yaml(stock)
        else:
            definition = load_yaml(folder / "_default_template_yaml")
            definition |= {"task": f"mmlu_{subject}", "description": description(subject)}
        rows = {split: [row for row in of if row["subject"] == subject] for split, of in splits.items()}
        categories.get(definition.get("tag"), group).add(_task(definition, rows))
    for category in categories.values():
        if not len(category):
            group.pop(category.name)
    return group


def _task(stock: dict, splits: dict[str, list[dict]]) -> ConfigurableTask:
    """A stock definition over rows in memory; lm-eval hands its metadata to whatever supplies them."""
    stock.pop("tag", None)
    rows = {split: Dataset.from_list(of) for split, of in splits.items()}
    return ConfigurableTask(config=stock | {"custom_dataset": lambda **_: rows})


def _number(value: Any) -> float | None:
    """lm-eval writes "N/A" for the standard error of a single answer."""
    return None if value == "N/A" else value


TASKS = {"gsm8k": gsm8k, "mmlu": mmlu}
