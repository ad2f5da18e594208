"""Answers read out of replies and compared as MAmmoTH's evaluation does; the cases are written by hand."""

import pytest

from workflow.steps import lm_evaluation, mammoth
from workflow.steps.evaluate import load
from workflow.steps.files import write_jsonl
from workflow.tasks import tasks

# task, reply, what is read out of it
NUMBERS = [
    ("gsm8k", "3 + 4 = 7\nThe answer is 7", "7"),
    ("gsm8k", "The answer is: 1,250.", "1250"),
    ("gsm8k", "So the answer is $12.50 per day", "12.5"),
    ("gsm8k", "The answer is 18 apples, not 20", "18"),  # the first number behind the words
    ("gsm8k", "First 3, then 5, so 8 in all.", "8"),  # the last one where nothing announces it
    ("gsm8k", "7 * 8 = <<7*8=56>>56\n#### 56", "56"),
    ("gsm8k", "The answer is x = 42", "42"),
    ("gsm8k", "The answer is 2 * 3 = 6", "6"),
    ("gsm8k", "The answer is -4.0", "-4"),
    ("gsm8k", "The answer is 3/4", "0.75"),
    ("gsm8k", "The answer is 3/", "3"),
    ("gsm8k", "The answer is 3/0.", "3/0"),
    ("gsm8k", "The answer is 70%", "70"),
    ("gsm8k", "The answer is 5\n\nQ: more?\nThe answer is 6", "5"),  # answers to questions of its own
    ("gsm8k", "I do not know", ""),
    ("gsm8k", "", ""),
    ("numglue", "The answer is 324 grams", "324"),
    ("numglue", "The answer is B", "B"),
    ("numglue", "(a) is hotter, so the answer is (b)", "B"),
    ("numglue", "#### 5 and 6", "6"),  # no announcement here
]
LETTERS = [
    ("aqua", "5 * 2 = 10\nThe answer is C", "C"),
    ("aqua", "The answer is (d).", "D"),
    ("aqua", "A is too small, B fits: E", "E"),  # the last one where nothing announces it
    ("aqua", "The answer is A or B", "A"),
    ("aqua", "The answer is a bit more", "A"),  # the article counts, as there
    ("aqua", "The answer is 67.40.", "67.40"),
    ("sat_math", "#### B", "B"),
    ("mmlu_math", "The answer is ABC", "ABC"),
    ("mmlu_math", "", ""),
]
EXPRESSIONS = [
    ("math", r"The answer is $\frac12$.", r"\frac{1}{2}"),
    ("math", r"so the answer is \dfrac{1}{2}", r"\frac{1}{2}"),
    ("math", r"Hence $x = \boxed{\frac{3}{4}}$, done.", r"\frac{3}{4}"),
    ("math", r"$\boxed{1}$ or $\boxed{(6, 10)}$", "(6,10)"),
    ("math", r"The answer is $\boxed{5\text{ cm}}$.", "5"),
    ("math", "The answer is 5 cm", "5"),
    ("math", "The answer is 0.5", r"\frac{1}{2}"),
    ("math", "The answer is x=3", "3"),
    ("math", "we get 12 and then 0.75", "0.75"),
    ("math", "nothing", ""),
    ("math", r"The answer is \sqrt", r"\sqrt"),  # too broken for a normal form
    ("math", r"an unclosed \boxed{3", ""),
]


@pytest.mark.parametrize(("task", "reply", "found"), [*NUMBERS, *LETTERS, *EXPRESSIONS])
def test_what_is_read_out_of_a_reply(task: str, reply: str, found: str) -> None:
    assert mammoth.extract(task, reply) == found


