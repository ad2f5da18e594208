"""Who scores MT-Bench answers, 1 to 10: a program where answers can be checked, or a language model.

A language model is asked FastChat's single-answer questions, made and read by
FastChat's own code; judge prompts and reference answers are files in its formats.
"""

import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from workflow.steps.files import InputError, read_jsonl, write_jsonl

CHECKER = "checker"
TURNS = (1, 2)
# Of a language model; `name`, `prompts` (a file) and `references` (a file) must be given.
DEFAULTS = {
    "base_url": None,
    "api_key_env": "OPENAI_API_KEY",
    "timeout": 120,
    "retries": 10,
    "parallel": 4,
    "requests_per_minute": None,
    "max_tokens": 2048,  # FastChat's
    "price": None,
    "max_cost": None,
}
FILES = {"prompts": "judge_prompts.jsonl", "references": "reference_answer/gpt-4.jsonl"}
PROMPTS = {
    (1, False): "single-v1",
    (1, True): "single-math-v1",
    (2, False): "single-v1-multi-turn",
    (2, True): "single-math-v1-multi-turn",
}  # by turn, and whether the category needs reference answers


def check(settings: dict | None, questions: list[dict]) -> None:
    """Raises InputError where the judge could not do its work; nothing is asked of it."""
    if settings is None:
        return
    if settings["name"] == CHECKER:
        for question in questions:
            if len(question.get("reference") or ()) != len(question["turns"]):
                raise InputError(
                    "judge: the checker needs a `reference` for each turn, and question "
                    f"{question['question_id']} has not; name another judge, or null"
                )
        return
    for key, example in FILES.items():
        if settings.get(key) is None:
            raise InputError(f"judge.{key}: give the path of a file such as FastChat's {example}")
    if settings.get("max_cost") is not None and settings.get("price") is None:
        raise InputError(
            "judge.max_cost needs judge.price: `input` and `output`, US dollars per million tokens"
        )
    from workflow.steps.endpoint import Endpoint

    Endpoint({**DEFAULTS, **settings})
    unanswered: dict[int, dict] = {question["question_id"]: {} for question in questions}
    list(_Grading(settings).matches(questions, unanswered, model=""))


def judgements(
    settings: dict | None, questions: list[dict], answers: dict[int, dict], model: str, folder: Path
) -> list[dict]:
    """FastChat's single-answer judgements, one a question and turn, kept in `folder`; none without a judge.

    `answers` are FastChat's answer rows by question.  A score of -1 is a judgement
    without a rating from 1 to 10.  Raises InputError naming the question whose
    answer is FastChat's "ERROR".
    """
    if settings is None:
        return []
    for number, row in answers.items():
        if "ERROR" in row["choices"][0]["turns"]:
            raise InputError(f"mt_bench: the answer to question {number} is ERROR: its generation failed")
    file = folder / "model_judgment" / f"{settings['name'].replace('/', '--')}_single.jsonl"
    if settings["name"] == CHECKER:
        rows = [_checked(question, turn, answers, model) for question in questions for turn in TURNS]
        write_jsonl(file, rows)
        return rows
    return _graded({**DEFAULTS, **settings}, questions, answers, model, file)


def _checked(question: dict, turn: int, answers: dict[int, dict], model: str) -> dict:
    given = answers[question["question_id"]]["choices"][0]["turns"][turn - 1]
    right = question["reference"][turn - 1]
    return {
        "question_id": question["question_id"],
        "model": model,
        "judge": [CHECKER, CHECKER],
        "user_prompt": question["turns"][turn - 1],
        "judgment": f"right: {right}",
        "score": checker_score(given, right),
        "turn": turn,
        "tstamp": time.time(),
    }


def checker_score(answer: str, reference: str) -> float:
    """10 for the right words alone, otherwise 1 + 8 x the fraction of words in the right place.

    Words are what white space separates.  The fraction is of the longer text, so
    that neither leaving words out nor adding some pays.
    """
    given, right = answer.split(), reference.split()
    if given == right:
        return 10.0
    hits = sum(word == wanted for word, wanted in zip(given, right, strict=False))
    return 1.0 + 8.0 * hits / max(len(given), len(right))


