"""Who scores MT-Bench answers, 1 to 10: a program where answers can be checked, or a language model."""

import time
from pathlib import Path

from workflow.steps.files import InputError, write_jsonl

CHECKER = "checker"


def check(settings: dict | None, questions: list[dict]) -> None:
    """Raises InputError where the judge could not do its work; nothing is asked of it."""
    if settings is None:
        return
    if settings["name"] == CHECKER:
        for question in questions:
            if len(question.get("reference") or ()) != len(question["turns"]):
                raise InputError(
                    f"tasks.mt_bench.judge: the checker needs a `reference` for each turn, and question "
                    f"{question['question_id']} has not; name another judge, or none"
                )


def judgements(
    settings: dict, questions: list[dict], answers: dict[int, dict], model: str, folder: Path
) -> list[dict]:
    """FastChat's single-answer judgements, one for each question and turn, also written to `folder`."""
    file = folder / "model_judgment" / f"{settings['name'].replace('/', '--')}_single.jsonl"
    rows = [
        _checked(question, turn, answers[question["question_id"]], model)
        for question in questions
        for turn in (1, 2)
    ]
    write_jsonl(file, rows)
    return rows


def _checked(question: dict, turn: int, answer: dict, model: str) -> dict:
    given, right = answer["choices"][0]["turns"][turn - 1], question["reference"][turn - 1]
    return {
        "question_id": question["question_id"],
        "model": model,
        "judge": [CHECKER, CHECKER],
        "user_prompt": question["turns"][turn - 1],
        "judgment": f"wanted: {right}",
        "score": score(given, right),
        "turn": turn,
        "tstamp": time.time(),
    }


def score(answer: str, reference: str) -> float:
    """The checker's score: 10 for the right words alone, else 1 + 8 x the fraction in the right place.

    Words are what white space separates.  The fraction is of the longer text, so
    that neither leaving words out nor adding some pays.
    """
    given, right = answer.split(), reference.split()
    if given == right:
        return 10.0
    hits = sum(word == wanted for word, wanted in zip(given, right, strict=False))
    return 1.0 + 8.0 * hits / max(len(given), len(right))
