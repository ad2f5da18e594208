"""LOMO: plain SGD fused into backward; no gradient outlives the update of its weight (lomo-optim)."""

from collections.abc import Mapping
from typing import Any

from baselines import Run, Tuning, checkpoint_activations

TITLE = "LOMO"
PAPER = "arXiv 2306.09782"
PARAMETERS: dict[str, Any] = {}
REQUIRES = ("lomo-optim",)
NOTES = (
    "Kept: clipping by norm runs backward twice, as the paper has it.",
    "Kept: weight decay, where it is set, also shrinks norm weights and biases.",
    "Kept: 16-bit weights have no master; each update is computed in fp32 and rounded.",
    "Kept: a non-finite gradient is seen only in the next loss, after the update.",
    "Refused: accumulation, since the package updates after every micro-batch.",
)
RESUMES = True


def formula(parameters: Mapping[str, Any]) -> str:
    """Bytes of weights, gradients and optimizer, as arXiv 2404.02827 counts them."""
    return "2 * M + 2 * M / D"


def supports(run: Run) -> str | None:
    if run.accumulation > 1:
        return "LOMO updates inside backward: no gradients can accumulate; use one micro-batch"
    if run.precision == "float16":
        return "lomo-optim scales no loss that is itself fp32, so fp16 gradients underflow; use bfloat16"
    return None


def build(model: Any, run: Run) -> Tuning:
    from lomo_optim import Lomo

    if run.checkpointing:
        checkpoint_activations(model)
    optimizer = Lomo(model, lr=run.lr, clip_grad_norm=run.max_grad_norm, weight_decay=run.weight_decay)
    return fused(model, run, optimizer)


def fused(model: Any, run: Run, optimizer: Any) -> Tuning:
    """A Tuning for an optimizer of lomo-optim, which takes the loss and the rate in place of a gradient."""

    def backward(loss: Any) -> None:
        if run.max_grad_norm is not None:
            optimizer.grad_norm(loss)  # a first backward, for the norm alone
        optimizer.fused_backward(loss, optimizer.param_groups[0]["lr"])

    optimizer.step = lambda closure=None: None  # the package defines none, and torch's raises
    return Tuning(model, optimizer, backward=backward, fused=True)


def export(model: Any) -> Any:
    return model
