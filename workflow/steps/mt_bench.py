"""MT-Bench: two-turn questions, answered in FastChat's templates and kept in its file formats.

Beneath `mt_bench/` lie `model_answer/<model>.jsonl` and
`model_judgment/<judge>_single.jsonl`, which FastChat's own tools read.

    python -m workflow.steps.mt_bench gpt-4_single.jsonl --questions question.jsonl

prints the scores in such a file, whoever wrote it.
"""

import argparse
import statistics
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from workflow.steps import judge
from workflow.steps.conversation import blank
from workflow.steps.files import InputError, exit_on_input_error, read_jsonl, write_jsonl

VERSION = 1  # raise it with any change that can alter an answer: kept answers are then asked for again
TURNS = 2
SEED = 0  # FastChat's, for the one answer it samples to a question
# FastChat's temperatures; a question's own `required_temperature` goes before them, as in FastChat.
TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
OTHER_TEMPERATURE = 0.7


def read_questions(path: Path, limit: int | None) -> list[dict]:
    """The first `limit` questions of a file in FastChat's format; all of them for null."""
    questions = list(read_jsonl(path))[:limit]
    for question in questions:
        number, turns = question["question_id"], len(question["turns"])
        if turns != TURNS:
            raise InputError(f"{path}: question {number} has {turns} turns, not {TURNS}")
    return questions


def evaluation(
    model: Any, tokenizer: Any, settings: dict, questions: list[dict], name: str, run_id: str, folder: Path
) -> tuple[dict, list[dict]]:
    """Answers the questions and has them judged: the `evaluation` object of a result file, and every sample.

    `name` stands for the model in FastChat's files, which go into `folder`.
    `run_id` tells which training made the model: answers kept from it, and the
    judgements of them, are not asked for again.  Raises InputError naming the
    question where an answer or a judgement is missing.
    """
    started = time.perf_counter()
    answers, truncated = _answers(model, tokenizer, settings, questions, name, run_id, folder)
    judged = judge.judgements(settings["judge"], questions, answers, name, folder)
    scores = scores_of(judged, questions) if settings["judge"] else {}
    return {
        "task": "mt_bench",
        "metric": "score",
        "score": scores.pop("mean", None),
        "stderr": scores.pop("stderr", None),
        "n": len(questions),
        "scores": scores,
        "judge": settings["judge"] and settings["judge"]["name"],
        "version": VERSION,
        "num_fewshot": None,
        "limit": settings["limit"],
        "batch_size": settings["batch_size"],
        "seconds": time.perf_counter() - started,
        "seeds": {"torch": SEED},
        "truncated": truncated,
    }, _samples(questions, answers, judged)


def scores_of(judgements: list[dict], questions: list[dict]) -> dict[str, float | None]:
    """FastChat's means over judgements: of all, of each turn, and of each category of the questions.

    `stderr` is that of the questions' means.  Raises InputError naming a question that
    is not among `questions`, and the first that a judgement is missing for; FastChat
    would leave it out silently.
    """
    known = {question["question_id"] for question in questions}
    for row in judgements:
        if row["question_id"] not in known:
            raise InputError(f"mt_bench: a judgement is of question {row['question_id']}, which is not asked")
    found = {(row["question_id"], row["turn"]): row["score"] for row in judgements if row["score"] != -1}
    groups: dict[str, list[float]] = defaultdict(list)
    for question in questions:
        for turn in range(1, TURNS + 1):
            number = question["question_id"]
            score = found.get((number, turn))
            if score is None:
                raise InputError(f"mt_bench: question {number}, turn {turn} has no score from the judge")
            for group in ("mean", f"turn {turn}", question["category"]):
                groups[group].append(score)
    scores: dict[str, float | None] = {group: statistics.fmean(of) for group, of in groups.items()}
    turns = (groups[f"turn {turn}"] for turn in range(1, TURNS + 1))
    means = [statistics.fmean(both) for both in zip(*turns, strict=True)]
    scores["stderr"] = statistics.stdev(means) / len(means) ** 0.5 if len(means) > 1 else None
    return scores


def _answers(
    model: Any, tokenizer: Any, settings: dict, questions: list[dict], name: str, run_id: str, folder: Path
) -> tuple[dict[int, dict], int]:
    """FastChat's answer rows by question, kept or generated, and how many prompts lost their beginning."""
    file = folder / "model_answer" / f"{name}.jsonl"
    kept = {row["answer_id"]: row for row in read_jsonl(file)} if file.exists() else {}
    keys = ("template", "max_new_tokens", "batch_size", "limit")
    made_from = [VERSION, run_id, *(settings[key] for key in keys)]
    ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, repr([*made_from, question]))) for question in questions]
    if not all(each in kept for each in ids):
        turns, truncated = answer(model, tokenizer, questions, settings)
        kept = {
            each: {
                "question_id": question["question_id"],
                "answer_id": each,
                "model_id": name,
                "choices": [{"index": 0, "turns": turns[question["question_id"]]}],
                "tstamp": time.time(),
                "truncated": truncated[question["question_id"]],
            }
            for each, question in zip(ids, questions, strict=True)
        }
        write_jsonl(file, kept.values())
    rows = {kept[each]["question_id"]: kept[each] for each in ids}
    return rows, sum(row["truncated"] for row in rows.values())


