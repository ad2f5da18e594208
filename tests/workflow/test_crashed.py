"""A step that died leaves a result that says so; bad input and an interruption leave none."""

import signal
import sys
from pathlib import Path

import pytest

from workflow.steps import crashed, status
from workflow.steps.configuration import load
from workflow.steps.files import read_json, write_json

MINI = Path(__file__).parents[2] / "workflow" / "config" / "mini.yaml"


def died(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, code: int) -> None:
    write_json(folder / "config.json", load([MINI]))
    command = ["crashed", "--config", str(folder / "config.json"), "--method", "full", "--seed", "1"]
    command += ["--kind", kind, "--out", str(folder / "out"), "--code", str(code)]
    monkeypatch.setattr(sys, "argv", command)
    crashed.main()


def test_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    died(tmp_path, monkeypatch, "train", 128 + signal.SIGKILL)
    record = read_json(tmp_path / "out" / "train.json")
    assert record["status"] == "crashed"
    assert "killed by signal 9" in record["reason"]


def test_tasks_that_were_finished_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "out" / "gsm8k.json", {"finished": True})
    died(tmp_path, monkeypatch, "evaluate", 128 + signal.SIGSEGV)
    assert read_json(tmp_path / "out" / "gsm8k.json") == {"finished": True}
    assert "SIGSEGV" in read_json(tmp_path / "out" / "mmlu.json")["reason"]


@pytest.mark.parametrize("code", [crashed.BAD_INPUT, 128 + signal.SIGINT, 128 + signal.SIGTERM])
def test_no_result_of_bad_input_or_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with pytest.raises(SystemExit) as ended:
        died(tmp_path, monkeypatch, "train", code)
    assert ended.value.code == code
    assert not (tmp_path / "out").exists()


def test_crashes_are_moved_aside_and_fail_the_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "runs" / "full" / "seed-0"
    write_json(run / "train.json", {"status": "crashed", "reason": "a bug"})
    write_json(run / "eval" / "gsm8k.json", {"status": "ok", "reason": None})
    monkeypatch.setattr(sys, "argv", ["status", str(tmp_path), "--out", str(tmp_path / "status.txt")])
    with pytest.raises(SystemExit) as ended:
        status.main()
    assert "1 results crashed" in str(ended.value.code)
    assert not (tmp_path / "status.txt").exists()
    assert (run / "train.crashed").exists()
    status.main()
    assert (tmp_path / "status.txt").read_text() == "full/seed-0/eval/gsm8k  ok\n"
