"""Made-up replies go in; extractions and scores come out as `golden/` has them.

A row of `golden/<task>.jsonl` is a row of the task's data with what a model says to it,
a `reply` or the `likelihoods` of the choices, and what is `expected` of it, worked out by
hand; `golden/scores.json` has what the result file makes of all of them.
"""

from pathlib import Path

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from workflow.steps import lm_evaluation, mammoth
from workflow.steps.files import read_json, read_jsonl, write_jsonl

GOLDEN = Path(__file__).parent / "golden"
SCORES = read_json(GOLDEN / "scores.json")
AS_MAMMOTH = {"limit": None, "batch_size": 8, "max_new_tokens": 8, "scoring": "mammoth"}
AS_STOCK = {**AS_MAMMOTH, "scoring": None}


class Parrot(LM):
    """Says to each row what the row has for it."""

    max_length = 2**20

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        return [request.doc["reply"] for request in requests]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list:
        return [(request.doc["likelihoods"][request.idx], False) for request in requests]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list:
        raise NotImplementedError

    def tok_encode(self, text: str) -> list[int]:
        return list(text.encode())


def evaluated(name: str, settings: dict, folder: Path) -> list[dict]:
    """The samples, once the scores are found to be the golden ones."""
    for split in ("train", "dev", "test"):
        write_jsonl(folder / f"{split}.jsonl", read_jsonl(GOLDEN / f"{name}.jsonl"))
    found, samples = lm_evaluation.evaluation(Parrot(), name.removesuffix("-mammoth"), settings, folder)
    assert {key: found["scores"].get(key) for key in SCORES[name]} == pytest.approx(SCORES[name])
    assert found["score"] == found["scores"][found["metric"]]
    return samples


def test_every_scored_task_is_golden() -> None:
    assert {name.removesuffix("-mammoth") for name in SCORES} == {*lm_evaluation.TASKS, *mammoth.TASKS}


@pytest.mark.parametrize("task", ["gsm8k", "gsm8k_cot"])
def test_both_filters_of_gsm8k(task: str, tmp_path: Path) -> None:
    for sample in evaluated(task, AS_STOCK, tmp_path):
        (extracted,) = sample["filtered_resps"]
        said = {"extracted": extracted, "exact_match": sample["exact_match"]}
        assert said == sample["doc"]["expected"][sample["filter"]], sample["doc"]["reply"]


@pytest.mark.parametrize("task", [f"{task}-mammoth" if task == "gsm8k" else task for task in mammoth.TASKS])
def test_mathematical_reasoning(task: str, tmp_path: Path) -> None:
    for sample in evaluated(task, AS_MAMMOTH, tmp_path):
        reply = sample["doc"]["reply"]
        said = {metric: sample[metric] for metric in mammoth.METRICS}
        said["extracted"] = mammoth.extract(task.removesuffix("-mammoth"), reply)
        assert said == sample["doc"]["expected"], reply


@pytest.mark.parametrize("task", ["mmlu", *lm_evaluation.UNDERSTANDING])
def test_the_likeliest_choice_counts(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_evaluation, "RESAMPLES", 10)
    for sample in evaluated(task, AS_STOCK, tmp_path):
        right = sample["doc"]["answer" if task == "mmlu" else "label"]
        chosen = sample["doc"]["expected"]["chosen"]
        if "acc" in sample:
            assert sample["acc"] == (chosen == right)
        for metric in sample.keys() & {"f1", "mcc"}:
            assert sample[metric] == [right, chosen]
