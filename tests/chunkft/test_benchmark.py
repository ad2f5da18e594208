"""The benchmark on a CPU runs, and is of the library as it is."""

import pytest

from benchmarks import cpu


def test_every_optimizer_has_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cpu, "STEPS", 3)
    monkeypatch.setattr(cpu, "WARM_UP", 1)
    cpu.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line[:18].strip() for line in lines] == ["AdamW", "contiguous K = 4", "strided K = 4"]
    assert lines[0].endswith("1.00 of AdamW")
