"""An evaluation that could not be made is refused before anything is trained."""

from pathlib import Path

import pytest

from workflow.steps.check import check
from workflow.steps.files import InputError, write_jsonl

MT_BENCH = {"template": "oasst_pythia", "limit": None, "batch_size": 1, "max_new_tokens": 1}
BAD = {
    "unknown template": ({**MT_BENCH, "template": "oast_pythia", "judge": None}, "oast_pythia"),
    "judge without files": ({**MT_BENCH, "judge": {"name": "gpt-4"}}, "judge.prompts"),
}


@pytest.fixture
def data(tmp_path: Path, questions: list[dict]) -> Path:
    write_jsonl(tmp_path / "mt_bench" / "test.jsonl", questions)
    return tmp_path


def test_a_sound_config_passes(data: Path) -> None:
    check({"tasks": {"mt_bench": {**MT_BENCH, "judge": {"name": "checker"}}}}, data)
    check({"tasks": {"mt_bench": {**MT_BENCH, "judge": None}}}, data)


@pytest.mark.parametrize(("settings", "expected"), BAD.values(), ids=BAD)
def test_what_could_not_be_scored_is_named(data: Path, settings: dict, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        check({"tasks": {"mt_bench": settings}}, data)


def test_a_task_without_questions(data: Path) -> None:
    with pytest.raises(InputError, match="`tasks.gsm8k`: its source has no `test` split"):
        check({"tasks": {"gsm8k": {}}}, data)


def test_a_judge_without_a_key(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("prompts.jsonl", "references.jsonl"):
        write_jsonl(tmp_path / name, [])
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    files = {"prompts": str(tmp_path / "prompts.jsonl"), "references": str(tmp_path / "references.jsonl")}
    judge = {"name": "gpt-4", "api_key_env": "NO_SUCH_KEY", **files}
    with pytest.raises(InputError, match="NO_SUCH_KEY"):
        check({"tasks": {"mt_bench": {**MT_BENCH, "judge": judge}}}, data)