@pytest.mark.parametrize(
    ("task", "reply", "right", "expected"),
    [
        ("gsm8k", "The answer is 7.0", "7", (True, True, False)),
        ("gsm8k", "The answer is 8", "7", (False, True, False)),
        ("gsm8k", "None.", "7", (False, False, False)),
        ("gsm8k", "x = 7\nprint(x)", "7", (True, True, True)),
        ("gsm8k", "The answer is 7\n\n### Instruction:\nThe answer is 9", "7", (True, True, False)),
        ("numglue", "Friday it is", "Friday", (False, False, False)),  # words are never read
        ("aqua", "The answer is C", "C", (True, True, False)),
        ("aqua", "no idea", "A", (True, False, False)),  # unreadable counts as A
        ("aqua", "no idea", "C", (False, False, False)),
        ("math", "The answer is 1,599", "1599", (True, True, False)),
        ("math", "The answer is (1,599)", "(1,599)", (True, True, False)),
        ("math", "The answer is 1,59", "159", (False, True, False)),
        ("math", r"\boxed{\frac{14}{2}}", "7", (False, True, False)),  # not simplified
    ],
)
def test_scores(task: str, reply: str, right: str, expected: tuple[bool, ...]) -> None:
    assert mammoth.scores(task, reply, right) == dict(zip(mammoth.METRICS, expected, strict=True))


ROWS = {
    "gsm8k": {"question": " How many? ", "answer": "1 + 1 = 2\n#### 1,002"},
    "aqua": {
        "question": "x?",
        "options": ["A)1", "B) 2", "C)3", "D)4", "E)5"],
        "rationale": "",
        "correct": "B",
    },
    "math": {"problem": "x?", "solution": r"It is $\boxed{\frac12}$."},
    "mmlu_math": {"question": "x?", "subject": "abstract_algebra", "choices": list("wxyz"), "answer": 3},
    "numglue": {"question": "x?", "answer": "4"},
    "sat_math": {"question": "x? \nAnswer Choices: (A) 1 (B) 2 (C) 3 (D) 4", "answer": "D"},
}
ASKED = {
    "gsm8k": ("How many?", "1002"),
    "aqua": ("x?\nAnswer Choices: (A) 1 (B) 2 (C) 3 (D) 4 (E) 5", "B"),
    "math": ("x?", r"\frac{1}{2}"),
    "mmlu_math": ("x?\nAnswer Choices: (A) w (B) x (C) y (D) z", "D"),
    "numglue": ("x?", "4"),
    "sat_math": ("x? \nAnswer Choices: (A) 1 (B) 2 (C) 3 (D) 4", "D"),
}


@pytest.mark.parametrize("task", mammoth.TASKS)
def test_a_task_trains_on_what_it_asks_and_its_own_answer_is_right(task: str) -> None:
    file, row = tasks()[task], ROWS[task]
    assert (file.question(row), file.right(row)) == ASKED[task]
    (prompt, _), (answer, _) = file.example(row, mammoth.TEMPLATE)
    assert prompt == mammoth.PROMPT.format(file.question(row))
    assert mammoth.scores(task, answer, file.right(row))["exact_match"]


def test_rows_of_the_sets_own_files_are_brought_into_shape() -> None:
    """NumGLUE's answers are numbers and words; MMLU's mathematics is five subjects of all."""
    mixed = [{"question": "x?", "answer": answer} for answer in (4, 0.5, "B")]
    assert [row["answer"] for row in tasks()["numglue"].rows(mixed)] == ["4", "0.5", "B"]
    subjects = [{**ROWS["mmlu_math"], "subject": name} for name in ("formal_logic", "virology", "anatomy")]
    assert [row["subject"] for row in tasks()["mmlu_math"].rows(subjects)] == ["formal_logic"]


@pytest.mark.parametrize("task", mammoth.TASKS)
def test_a_task_is_asked_in_batches_and_scored(task: str, tiny_model, tmp_path) -> None:
    write_jsonl(tmp_path / "test.jsonl", [ROWS[task]] * 3)
    settings = {"scoring": "mammoth", "limit": 2, "batch_size": 2, "max_new_tokens": 4}
    lm = lm_evaluation.wrap(*load(tiny_model, "cpu"))
    found, samples = lm_evaluation.evaluation(lm, task, settings, tmp_path)
    assert (found["task"], found["metric"], found["n"]) == (task, "exact_match,none", 2)
    assert (found["num_fewshot"], found["version"]) == (0, mammoth.VERSION)
    assert {f"{metric},none" for metric in mammoth.METRICS} <= set(found["scores"])
    assert found["score"] == sum(sample["exact_match"] for sample in samples) / 2
    assert samples[0]["arguments"][0][0].startswith("Below is an instruction")
