"""No tuning: the base model, evaluated as it is."""

from typing import Any

from baselines import Run, Tuning

TITLE = "No tuning"
PAPER = "the base model"
PARAMETERS: dict[str, Any] = {}
REQUIRES: tuple[str, ...] = ()
NOTES: tuple[str, ...] = ()
RESUMES = True
TRAINS = False


def supports(run: Run) -> str | None:
    return None


def build(model: Any, run: Run) -> Tuning:
    model.requires_grad_(False)
    return Tuning(model, optimizer=None)


def export(model: Any) -> Any:
    return model
