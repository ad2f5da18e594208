"""Full fine-tuning: every parameter, AdamW (arXiv 1711.05101), masters and moments in fp32.

`pure: true` keeps 16-bit weights and moments and no master: less memory, and updates
smaller than half a unit in the last place of a weight are lost.
"""

from collections.abc import Mapping
from typing import Any

from baselines import Run, Tuning, checkpoint_activations, decay_groups

TITLE = "Full fine-tuning"
PAPER = "arXiv 1711.05101"
PARAMETERS: dict[str, Any] = {"pure": False}
REQUIRES: tuple[str, ...] = ()
NOTES = ("With 16-bit weights gradients are accumulated in 16 bits; the update is computed in fp32.",)
RESUMES = True


def formula(parameters: Mapping[str, Any]) -> str:
    """Bytes of weights, gradients and optimizer, as arXiv 2404.02827 counts them."""
    return "8 * M" if parameters["pure"] else "18 * M"


def supports(run: Run) -> str | None:
    if run.parameters["pure"] and run.precision == "float32":
        return "`pure` means 16-bit weights without fp32 masters; set the precision to bfloat16"
    return None


def build(model: Any, run: Run) -> Tuning:
    import torch

    from baselines._adamw import MasterAdamW

    if run.checkpointing:
        checkpoint_activations(model)
    groups = decay_groups(model, run.weight_decay)
    if run.parameters["pure"] or run.precision == "float32":
        return Tuning(model, torch.optim.AdamW(groups, lr=run.lr, fused=run.device == "cuda"))
    return Tuning(model, MasterAdamW(groups, lr=run.lr))


def export(model: Any) -> Any:
    return model
