"""What the training step gives the loop; the loop itself is tested in test_loop.py."""

from pathlib import Path

import pytest

import baselines
from workflow.steps import train
from workflow.steps.configuration import load

MINI = Path(__file__).parents[2] / "workflow" / "config" / "mini.yaml"


@pytest.mark.parametrize("resumes", [True, "the package forgets its block"])
def test_a_method_that_does_not_resume_exactly_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumes: bool | str
) -> None:
    given = []

    def fit(experiment: Path, config: dict, method: str, seed: int, states: Path | None) -> None:
        given.append(states)
        raise InterruptedError

    monkeypatch.setattr(train, "fit", fit)
    monkeypatch.setattr(baselines.methods()["full"], "RESUMES", resumes)
    with pytest.raises(InterruptedError):
        train.train(tmp_path, load([MINI]), "full", 0, tmp_path / "run")
    assert (given == [None]) == (resumes is not True)
