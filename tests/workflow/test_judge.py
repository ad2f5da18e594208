"""The checker, and a language model as judge behind a real server on 127.0.0.1."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from workflow.steps import endpoint, judge, mt_bench
from workflow.steps.files import InputError, read_jsonl, write_jsonl

Reply = tuple[int, dict | str]
GOLDEN = Path(__file__).parent / "golden"


class Server:
    """An OpenAI-compatible server whose answer to call number n (from 0) a test decides."""

    def __init__(self) -> None:
        self.bodies: list[dict] = []
        self.keys: list[str | None] = []
        self.answer: Callable[[int, dict], Reply] = lambda number, body: rated("Fine. [[7]]")
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(server.bodies)
                    server.bodies.append(body)
                    server.keys.append(self.headers["Authorization"])
                status, content = server.answer(number, body)
                data = (content if isinstance(content, str) else json.dumps(content)).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None  # a client that gave up waiting
        self.address = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self.thread.start()

    def stop(self) -> None:
        """From now on connections are refused."""
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def rated(text: str, tokens: tuple[int, int] = (100, 10)) -> Reply:
    return 200, {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "judge",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def answers(questions: list[dict]) -> dict[int, dict]:
    return {
        q["question_id"]: {
            "question_id": q["question_id"],
            "choices": [{"index": 0, "turns": ["one", "two"]}],
        }
        for q in questions
    }


@pytest.fixture
def settings(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """A judge with prompts and references of its own, in FastChat's format."""
    monkeypatch.setenv("JUDGE_KEY", "secret")
    single, both = "Q {question} A {answer}", "Q {question_1} A {answer_1} Q {question_2} A {answer_2}"
    texts = {
        "single-v1": single,
        "single-math-v1": f"{single} R {{ref_answer_1}}",
        "single-v1-multi-turn": both,
        "single-math-v1-multi-turn": f"{both} R {{ref_answer_1}} {{ref_answer_2}}",
    }
    form = {"type": "single", "system_prompt": "You grade.", "output_format": "[[rating]]"}
    prompts = [{"name": name, "prompt_template": text, **form} for name, text in texts.items()]
    references = [
        {"question_id": n, "choices": [{"turns": ["right", "also right"]}]} for n in (102, 105, 106)
    ]
    write_jsonl(tmp_path / "prompts.jsonl", prompts)
    write_jsonl(tmp_path / "references.jsonl", references)
    return {
        "name": "my/judge",
        "base_url": server.address,
        "api_key_env": "JUDGE_KEY",
        "prompts": str(tmp_path / "prompts.jsonl"),
        "references": str(tmp_path / "references.jsonl"),
        "retries": 3,
        "parallel": 2,
    }


def test_both_turns_are_graded_with_fastchats_prompts(server, settings, questions, answers, tmp_path) -> None:
    rows = judge.judgements(settings, questions, answers, "m", tmp_path)
    assert sorted((row["question_id"], row["turn"]) for row in rows) == [
        (n, t) for n in range(101, 107) for t in (1, 2)
    ]
    assert {row["score"] for row in rows} == {7}
    found = {(row["question_id"], row["turn"]): row for row in rows}
    assert found[101, 1]["judge"] == ["my/judge", "single-v1"]
    assert found[101, 1]["user_prompt"] == "Q Write the number 101. A one"
    assert found[102, 2]["judge"] == ["my/judge", "single-math-v1-multi-turn"]
    assert found[102, 2]["user_prompt"].endswith("A two R right also right")
    asked = server.bodies[0]
    assert asked["model"] == "my/judge" and asked["temperature"] == 0 and asked["max_tokens"] == 2048
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert set(server.keys) == {"Bearer secret"}
    kept = list(read_jsonl(tmp_path / "model_judgment" / "my--judge_single.jsonl"))
    assert sorted(map(str, kept)) == sorted(map(str, rows))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, settings, questions, answers, tmp_path, status: int) -> None:
    server.answer = lambda number, body: (status, {"error": {}}) if number < 2 else rated("[[3]]")
    rows = judge.judgements(settings, questions, answers, "m", tmp_path)
    assert [row["score"] for row in rows] == [3] * 12
    assert len(server.bodies) == 14


