"""BAdam: Adam on one transformer layer for `period` steps, then on another (badam).

`embedding_and_head: true` makes blocks of these too; the paper trains the layers alone.
"""

from collections.abc import Mapping
from typing import Any

from baselines import Run, Tuning, checkpoint_activations

TITLE = "BAdam"
PAPER = "arXiv 2404.02827"
PARAMETERS: dict[str, Any] = {"period": 100, "embedding_and_head": False}
REQUIRES = ("badam",)
NOTES = (
    "Kept: embedding, final norm and head are not trained, unless `embedding_and_head` is set.",
    "Kept: the first block has one step fewer than the others.",
    "Kept: fp32 weights get a second fp32 copy of the active block.",
    "Fixed: resuming restores the block, its masters and the step count, which the package loses.",
    "Fixed: norm weights and biases are not decayed.",
    "Fixed: blocks are named from the model; the package's guess fits Llama's names alone.",
)
RESUMES = True


def formula(parameters: Mapping[str, Any]) -> str:
    """Bytes of weights, gradients and optimizer, as arXiv 2404.02827 counts them."""
    return "2 * M + 16 * M / D"


def supports(run: Run) -> str | None:
    return None


def build(model: Any, run: Run) -> Tuning:
    import warnings

    import torch

    from baselines._badam import BAdam, blocks

    if run.checkpointing:
        checkpoint_activations(model)
    own = run.parameters
    adamw = torch.optim.AdamW(model.parameters(), lr=run.lr, weight_decay=run.weight_decay)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="BAdam expect model")  # fp32 weights: see NOTES
        optimizer = BAdam(
            adamw,
            list(model.named_parameters()),
            blocks(model, own["embedding_and_head"]),
            switch_block_every=own["period"],
            switch_mode="random",
            verbose=0,
        )
    prefixes = [prefix for block in optimizer.block_prefix_list for prefix in block]
    trained = [p for name, p in model.named_parameters() if any(prefix in name for prefix in prefixes)]

    def jump(block: int) -> None:
        optimizer.current_block_idx = block  # the package's name for the one that comes next
        optimizer.global_step = own["period"] - 2  # it switches one step early, see NOTES

    cycle = own["period"] * optimizer.block_num
    return Tuning(model, optimizer, trainable=trained, cycle=cycle, turns=optimizer.block_num, jump=jump)


def export(model: Any) -> Any:
    return model
