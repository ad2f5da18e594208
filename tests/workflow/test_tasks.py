"""Training text is worded exactly as the evaluation words its questions."""

from pathlib import Path

import pytest
from fastchat.conversation import get_conv_template
from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.tasks._yaml_loader import load_yaml

from workflow.steps.files import write_jsonl
from workflow.steps.lm_evaluation import STOCK
from workflow.steps.lm_evaluation import gsm8k as gsm8k_task
from workflow.steps.lm_evaluation import gsm8k_cot as gsm8k_cot_task
from workflow.steps.lm_evaluation import mmlu as mmlu_group
from workflow.tasks import alpaca, gsm8k, gsm8k_cot, mmlu, mt_bench, tasks

PROBLEMS = [
    {"question": "Ann has 3 pens\nand  buys 2.  How many? ", "answer": "3 + 2 = <<3+2=5>>5\n#### 5"},
    {"question": "Why {{braces}}?", "answer": "Because.\n#### 1,000"},
]
KNOWN = {"question": " 1 + 1? ", "subject": "abstract_algebra", "choices": ["1", "2", " 3", "4"], "answer": 1}
NEW = {
    "question": "Red?",
    "subject": "things_by_colour",
    "choices": ["sky", "sea", "sun", "rose"],
    "answer": 3,
}
CHOICES = [KNOWN, NEW]


def asked(task: Task) -> list[Instance]:
    """lm-eval's own requests for every question of a task, zero-shot."""
    task.set_config("num_fewshot", 0)
    task.build_all_requests(rank=0, world_size=1)
    return task.instances


def test_gsm8k(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_jsonl(tmp_path / f"{split}.jsonl", PROBLEMS)
    task = gsm8k_task(tmp_path)
    for request in asked(task):
        row = PROBLEMS[request.doc_id]
        answer = task.config.target_delimiter + task.doc_to_target(request.doc)
        assert gsm8k.example(row, template="oasst_pythia") == [(request.args[0], False), (answer, True)]


def test_gsm8k_cot(tmp_path: Path) -> None:
    """Trained as asked; the answer is worded as in the eight examples, which lm-eval's filters read."""
    write_jsonl(tmp_path / "test.jsonl", PROBLEMS)
    task = gsm8k_cot_task(tmp_path)
    task.set_config("num_fewshot", 8)
    assert "The answer is 6.\n\nQ: If there are 3 cars" in task.fewshot_context(PROBLEMS[0], 8)
    for request in asked(task):
        row = PROBLEMS[request.doc_id]
        (prompt, _), (answer, _) = gsm8k_cot.example(row, template="")
        assert prompt == request.args[0]
        assert answer.endswith(f" The answer is {task.doc_to_target(request.doc)}.")


def test_mmlu(tmp_path: Path) -> None:
    for split in ("dev", "test"):
        write_jsonl(tmp_path / f"{split}.jsonl", CHOICES)
    found = {part.task_name: part for part in mmlu_group(tmp_path).get_all_tasks()}
    assert sorted(found) == ["mmlu_abstract_algebra", "mmlu_things_by_colour"]
    for row in CHOICES:
        right = asked(found[f"mmlu_{row['subject']}"])[row["answer"]]
        assert mmlu.example(row, template="oasst_pythia") == [(right.args[0], False), (right.args[1], True)]


def test_mmlu_describes_every_stock_subject_as_lm_eval_does() -> None:
    stock = {path: load_yaml(path) for path in (STOCK / "mmlu/default").glob("mmlu_*.yaml")}
    assert len(stock) == 57
    for path, definition in stock.items():
        assert mmlu.description(path.stem.removeprefix("mmlu_")) == definition["description"]


@pytest.mark.parametrize("context", ["", "Sun, moon."])
def test_alpaca(context: str) -> None:
    dialogue = get_conv_template("alpaca")
    dialogue.append_message(dialogue.roles[0], "Name one." + (f"\n\n{context}" if context else ""))
    dialogue.append_message(dialogue.roles[1], None)
    row = {"instruction": "Name one.", "input": context, "output": "Sun."}
    assert alpaca.example(row, "alpaca") == [(dialogue.get_prompt(), False), (" Sun.</s>", True)]


def test_mt_bench(questions: list[dict]) -> None:
    dialogue = get_conv_template("oasst_pythia")
    for question, answer in zip(questions[0]["turns"], questions[0]["reference"], strict=True):
        dialogue.append_message(dialogue.roles[0], question)
        dialogue.append_message(dialogue.roles[1], answer)
    assert (
        "".join(text for text, _ in mt_bench.example(questions[0], "oasst_pythia")) == dialogue.get_prompt()
    )


def test_every_task_file_defines_what_the_walk_needs() -> None:
    assert set(tasks()) >= {"alpaca", "gsm8k", "mmlu", "mt_bench"}
    for name, task in tasks().items():
        assert all(isinstance(kind, type) for kind in task.COLUMNS.values()), name
        assert callable(task.example), name
