import argparse
import gzip
import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fastchat.llm_judge import show_result

from workflow.steps import mt_bench
from workflow.steps.conversation import blank
from workflow.steps.evaluate import load
from workflow.steps.files import InputError, read_jsonl, write_jsonl
from workflow.steps.judge import fastchat_judging

ROOT = Path(mt_bench.__file__).parents[2]
SETTINGS = {
    "template": "oasst_pythia",
    "max_new_tokens": 8,
    "batch_size": 4,
    "limit": None,
    "judge": {"name": "checker"},
}


@pytest.fixture
def model(tiny_model: Path) -> tuple[Any, Any]:
    return load(tiny_model, "cpu")


def shown(capsys: pytest.CaptureFixture, file: Path) -> dict[str, float]:
    """What FastChat's show_result prints: the first model's mean by heading."""
    capsys.readouterr()
    show_result.display_result_single(
        argparse.Namespace(input_file=str(file), bench_name="mt_bench", judge_model=None, model_list=None)
    )
    sections = capsys.readouterr().out.split("##########")
    return {
        title.strip(): float(table.strip().splitlines()[-1].split()[-1])
        for title, table in zip(sections[1::2], sections[2::2], strict=True)
    }


def judged(questions: list[dict], scores: dict) -> list[dict]:
    return [
        {
            "question_id": q["question_id"],
            "turn": t,
            "model": "m",
            "score": scores.get((q["question_id"], t), 5),
        }
        for q in questions
        for t in (1, 2)
    ]


def test_fastchat_reads_our_files(model, questions, tmp_path: Path, capsys) -> None:
    found, samples = mt_bench.evaluation(*model, SETTINGS, questions, "lora-seed-0", "run", tmp_path)
    file = tmp_path / "model_judgment" / "checker_single.jsonl"
    means = shown(capsys, file)
    assert found["score"] == pytest.approx(means["Average"], abs=1e-6)
    assert found["scores"]["turn 1"] == pytest.approx(means["First turn"], abs=1e-6)
    assert found["scores"]["turn 2"] == pytest.approx(means["Second turn"], abs=1e-6)
    fastchat = fastchat_judging()
    answers = fastchat.load_model_answers(str(tmp_path / "model_answer"))["lora-seed-0"]
    assert [answers[s["question_id"]]["choices"][0]["turns"][s["turn"] - 1] for s in samples] == [
        s["answer"] for s in samples
    ]
    ((judge, games),) = fastchat.load_single_model_judgments(str(file)).items()
    assert judge == ("checker", "checker")
    assert {key: game["score"] for key, game in games.items()} == {
        (sample["question_id"], "lora-seed-0"): sample["score"] for sample in samples
    }
    assert found["judge"] == "checker" and found["n"] == len(questions) == len(samples) / 2


def test_fastchats_verdicts_on_phi_3_give_the_score_it_shows(data_root: Path, tmp_path: Path, capsys) -> None:
    packed = data_root / "data/mt_bench/samples/phi-3/model_judgment/gpt-4_single.jsonl.gz"
    file = tmp_path / "gpt-4_single.jsonl"
    with gzip.open(packed) as source, open(file, "wb") as target:
        shutil.copyfileobj(source, target)
    questions = mt_bench.read_questions(data_root / "data/mt_bench/question.jsonl", None)
    scores = mt_bench.scores_of(list(read_jsonl(file)), questions)
    means = shown(capsys, file)
    assert len(questions) == 80
    assert scores["mean"] == means["Average"]
    assert scores["turn 1"] == means["First turn"]
    assert scores["turn 2"] == means["Second turn"]


def test_the_categories_and_the_standard_error(questions: list[dict]) -> None:
    scores = mt_bench.scores_of(judged(questions, {(101, 1): 10, (101, 2): 8}), questions)
    assert scores["extraction"] == 9 and scores["math"] == 5
    assert scores["mean"] == pytest.approx((18 + 5 * 10) / 12)
    assert scores["stderr"] == pytest.approx(statistics.stdev([9, 5, 5, 5, 5, 5]) / 6**0.5)


def test_a_judgement_of_an_unknown_question_is_named(questions: list[dict]) -> None:
    with pytest.raises(InputError, match="a judgement is of question 106, which is not asked"):
        mt_bench.scores_of(judged(questions, {}), questions[:-1])


def test_the_command_line_reads_fastchats_files_and_names_what_is_wrong(data_root, tmp_path) -> None:
    folder = data_root / "data" / "mt_bench"
    verdicts = folder / "samples/phi-3/model_judgment/gpt-4_single.jsonl.gz"

    def printed(file: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "workflow.steps.mt_bench", str(file)]
        command += ["--questions", str(folder / "question.jsonl")]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    scores = dict(line.split("\t")[1:] for line in printed(verdicts).stdout.splitlines())
    assert float(scores["mean"]) == statistics.fmean(row["score"] for row in read_jsonl(verdicts))
    assert {"turn 1", "turn 2", "writing", "coding", "stderr"} < set(scores)
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(gzip.decompress(verdicts.read_bytes())[:-30])
    refused = printed(cut)
    assert refused.returncode == 2
    assert re.fullmatch(r"error: .*cut\.jsonl, line 160: not JSON \(.*\)\n", refused.stderr)


