"""AdamW with block-wise 8-bit moments (bitsandbytes)."""

from typing import Any

from baselines import Run, Tuning, checkpoint_activations, decay_groups

TITLE = "8-bit AdamW"
PAPER = "arXiv 2110.02861"
PARAMETERS: dict[str, Any] = {}
REQUIRES = ("bitsandbytes",)
NOTES = (
    "Kept: tensors of fewer than 4096 elements have 32-bit moments, the package's default.",
    "Kept: 16-bit weights have no fp32 master.",
    "Kept: the embedding's moments are in 8 bits too; the paper has them in 32, in a layer of its own.",
)
RESUMES = True


def supports(run: Run) -> str | None:
    return None


def build(model: Any, run: Run) -> Tuning:
    from bitsandbytes.optim import AdamW8bit

    if run.checkpointing:
        checkpoint_activations(model)
    return Tuning(model, AdamW8bit(decay_groups(model, run.weight_decay), lr=run.lr))


def export(model: Any) -> Any:
    return model
