"""Plain SGD, optionally with momentum (torch).

The update LOMO computes, with all gradients held until the step.
"""

from typing import Any

from baselines import Run, Tuning, checkpoint_activations, decay_groups

TITLE = "SGD"
PAPER = "Robbins and Monro, 1951, doi 10.1214/aoms/1177729586"
PARAMETERS: dict[str, Any] = {"momentum": 0.0}
REQUIRES: tuple[str, ...] = ()
NOTES = ("16-bit weights have no master: updates below half a unit in the last place are lost.",)
RESUMES = True


def supports(run: Run) -> str | None:
    return None


def build(model: Any, run: Run) -> Tuning:
    import torch

    if run.checkpointing:
        checkpoint_activations(model)
    groups = decay_groups(model, run.weight_decay)
    return Tuning(model, torch.optim.SGD(groups, lr=run.lr, momentum=run.parameters["momentum"]))


def export(model: Any) -> Any:
    return model