@pytest.mark.parametrize("missing", ["no row", -1])
def test_a_missing_score_names_its_question(questions: list[dict], missing: str | int) -> None:
    rows = judged(questions, {(104, 2): missing})
    with pytest.raises(InputError, match="question 104, turn 2 has no score"):
        mt_bench.scores_of([row for row in rows if row["score"] != "no row"], questions)


def test_batches_answer_as_single_questions_do(model, questions: list[dict]) -> None:
    """Greedy, in float64 lest padding tip a tie: the batch, its padding and order change nothing."""
    network, tokenizer = model
    network.double()
    greedy = [{**question, "required_temperature": 0.0} for question in questions]
    together, _ = mt_bench.answer(network, tokenizer, greedy, SETTINGS)
    for question in greedy:
        dialogue = blank("oasst_pythia")
        for turn, text in enumerate(question["turns"]):
            dialogue.append_message(dialogue.roles[0], text)
            dialogue.append_message(dialogue.roles[1], None)
            ids = tokenizer(dialogue.get_prompt(), return_tensors="pt")["input_ids"]
            new = network.generate(ids, do_sample=False, max_new_tokens=8)[0, ids.shape[1] :]
            reply = tokenizer.decode(new, skip_special_tokens=True).strip()
            assert together[question["question_id"]][turn] == reply
            dialogue.update_last_message(reply)


def test_sampled_answers_come_again_with_the_same_seed(model, questions: list[dict]) -> None:
    hot = [{**question, "required_temperature": 5.0} for question in questions]
    first, _ = mt_bench.answer(*model, hot, SETTINGS)
    torch.rand(7)
    assert mt_bench.answer(*model, hot, SETTINGS)[0] == first
    assert (
        first != mt_bench.answer(*model, [{**q, "required_temperature": 0.0} for q in questions], SETTINGS)[0]
    )


def test_temperatures_are_fastchats() -> None:
    known = dict(fastchat_judging().temperature_config)
    known.pop("arena-hard-200")  # another benchmark's
    assert known == mt_bench.TEMPERATURES
    assert mt_bench.temperature({"category": "other"}) == 0.7


def test_a_reply_ends_where_the_template_ends_it(model) -> None:
    tokenizer = model[1]
    ids = tokenizer("sun moon### Human: star<|endoftext|>tail")["input_ids"]
    assert mt_bench._reply(ids, tokenizer, {tokenizer.eos_token_id}, None) == "sun moon### Human: star"
    assert mt_bench._reply(ids, tokenizer, {tokenizer.eos_token_id}, "###") == "sun moon"
    assert mt_bench._reply(ids, tokenizer, set(), ["tail"]) == "sun moon### Human: star"


def test_a_prompt_beyond_the_context_loses_its_beginning_and_is_counted(model, questions: list[dict]) -> None:
    long = {**questions[0], "turns": ["sun " * 400, "And now?"]}
    replies, truncated = mt_bench.answer(*model, [long, questions[1]], SETTINGS)
    assert truncated == {101: 2, 102: 0}
    assert len(replies[101]) == 2


def test_kept_answers_are_not_asked_for_again(model, questions, tmp_path: Path, monkeypatch) -> None:
    arguments = (*model, SETTINGS, questions, "lora-seed-0")
    first, _ = mt_bench.evaluation(*arguments, "run", tmp_path)
    monkeypatch.setattr(mt_bench, "answer", lambda *_: pytest.fail("asked again"))
    again, _ = mt_bench.evaluation(*arguments, "run", tmp_path)
    assert again["score"] == first["score"]
    with pytest.raises(pytest.fail.Exception, match="asked again"):
        mt_bench.evaluation(*arguments, "another run", tmp_path)


def test_without_a_judge_answers_are_kept_and_nothing_is_scored(model, questions, tmp_path: Path) -> None:
    found, samples = mt_bench.evaluation(*model, {**SETTINGS, "judge": None}, questions, "m", "run", tmp_path)
    assert found["score"] is None and found["judge"] is None and found["scores"] == {}
    assert len(samples) == 12 and not (tmp_path / "model_judgment").exists()
    assert [path.name for path in (tmp_path / "model_answer").iterdir()] == ["m.jsonl"]


def test_questions_of_one_turn_are_refused(questions: list[dict], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", [{**questions[0], "turns": ["One?"]}])
    with pytest.raises(InputError, match="question 101 has 1 turns, not 2"):
        mt_bench.read_questions(tmp_path / "test.jsonl", None)


def test_a_cut_answers_file_is_named_with_its_line(model, questions, tmp_path: Path) -> None:
    arguments = (*model, SETTINGS, questions, "m", "run", tmp_path)
    mt_bench.evaluation(*arguments)
    file = tmp_path / "model_answer" / "m.jsonl"
    file.write_text(file.read_text()[:-40])
    with pytest.raises(InputError, match=r"m\.jsonl, line 6: not JSON"):
        mt_bench.evaluation(*arguments)
    assert json.loads(file.read_text().splitlines()[0])["question_id"] == 101
