"""Times taken on a busy host are not kept."""

import os
from pathlib import Path

import pytest

from workflow.steps import costcase, host


def test_other_processes_are_told_from_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(host, "STAT", stat)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (2.0, 0.0, 0.0))
    clock, own = iter([100.0, 110.0]), iter([5.0, 13.0])
    monkeypatch.setattr(host.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(host, "_own_seconds", lambda: next(own))
    ticks = [1000 * host.TICK, 0, 0, 5 * host.TICK, 0, 0, 0, 0]
    stat.write_text("cpu  " + " ".join(map(str, ticks)) + "\ncpu0 0\n")
    watch = host.Watch()
    ticks[0] += 18 * host.TICK  # eight of these seconds are our own
    stat.write_text("cpu  " + " ".join(map(str, ticks)) + "\ncpu0 0\n")
    assert watch.seen() == {"load": 0.5, "others": pytest.approx(10 / 10 / 4)}


@pytest.mark.parametrize(
    ("load", "others", "reason"),
    [
        (0.1, 0.1, None),
        (0.1, None, None),
        (0.8, 0.0, "the host was busy before, with a load of 0.8"),
        (0.1, 0.6, "other processes took 60%"),
    ],
)
def test_when_a_host_is_busy(load: float, others: float | None, reason: str | None) -> None:
    said = host.busy({"load": load, "others": others})
    assert said is None if reason is None else reason in str(said)


@pytest.mark.parametrize("load", [0.0, 3.0])
def test_a_case_has_no_times_where_the_host_was_busy(monkeypatch: pytest.MonkeyPatch, load: float) -> None:
    sections = {"memory": {}, "time": {"step": 1.0}, "host": {"load": load, "others": 0.0}, "batch": {}}
    monkeypatch.setattr(costcase, "measure", lambda case: dict(sections))
    monkeypatch.setattr(costcase, "refusal", lambda case: None)
    monkeypatch.setattr(costcase, "record", lambda case, name, status, reason=None, **kept: (reason, kept))
    case = type("Case", (), {"threads": 1, "device": "cpu"})
    reason, kept = costcase.outcome(case, "cost")
    assert (kept["time"] is None) == (reason is not None) == (load > 1)
