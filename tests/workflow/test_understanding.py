"""SuperGLUE and GLUE: trained as lm-eval's stock tasks ask, on rows of the hub or of SuperGLUE's release."""

from pathlib import Path

import pytest

from workflow.steps import data, lm_evaluation
from workflow.steps.evaluate import load
from workflow.steps.files import read_jsonl, write_jsonl
from workflow.tasks import tasks

PAIR = {"sentence1": "The box was in the pen.", "sentence2": "Pens hold boxes?"}
ROWS = {
    "boolq": {"passage": "Tax -- It's due.", "question": "is it due"},
    "copa": {"premise": "It rained. ", "question": "cause", "choice1": "A cloud came.", "choice2": "I sang."},
    "multirc": {"paragraph": "Ann isn't in.", "question": "Who's 'in'?", "answer": "nobody'"},
    "wic": {**PAIR, "word": "pen", "start1": 19, "end1": 22, "start2": 0, "end2": 4},
    "wsc": {
        "text": "Ann told Eve that she , not Eve , won .",
        "span1_text": "Ann",
        "span2_text": "she",
        "span1_index": 0,
        "span2_index": 4,
    },
    "cola": {"sentence": "Our friends won't buy this."},
    "mrpc": PAIR,
    "rte": PAIR,
    "sst2": {"sentence": "hide new secretions from the parental units "},
}


def labelled(task: str) -> list[dict]:
    """A row of either label; MultiRC numbers its rows three times over."""
    ids = {"paragraph": 0, "question": 0, "answer": 1} if task == "multirc" else 0
    return [{**ROWS[task], "idx": ids, "label": label} for label in (0, 1)]


@pytest.mark.parametrize("task", lm_evaluation.UNDERSTANDING)
def test_a_row_is_trained_on_as_it_is_asked(task: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", labelled(task))
    asked = lm_evaluation.TASKS[task](tmp_path)
    asked.set_config("num_fewshot", 0)
    asked.build_all_requests(rank=0, world_size=1)
    for request in asked.instances:
        row = labelled(task)[request.doc_id]
        is_right = request.idx == row["label"]
        trained = tasks()[task].example(row, template="")
        assert (trained == [(request.args[0], False), (request.args[1], True)]) == is_right


def test_the_right_answer_of_multirc_ends_with_yes() -> None:
    wrong, right = (tasks()["multirc"].example(row, "")[1][0] for row in labelled("multirc"))
    assert wrong == " nobody'\nIs the answer correct? no" and right.endswith("yes")


@pytest.mark.parametrize("task", lm_evaluation.UNDERSTANDING)
def test_a_task_is_scored(task: str, tiny_model, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lm_evaluation, "RESAMPLES", 10)
    write_jsonl(tmp_path / "test.jsonl", labelled(task) * 3)
    lm = lm_evaluation.wrap(*load(tiny_model, "cpu"))
    settings = {"limit": None, "batch_size": 4}
    found, samples = lm_evaluation.evaluation(lm, task, settings, tmp_path)
    assert (found["n"], found["num_fewshot"], len(samples)) == (6, 0, 6)
    assert found["metric"] == ("mcc,none" if task == "cola" else "acc,none")
    chosen = [max((0, 1), key=lambda i: float(sample["resps"][i][0][0])) for sample in samples]
    if task != "cola":
        assert found["score"] == sum(c == s["doc"]["label"] for c, s in zip(chosen, samples, strict=True)) / 6


def source(folder: Path, task: str) -> dict:
    """Where a task's labelled rows lie among the real data; RTE's are GLUE's."""
    group = "superglue" if (folder / "superglue" / task).is_dir() else "glue"
    return {"path": str(folder / group / task), "splits": {"test": "validation"}}


def test_real_rows_of_both_forms_become_those_of_the_hub(data_root: Path, tmp_path: Path) -> None:
    """Labels as words and a nested target, as SuperGLUE was released; numbers, as GLUE's are."""
    folder = data_root / "data"
    names = [task for task in lm_evaluation.UNDERSTANDING if task != "multirc"]
    sources = {task: source(folder, task) for task in names}
    config = {"data": {"seed": 0, "validation": 1, "sources": sources}, "train": {"data": {}}}
    manifest = data.prepare(config, tmp_path)
    counts = {"boolq": 3270, "copa": 100, "wsc": 104, "wic": 638, "rte": 277, "mrpc": 408, "sst2": 872}
    assert {task: manifest[f"{task}/test.jsonl"]["rows"] for task in counts} == counts
    for task in names:
        rows = list(read_jsonl(tmp_path / task / "test.jsonl"))
        assert {row["label"] for row in rows} == {0, 1}
        texts = ["".join(text for text, _ in tasks()[task].example(row, "")) for row in rows]
        assert len(set(texts)) > 0.9 * len(texts)
    raw = next(read_jsonl(folder / "superglue/wsc/validation.jsonl.gz"))
    assert next(read_jsonl(tmp_path / "wsc" / "test.jsonl"))["span1_text"] == raw["target"]["span1_text"]