def test_a_time_out_is_asked_again_and_then_explained(server, settings, questions, answers, tmp_path) -> None:
    silent = threading.Event()

    def answer(number: int, body: dict) -> Reply:
        silent.wait(5)
        return rated("[[3]]")

    server.answer = answer
    impatient = {**settings, "timeout": 0.2, "retries": 1, "parallel": 1}
    with pytest.raises(InputError, match=r"does not answer in 0\.2 s; raise judge\.timeout"):
        judge.judgements(impatient, questions, answers, "m", tmp_path)
    silent.set()
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, r"refused the key in JUDGE_KEY \(401\); set a valid one"),
        (404, r"knows no such model or address \(404\)"),
        (429, r"still answers 429 after 3 retries; wait"),
        (400, r"refused the call \(Error code: 400"),
    ],
)
def test_a_refusal_is_one_sentence(
    server, settings, questions, answers, tmp_path, status: int, sentence: str
) -> None:
    server.answer = lambda number, body: (status, {"error": {"message": "no"}})
    with pytest.raises(InputError, match=sentence) as caught:
        judge.judgements(settings, questions, answers, "m", tmp_path)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_server_without_keys_is_asked_without_one(server, settings, questions, answers, tmp_path) -> None:
    keyless = {**settings, "api_key_env": None}
    judge.check(keyless, questions)
    assert len(judge.judgements(keyless, questions, answers, "m", tmp_path)) == 12
    server.answer = lambda number, body: (401, {"error": {}})
    with pytest.raises(InputError, match=r"wants a key \(401\); set judge\.api_key_env"):
        judge.judgements(keyless, questions, answers, "other", tmp_path)


