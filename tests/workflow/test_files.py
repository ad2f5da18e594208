"""A file is whole or not there, whatever happens while it is written."""

import errno
import os
from pathlib import Path

import pytest

from workflow.steps import files


def test_a_full_disk_leaves_the_old_file_and_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"
    files.write_json(path, {"kept": True})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SystemExit) as ended:
        files.exit_on_input_error(lambda: files.write_json(path, {"kept": False}))
    assert ended.value.code == 2
    assert "No space left on device" in capsys.readouterr().err
    assert files.read_json(path) == {"kept": True}
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_bug_is_not_dressed_as_bad_input() -> None:
    def bug() -> None:
        open("/nonexistent/file")  # noqa: SIM115

    with pytest.raises(FileNotFoundError):
        files.exit_on_input_error(bug)


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_broken_json_says_where(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": 1,\n"b"')
    with pytest.raises(files.InputError, match="line 2"):
        files.read_json(tmp_path / "x.json")
