"""Every evaluation but MT-Bench, by lm-eval, asked about the questions on disk.

GSM8K, MMLU, SuperGLUE and GLUE are its stock tasks: prompts, answer extraction,
metrics and aggregation are lm-eval's own, read from the installed package; the data
set's address is what is replaced.  Mathematical reasoning is MAmmoTH's, made into
tasks of the same kind.
"""

import json
import logging
import os
import random
import time
from collections.abc import Iterable
from functools import cache, partial
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

from workflow.steps import mammoth
from workflow.steps.files import read_jsonl
from workflow.tasks import tasks
from workflow.tasks.mmlu import description

STOCK = Path(lm_eval.__file__).parent / "tasks"
UNDERSTANDING = {
    **{task: f"super_glue/{task}/default.yaml" for task in ("boolq", "copa", "multirc", "wic", "wsc")},
    **{task: f"glue/{task}/default.yaml" for task in ("cola", "mrpc", "rte", "sst2")},
}
# The metric and filter that are the task's score; all others are kept beside it.
METRICS = {
    "gsm8k": "exact_match,flexible-extract",
    "gsm8k_cot": "exact_match,flexible-extract",
    "mmlu": "acc,none",
    **dict.fromkeys(UNDERSTANDING, "acc,none"),
    "cola": "mcc,none",  # Matthews correlation, -1 to 1
}
SEED = 1234  # lm-eval's own default for numpy, torch and the choice of examples; `random` has 0

RESAMPLES = 1000  # for the standard errors that have no closed form: of F1 and of Matthews correlation

logging.getLogger("lm_eval").setLevel(logging.ERROR)
os.environ.setdefault("DISABLE_MULTIPROC", "1")  # resample here: a fork of a process that runs torch can hang
# lm-eval compiles a task's templates anew for every question: a fifth of the time with a small model.
lm_eval.utils.env.from_string = cache(lm_eval.utils.env.from_string)


def wrap(model: Any, tokenizer: Any) -> HFLM:
    """A transformers model as lm-eval asks it."""
    return HFLM(pretrained=model, tokenizer=tokenizer)


def evaluation(lm: HFLM, task: str, settings: dict, data: Path) -> tuple[dict, list[dict]]:
    """Asks `lm` the questions in `data`: the `evaluation` object of a result file, and every sample.

    `settings["limit"]` takes the first questions of the file, for MMLU of each
    subject; null takes all.  A task without `num_fewshot` among its settings is zero-shot.
    """
    started = time.perf_counter()
    as_mammoth = settings.get("scoring") == "mammoth" or task not in TASKS
    metric, answer_filter = ("exact_match", "none") if as_mammoth else METRICS[task].split(",")
    made = mathematics(task, data) if as_mammoth else TASKS[task](data)
    num_fewshot = settings.get("num_fewshot", 0)
    loaded = TaskManager(include_defaults=False).load([made])
    for part in loaded["tasks"].values():
        part.set_config("num_fewshot", num_fewshot)
        part.set_fewshot_seed(SEED)
        if part.OUTPUT_TYPE == "generate_until":
            part.set_config("generation_kwargs", {"max_gen_toks": settings["max_new_tokens"]}, update=True)
    random.seed(0)
    numpy.random.seed(SEED)
    torch.manual_seed(SEED)
    lm.batch_size_per_gpu = settings["batch_size"]
    found = evaluate(lm=lm, task_dict=loaded, limit=settings["limit"], bootstrap_iters=RESAMPLES)

    results = found["results"]
    return {
        "task": task,
        "metric": f"{metric},{answer_filter}",
        "score": results[task][f"{metric},{answer_filter}"],
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
        "num_fewshot": num_fewshot,
        "limit": settings["limit"],
        "batch_size": settings["batch_size"],
        "seconds": time.perf_counter() - started,
        "seeds": {"random": 0, "numpy": SEED, "torch": SEED, "fewshot": SEED},
        "truncated": _truncated(lm, loaded["tasks"].values(), settings.get("max_new_tokens", 0)),
    }, [{"task": part, **_plain(sample)} for part, samples in found["samples"].items() for sample in samples]


def _truncated(lm: HFLM, tasks: Iterable[ConfigurableTask], max_new_tokens: int) -> int:
    """How many questions lost their beginning, since prompt and answer exceed the model's context."""
    prompts = [instance.args[0] for task in tasks for instance in task.instances if instance.idx == 0]
    return sum(len(lm.tok_encode(prompt)) + max_new_tokens > lm.max_length for prompt in prompts)


def gsm8k(data: Path) -> ConfigurableTask:
    splits = {split: list(read_jsonl(data / f"{split}.jsonl")) for split in ("train", "test")}
    return _task(load_yaml(STOCK / "gsm8k/gsm8k.yaml"), splits)


def gsm8k_cot(data: Path) -> ConfigurableTask:
    """Eight worked examples come with the task; `num_fewshot` takes the first of them."""
    return _task(load_yaml(STOCK / "gsm8k/gsm8k-cot.yaml"), {"test": list(read_jsonl(data / "test.jsonl"))})


def understanding(task: str, data: Path) -> ConfigurableTask:
    """A stock task of SuperGLUE or GLUE, zero-shot; our test split is the stock task's validation split."""
    definition = load_yaml(STOCK / UNDERSTANDING[task])
    definition |= {"training_split": None, "validation_split": None, "test_split": "test"}
    if task == "multirc":
        # the stock choices are yes and no, while label 1 stands for a right answer: scores would be inverted
        definition["doc_to_choice"] = tasks()[task].choices
    return _task(definition, {"test": list(read_jsonl(data / "test.jsonl"))})


def mathematics(task: str, data: Path) -> ConfigurableTask:
    """A task of MAmmoTH's evaluation, as `mammoth` words and scores it."""
    file = tasks()[task]
    definition = {
        "task": task,
        "output_type": "generate_until",
        "test_split": "test",
        "doc_to_text": lambda row: mammoth.PROMPT.format(file.question(row)),
        "doc_to_target": file.right,
        "process_results": lambda row, replies: mammoth.scores(task, replies[0], file.right(row)),
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in mammoth.METRICS
        ],
        "generation_kwargs": {"until": [mammoth.END], "do_sample": False},
        "metadata": {"version": mammoth.VERSION},
    }
    return _task(definition, {"test": list(read_jsonl(data / "test.jsonl"))})


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


def _plain(sample: dict) -> dict:
    """F1 and Matthews correlation leave numpy's integers in a sample, which JSON does not know."""
    return json.loads(json.dumps(sample, default=numpy.generic.item))


def _number(value: Any) -> float | None:
    """lm-eval writes "N/A" for the standard error of a single answer."""
    return None if value == "N/A" else value


TASKS = {
    "gsm8k": gsm8k,
    "gsm8k_cot": gsm8k_cot,
    "mmlu": mmlu,
    **{task: partial(understanding, task) for task in UNDERSTANDING},
}