def temperature(question: dict) -> float:
    return question.get("required_temperature", TEMPERATURES.get(question["category"], OTHER_TEMPERATURE))


def answer(
    model: Any, tokenizer: Any, questions: list[dict], settings: dict
) -> tuple[dict[int, list[str]], dict[int, int]]:
    """The model's turns, and how many of its prompts were cut to fit the context, each by question id.

    Questions of one temperature share batches; each batch draws from the same seed.
    """
    turns: dict[int, list[str]] = {question["question_id"]: [] for question in questions}
    truncated = dict.fromkeys(turns, 0)
    with tqdm(total=TURNS * len(questions), desc="mt_bench answers") as bar:
        for batch in _batches(questions, settings["batch_size"]):
            torch.manual_seed(SEED)
            dialogues = [blank(settings["template"]) for _ in batch]
            for turn in range(TURNS):
                for question, dialogue in zip(batch, dialogues, strict=True):
                    dialogue.append_message(dialogue.roles[0], question["turns"][turn])
                    dialogue.append_message(dialogue.roles[1], None)
                degree, length = temperature(batch[0]), settings["max_new_tokens"]
                replies, cut = _generate(model, tokenizer, dialogues, degree, length)
                for question, dialogue, reply, short in zip(batch, dialogues, replies, cut, strict=True):
                    dialogue.update_last_message(reply)
                    turns[question["question_id"]].append(reply)
                    truncated[question["question_id"]] += short
                bar.update(len(batch))
    return turns, truncated


def _batches(questions: list[dict], size: int) -> Iterator[list[dict]]:
    for _, group in groupby(sorted(questions, key=temperature), key=temperature):
        alike = list(group)
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


@torch.inference_mode()
def _generate(
    model: Any, tokenizer: Any, dialogues: list, degree: float, max_new_tokens: int
) -> tuple[list[str], list[bool]]:
    """One reply to each dialogue, and whether its prompt had to lose its beginning."""
    context = getattr(
        model.config, "max_position_embeddings", sys.maxsize
    )  # models without a limit name none
    room = context - max_new_tokens
    if room < 1:
        raise InputError(f"mt_bench: max_new_tokens {max_new_tokens} fills the model's context of {context}")
    prompts = tokenizer([dialogue.get_prompt() for dialogue in dialogues])["input_ids"]
    cut = [len(prompt) > room for prompt in prompts]
    prompts = [prompt[-room:] for prompt in prompts]
    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])

    ends = model.generation_config.eos_token_id
    ends = {*(ends if isinstance(ends, list) else [ends]), *(dialogues[0].stop_token_ids or ())} - {None}
    sampling = {"do_sample": True, "temperature": degree} if degree > 0 else {"do_sample": False}
    output = model.generate(
        ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=max_new_tokens,
        pad_token_id=pad,
        eos_token_id=sorted(ends) or None,
        **sampling,
    )
    stop = dialogues[0].stop_str
    return [_reply(tokens, tokenizer, ends, stop) for tokens in output[:, width:].tolist()], cut


def _reply(tokens: list[int], tokenizer: Any, ends: set[int], stop: str | list[str] | None) -> str:
    """The text up to the first token in `ends` or string in `stop`, without special tokens."""
    length = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    text = tokenizer.decode(tokens[:length], skip_special_tokens=False)
    for string in [stop] if isinstance(stop, str) else stop or ():
        text = text.partition(string)[0]
    for special in tokenizer.all_special_tokens:
        text = text.replace(special, "")
    return text.strip()


def _samples(questions: list[dict], answers: dict[int, dict], judged: list[dict]) -> list[dict]:
    """A row for each question and turn: what was asked, answered and judged."""
    found = {(row["question_id"], row["turn"]): row for row in judged}
    rows = []
    for question in questions:
        number = question["question_id"]
        references = [*(question.get("reference") or ()), *[None] * TURNS]  # few real questions have any
        for turn in range(1, TURNS + 1):
            judgement = found.get((number, turn), {})
            rows.append(
                {
                    "question_id": number,
                    "category": question["category"],
                    "turn": turn,
                    "question": question["turns"][turn - 1],
                    "reference": references[turn - 1],
                    "answer": answers[number]["choices"][0]["turns"][turn - 1],
                    "judgment": judgement.get("judgment"),
                    "score": judgement.get("score"),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the scores in a file of single-answer judgements.")
    parser.add_argument("judgements", type=Path, help="a file such as FastChat's gpt-4_single.jsonl")
    parser.add_argument("--questions", type=Path, required=True, help="FastChat's question.jsonl")
    arguments = parser.parse_args()
    questions = read_questions(arguments.questions, None)
    rows = sorted(read_jsonl(arguments.judgements), key=lambda row: row["model"])
    for model, judged in groupby(rows, key=lambda row: row["model"]):
        for name, score in scores_of(list(judged), questions).items():
            print(f"{model}\t{name}\t{score}")


if __name__ == "__main__":
    exit_on_input_error(main)
