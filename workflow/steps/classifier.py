"""A model with a classification head: RoBERTa on SuperGLUE and GLUE, where an answer is one of two labels.

The head is new, drawn from the run's seed, and every method trains it.
"""

import math
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from workflow.steps.examples import IGNORED
from workflow.steps.files import InputError, read_json, read_jsonl
from workflow.tasks import tasks

VERSION = 1  # raise it with any change that can alter a score
LABELS = 2
METRICS = {"cola": "mcc"}  # the score of the others is their accuracy


class Classifier:
    """Takes the training loop's batches, whose labels are [sequences, tokens] with one class in each row."""

    def forward(self, input_ids, attention_mask, labels=None, num_items_in_batch=None, **_):
        output = super().forward(
            input_ids=input_ids, attention_mask=attention_mask
        )  # logits [sequences, LABELS]
        if labels is not None:
            classes = labels.amax(dim=1)  # every other token's label is IGNORED, below all classes
            count = len(classes) if num_items_in_batch is None else num_items_in_batch
            total = torch.nn.functional.cross_entropy(output.logits.float(), classes, reduction="sum")
            output.loss = total / count
        return output


def load_model(folder: Path, dtype: Any) -> Any:
    """The model in `folder` under a classification head; a new one where it has none."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=LABELS, dtype=dtype, trust_remote_code=False
    )
    plain = type(model)
    model.__class__ = type(plain.__name__, (Classifier, plain), {})
    return model


def load_tuned(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a run.  InputError where no head has been trained."""
    kinds = read_json(folder / "config.json").get("architectures") or [""]
    if not kinds[0].endswith("ForSequenceClassification"):
        raise InputError(f"{folder} has no trained classification head: leave `none` out of `methods`")
    return load_model(folder, "auto").eval(), AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def encode(tokenizer: Any, row: dict, max_length: int) -> tuple[list[int], list[int]]:
    """Token ids of a row's one or two texts, the longer one cut; labels with the class at the last token."""
    ids = tokenizer(*row["sentences"], truncation=True, max_length=max_length)["input_ids"]
    return ids, [IGNORED] * (len(ids) - 1) + [row["label"]]


@torch.inference_mode()
def evaluation(model: Any, tokenizer: Any, task: str, settings: dict, data: Path) -> tuple[dict, list[dict]]:
    """Classifies the rows in `data`: the `evaluation` object of a result file, and every sample."""
    started = time.perf_counter()
    rows = list(read_jsonl(data / "test.jsonl"))[: settings["limit"]]
    texts = [tasks()[task].sentences(row) for row in rows]
    longest = min(
        tokenizer.model_max_length, model.config.max_position_embeddings - 2
    )  # RoBERTa pads the first
    cut, samples = 0, []
    for start in tqdm(range(0, len(rows), settings["batch_size"]), desc=task):
        batch = slice(start, start + settings["batch_size"])
        cut += sum(len(tokenizer(*pair)["input_ids"]) > longest for pair in texts[batch])
        columns = [list(column) for column in zip(*texts[batch], strict=True)]
        tokens = tokenizer(*columns, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        logits = model(tokens["input_ids"].to(model.device), tokens["attention_mask"].to(model.device)).logits
        for row, text, scores in zip(rows[batch], texts[batch], logits.float().tolist(), strict=True):
            chosen = max(range(LABELS), key=scores.__getitem__)
            samples.append({"task": task, "sentences": text, "label": row["label"], "logits": scores,
                            "chosen": chosen})  # fmt: skip
    scores = metrics([(sample["label"], sample["chosen"]) for sample in samples])
    metric = METRICS.get(task, "acc")
    return {
        "task": task,
        "metric": f"{metric},classifier",
        "score": scores[metric],
        "stderr": scores.get(f"{metric}_stderr"),
        "n": len(rows),
        "scores": {f"{name},classifier": value for name, value in scores.items()},
        "judge": None,
        "version": VERSION,
        "num_fewshot": 0,
        "limit": settings["limit"],
        "batch_size": settings["batch_size"],
        "seconds": time.perf_counter() - started,
        "seeds": {},
        "truncated": cut,
    }, samples


def metrics(pairs: list[tuple[int, int]]) -> dict[str, float | None]:
    """Accuracy, F1 of class 1 and Matthews correlation of (label, chosen); both are 0 where undefined."""
    n = len(pairs)
    hits, false_alarms, misses, rest = (pairs.count(pair) for pair in ((1, 1), (0, 1), (1, 0), (0, 0)))
    accuracy = (hits + rest) / n
    spread = math.sqrt((hits + false_alarms) * (hits + misses) * (rest + false_alarms) * (rest + misses))
    return {
        "acc": accuracy,
        "acc_stderr": math.sqrt(accuracy * (1 - accuracy) / (n - 1)) if n > 1 else None,
        "f1": 2 * hits / (2 * hits + false_alarms + misses) if hits else 0.0,
        "mcc": (hits * rest - false_alarms * misses) / spread if spread else 0.0,
    }