def test_calls_keep_to_the_rate(server, settings, questions, answers, tmp_path, monkeypatch) -> None:
    """The first call goes at once, and each later one its share of a minute after the one before."""
    clock, waits = [1000.0], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(endpoint, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    judge.judgements(
        {**settings, "parallel": 1, "requests_per_minute": 30}, questions, answers, "m", tmp_path
    )
    assert waits == [0.0] + [2.0] * 11


def test_an_interruption_costs_nothing(server, settings, questions, answers, tmp_path) -> None:
    """The key is refused in the middle; a second start asks only for what is missing."""
    server.answer = lambda number, body: rated("[[9]]") if number < 5 else (401, {"error": {}})
    with pytest.raises(InputError):
        judge.judgements(settings, questions, answers, "m", tmp_path)
    kept = list(read_jsonl(tmp_path / "model_judgment" / "my--judge_single.jsonl"))
    assert len(kept) == 5
    server.bodies.clear()
    server.answer = lambda number, body: rated("[[9]]")
    rows = judge.judgements(settings, questions, answers, "m", tmp_path)
    assert len(rows) == 12 and len(server.bodies) == 7
    answers[103]["choices"][0]["turns"][0] = "another answer"
    server.bodies.clear()
    judge.judgements(settings, questions, answers, "m", tmp_path)
    assert len(server.bodies) == 2  # both turns of the question whose answer changed


def test_an_endpoint_that_goes_down_in_the_middle(server, settings, questions, answers, tmp_path) -> None:
    """The call under way is cut off, the next ones are refused; another endpoint gets what is missing."""

    def answer(number: int, body: dict) -> Reply:
        if number == 5:
            server.stop()
            raise ConnectionAbortedError
        return rated("[[9]]")

    server.answer = answer
    alone = {**settings, "parallel": 1, "retries": 1}
    with pytest.raises(InputError, match="cannot be reached; see that it is up, then start again: finished"):
        judge.judgements(alone, questions, answers, "m", tmp_path)
    assert len(server.bodies) == 6
    other = Server()
    rows = judge.judgements({**alone, "base_url": other.address}, questions, answers, "m", tmp_path)
    other.stop()
    assert (len(rows), len(other.bodies)) == (12, 7)


@pytest.mark.parametrize(
    "content",
    ["<html>Welcome</html>", '{"choices": [{"mess', {}, {"choices": []}, {"choices": [{"index": 0}]}],
)
def test_what_is_no_chat_completion_is_one_sentence_and_the_last_call(
    server, settings, questions, answers, tmp_path, content: dict | str
) -> None:
    server.answer = lambda number, body: (200, content)
    with pytest.raises(
        InputError, match=r"/v1/ answers, but with no chat completion; correct judge\.base_url"
    ):
        judge.judgements({**settings, "parallel": 1}, questions, answers, "m", tmp_path)
    assert len(server.bodies) == 1


def test_the_address_may_stand_in_the_environment(
    server, settings, questions, answers, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.address)
    rows = judge.judgements({**settings, "base_url": None}, questions, answers, "m", tmp_path)
    assert len(rows) == len(server.bodies) == 12


def test_an_endpoint_that_is_down_is_named(settings, questions, answers, tmp_path) -> None:
    nowhere = {**settings, "base_url": "http://127.0.0.1:9/v1", "retries": 0}
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/v1/ cannot be reached; see that it is up"):
        judge.judgements(nowhere, questions, answers, "m", tmp_path)


@pytest.mark.parametrize("nonsense", ["I liked it.", "", "[[99]]", "[[rating]]"])
def test_nonsense_from_the_judge_names_the_question(
    server, settings, questions, answers, tmp_path, nonsense: str
) -> None:
    def answer(number: int, body: dict) -> Reply:
        prompt = body["messages"][1]["content"]
        return rated(nonsense if "number 104" in prompt and "twice" in prompt else "[[5]]")

    server.answer = answer
    rows = judge.judgements(settings, questions, answers, "m", tmp_path)
    assert [row["score"] for row in rows].count(-1) == 1
    with pytest.raises(InputError, match="question 104, turn 2 has no score"):
        mt_bench.scores_of(rows, questions)
    server.bodies.clear()
    server.answer = lambda number, body: rated("[[5]]")
    assert {row["score"] for row in judge.judgements(settings, questions, answers, "m", tmp_path)} == {5}
    assert len(server.bodies) == 1  # only the judgement without a rating is asked for again


def test_the_rating_read_out_of_a_verdict_is_golden(server, settings, tmp_path) -> None:
    """The first rating in double brackets, else in single ones; -1 where it is none from 1 to 10."""
    golden = list(read_jsonl(GOLDEN / "mt_bench.jsonl"))
    asked = {f"Q {n}. A one": row["verdict"] for n, row in enumerate(golden)}
    server.answer = lambda number, body: rated(asked.get(body["messages"][-1]["content"], "[[5]]"))
    questions = [{"question_id": n, "category": "stem", "turns": [f"{n}.", "?"]} for n in range(len(golden))]
    answers = {n: {"question_id": n, "choices": [{"turns": ["one", "two"]}]} for n in range(len(golden))}
    rows = judge.judgements(settings, questions, answers, "m", tmp_path)
    scores = {asked[row["user_prompt"]]: row["score"] for row in rows if row["turn"] == 1}
    assert scores == {row["verdict"]: row["score"] for row in golden}


def test_the_cost_is_told_first_and_the_cap_holds(
    server, settings, questions, answers, tmp_path, capsys
) -> None:
    dear = {**settings, "price": {"input": 10.0, "output": 100.0}, "max_cost": 0.25, "parallel": 1}
    told = []

    def answer(number: int, body: dict) -> Reply:
        told.append(capsys.readouterr().out)
        return rated("[[5]]", tokens=(1000, 400))  # 5 cents a call, and at most 20 while under way

    server.answer = answer
    with pytest.raises(InputError, match=r"judge\.max_cost: \$0\.05 of \$0\.25 is spent or under way"):
        judge.judgements(dear, questions, answers, "m", tmp_path)
    assert len(server.bodies) == 1
    found = re.fullmatch(r"mt_bench: 12 judgements .*, 0 kept: about (\d+) .* cost at most \$(.*)\n", told[0])
    assert found and float(found[2]) == pytest.approx((int(found[1]) * 10 + 12 * 2048 * 100) / 1e6, abs=0.01)


def test_calls_run_side_by_side(server, settings, questions, answers, tmp_path) -> None:
    meeting = threading.Barrier(2, timeout=10)

    def answer(number: int, body: dict) -> Reply:
        meeting.wait()  # breaks, and the test fails, unless two calls are open at once
        return rated("[[5]]")

    server.answer = answer
    assert len(judge.judgements({**settings, "parallel": 2}, questions, answers, "m", tmp_path)) == 12


def test_a_failed_answer_is_not_judged(server, settings, questions, answers, tmp_path) -> None:
    answers[105]["choices"][0]["turns"][1] = "ERROR"
    with pytest.raises(InputError, match="answer to question 105 is ERROR"):
        judge.judgements(settings, questions, answers, "m", tmp_path)
    assert server.bodies == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"prompts": None},
            r"judge\.prompts: give the path of a file such as FastChat's judge_prompts\.jsonl",
        ),
        ({"references": None}, r"judge\.references: give the path"),
        ({"prompts": "nowhere.jsonl"}, r"nowhere\.jsonl is missing"),
        ({"api_key_env": "NO_SUCH_KEY"}, r"environment variable NO_SUCH_KEY is not set"),
        ({"max_cost": 5.0}, r"judge\.max_cost needs judge\.price"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(
    settings, questions, change: dict, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        judge.check({**settings, **change}, questions)


def test_a_reference_that_is_missing_is_refused_before_anything_runs(server, settings, questions) -> None:
    write_jsonl(Path(settings["references"]), [])
    with pytest.raises(InputError, match=r"judge\.references has no answer to question 102"):
        judge.check(settings, questions)
    assert server.bodies == []


def test_good_settings_pass_without_a_call(server, settings, questions) -> None:
    judge.check(settings, questions)
    judge.check({"name": "checker"}, questions)
    judge.check(None, questions)
    assert server.bodies == []


def test_fastchats_own_prompts_and_references_are_read(data_root, settings, tmp_path) -> None:
    folder = data_root / "data/mt_bench"
    real = {
        **settings,
        "prompts": str(folder / "judge_prompts.jsonl"),
        "references": str(folder / "reference_answer/gpt-4.jsonl"),
    }
    questions = mt_bench.read_questions(folder / "question.jsonl", 45)
    judge.check(real, questions)
    answers = {q["question_id"]: {"choices": [{"turns": ["first", "second"]}]} for q in questions}
    rows = judge.judgements(real, questions, answers, "m", tmp_path)
    assert len(rows) == 90 and all("first" in row["user_prompt"] for row in rows)


def test_fastchats_answers_are_asked_about_and_scored_as_fastchat_did(
    server, data_root, settings, tmp_path
) -> None:
    """Its answers of phi-3 in; GPT-4's verdicts, replayed to the very questions FastChat asked, out."""
    folder = data_root / "data" / "mt_bench"
    samples = folder / "samples" / "phi-3"
    verdicts = list(read_jsonl(samples / "model_judgment" / "gpt-4_single.jsonl.gz"))
    said = {row["user_prompt"]: row["judgment"] for row in verdicts}
    server.answer = lambda number, body: rated(said[body["messages"][-1]["content"]])
    real = {
        **settings,
        "prompts": str(folder / "judge_prompts.jsonl"),
        "references": str(folder / "reference_answer" / "gpt-4.jsonl"),
    }
    questions = mt_bench.read_questions(folder / "question.jsonl", None)
    answers = {row["question_id"]: row for row in read_jsonl(samples / "model_answer" / "phi-3-dpo.jsonl.gz")}
    rows = judge.judgements(real, questions, answers, "phi-3-dpo", tmp_path)

    def scored(given: list[dict]) -> dict:
        return {(row["question_id"], row["turn"]): (row["user_prompt"], row["score"]) for row in given}

    assert len(rows) == 160 and scored(rows) == scored(verdicts)


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("sun moon", "sun moon", 10),
        ("  sun\n moon ", "sun moon", 10),
        ("sun star", "sun moon", 1 + 8 / 2),
        ("sun", "sun moon", 1 + 8 / 2),
        ("sun moon star sky", "sun moon", 1 + 8 / 2),
        ("moon sun", "sun moon", 1),
        ("", "sun", 1),
        ("Sun", "sun", 1),
    ],
)
def test_the_checker(answer: str, reference: str, score: float) -> None:
    assert judge.checker_score(answer, reference) == score


def test_the_checker_needs_references(questions: list[dict]) -> None:
    questions[3]["reference"] = ["only one"]
    with pytest.raises(InputError, match="needs a `reference` for each turn, and question 104 has not"):
        judge.check({"name": "checker"}, questions)


def test_the_checkers_date_is_kept(questions, answers, tmp_path) -> None:
    before = time.time()
    rows = judge.judgements({"name": "checker"}, questions, answers, "m", tmp_path)
    assert all(before <= row["tstamp"] <= time.time() for row in rows)
    assert {tuple(row["judge"]) for row in rows} == {("checker", "checker")}