def _graded(
    settings: dict, questions: list[dict], answers: dict[int, dict], model: str, file: Path
) -> list[dict]:
    """Asks for the judgements that `file` does not hold yet, writing each as it comes."""
    from workflow.steps.endpoint import Endpoint, tokens

    endpoint, grading = Endpoint(settings), _Grading(settings)
    kept = {_key(row): row for row in read_jsonl(file)} if file.exists() else {}
    rows, waiting = [], []
    for match in grading.matches(questions, answers, model):
        row, call = grading.ask(match)
        earlier = kept.get(_key(row), row)
        if earlier["score"] == -1:
            waiting.append((match, call))
        else:
            rows.append(earlier)
    sent = sum(tokens(call["messages"]) for _, call in waiting)
    received = settings["max_tokens"] * len(waiting)
    most = f"at most ${endpoint.cost(sent, received):.2f}"
    print(
        f"mt_bench: {len(waiting)} judgements to get from {settings['name']}, {len(rows)} kept: "
        f"about {sent} tokens in, at most {received} out; "
        f"cost {most if settings['price'] else 'unknown (no judge.price)'}",
        flush=True,
    )
    failed = threading.Event()

    def ask(call: dict) -> str | None:
        """After a failure nothing more is asked, while calls under way are finished: they are paid for."""
        if failed.is_set():
            return None
        try:
            return endpoint.ask(**call)
        except Exception:
            failed.set()
            raise

    failure = None
    with ThreadPoolExecutor(settings["parallel"]) as pool:
        futures = {pool.submit(ask, call): match for match, call in waiting}
        try:
            for future in tqdm(as_completed(futures), total=len(futures), desc="mt_bench judgements"):
                if future.exception() is not None:
                    failure = future.exception()
                elif (reply := future.result()) is not None:
                    rows.append(grading.read(futures[future], reply))
                    write_jsonl(file, sorted(rows, key=lambda row: (row["turn"], row["question_id"])))
        finally:
            failed.set()
    if failure is not None:
        raise failure
    return rows


def _key(row: dict) -> tuple:
    """What a judgement is of: the prompt holds question, answer and reference."""
    return row["question_id"], row["turn"], tuple(row["judge"]), row["model"], row["user_prompt"]


class _Grading:
    """FastChat's single-answer grading, with our call in place of its one call to OpenAI."""

    JUDGE = "gpt-4"  # what FastChat calls any judge here: it refuses names that it does not know

    def __init__(self, settings: dict) -> None:
        self.name = settings["name"]
        self.fastchat = fastchat_judging()
        self.prompts = {row["name"]: row for row in read_jsonl(Path(settings["prompts"]))}
        self.references = {row["question_id"]: row for row in read_jsonl(Path(settings["references"]))}
        for prompt in PROMPTS.values():
            if prompt not in self.prompts:
                raise InputError(f"judge.prompts: {settings['prompts']} has no prompt {prompt!r}")

    def matches(self, questions: list[dict], answers: dict[int, dict], model: str) -> Iterator[Any]:
        """What there is to grade, first turns before second ones, as FastChat's `MatchSingle`."""
        for turn in TURNS:
            for question in questions:
                number = question["question_id"]
                needs_reference = question["category"] in self.fastchat.NEED_REF_CATS
                if needs_reference and number not in self.references:
                    raise InputError(
                        f"judge.references has no answer to question {number}, which is graded against one"
                    )
                prompt = self.prompts[PROMPTS[turn, needs_reference]]
                yield self.fastchat.MatchSingle(
                    question,
                    model,
                    answers[number],
                    self.fastchat.Judge(self.JUDGE, prompt, ref_based=needs_reference, multi_turn=turn == 2),
                    ref_answer=self.references[number] if needs_reference else None,
                    multi_turn=turn == 2,
                )

    def ask(self, match: Any) -> tuple[dict, dict]:
        """The judgement's row, still without a rating, and the arguments of the call that gets it."""
        calls: list[dict] = []

        def note(_: str, conversation: Any, temperature: float, max_tokens: int) -> str:
            calls.append({"messages": conversation.to_openai_api_messages(), "temperature": temperature})
            return ""

        return self._row(match, note), calls[0]

    def read(self, match: Any, reply: str) -> dict:
        return self._row(match, lambda *_, **__: reply)

    def _row(self, match: Any, complete: Callable[..., str]) -> dict:
        self.fastchat.chat_completion_openai = complete
        score, user_prompt, judgment = self.fastchat.run_judge_single(
            match.question, match.answer, match.judge, match.ref_answer, multi_turn=match.multi_turn
        )
        return {
            "question_id": match.question["question_id"],
            "model": match.model,
            "judge": [self.name, match.judge.prompt_template["name"]],
            "user_prompt": user_prompt,
            "judgment": judgment,
            "score": score if 1 <= score <= 10 else -1,
            "turn": 2 if match.multi_turn else 1,
            "tstamp": time.time(),
        }


def fastchat_judging() -> Any:
    """FastChat's judging code, which also imports a client for Anthropic that nothing here calls."""
    stand_in = importlib.util.find_spec("anthropic") is None
    if stand_in:
        sys.modules["anthropic"] = ModuleType("anthropic")
    try:
        from fastchat.llm_judge import common
    finally:
        if stand_in:
            del sys.modules["anthropic"]
    return common
