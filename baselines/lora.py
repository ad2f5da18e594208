"""LoRA: W + (alpha / rank) B A with W frozen, on every linear layer but the output head (peft).

Frozen weights keep the run's precision; A and B are fp32, so they are their own masters.
"""

from collections.abc import Mapping
from typing import Any

from baselines import Run, Tuning, checkpoint_activations, decay_groups

TITLE = "LoRA"
PAPER = "arXiv 2106.09685"
# rank 8 and alpha = 4 rank: what arXiv 2404.02827 compares with
PARAMETERS: dict[str, Any] = {"rank": 8, "alpha": 32.0, "dropout": 0.0}
REQUIRES = ("peft",)
NOTES = (
    "Kept: beside 16-bit weights the adapters and their products are in fp32, peft's default.",
    "Merging into 16-bit weights rounds: the exported model is the tuned one up to that rounding.",
)
RESUMES = True


def formula(parameters: Mapping[str, Any]) -> str:
    """Bytes of weights, gradients and optimizer, as arXiv 2404.02827 counts them."""
    return "2 * M + 18 * A"


def supports(run: Run) -> str | None:
    return None


def build(model: Any, run: Run) -> Tuning:
    return adapt(model, run)


def adapt(model: Any, run: Run, **variant: Any) -> Tuning:
    """LoRA, or the `variant` of it that those options of `peft.LoraConfig` name."""
    import torch
    from peft import LoraConfig, get_peft_model

    if run.checkpointing:
        checkpoint_activations(model)
    own = run.parameters
    config = LoraConfig(
        r=own["rank"],
        lora_alpha=own["alpha"],
        lora_dropout=own["dropout"],
        target_modules="all-linear",
        task_type="CAUSAL_LM" if model.can_generate() else "SEQ_CLS",  # which trains a new head in full
        **variant,
    )
    model = get_peft_model(model, config)
    if run.checkpointing:
        model.disable_input_require_grads()  # peft switches it on again
    groups = decay_groups(model, run.weight_decay)
    return Tuning(model, torch.optim.AdamW(groups, lr=run.lr, fused=run.device == "cuda"))


def export(model: Any) -> Any:
    return model.merge_and_unload()
