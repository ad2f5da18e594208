"""`badam.BlockOptimizer` with what it forgets: its state when saved, and which weights not to decay."""

from typing import Any

import torch
from badam import BlockOptimizer

from baselines._blocks import decoder_layers


def blocks(model: torch.nn.Module, embedding_and_head: bool) -> list[list[str]]:
    """Each block as the names, or beginnings of names, of its parameters: the layers, and where
    wanted before them the embeddings and after them all the rest."""
    layers = decoder_layers(model)
    name = next(name for name, module in model.named_modules() if module is layers)
    each = [[f"{name}.{index}."] for index in range(len(layers))]
    if not embedding_and_head:
        return each
    others = [n for n, _ in model.named_parameters() if not n.startswith(f"{name}.")]
    embeddings = [n for n in others if "embed" in n]
    return [embeddings, *each, [n for n in others if n not in embeddings]]


class BAdam(BlockOptimizer):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        del self.state_dict  # the package puts the wrapped optimizer's method over ours

    def switch_trainable_params(self, verbose: int | None = None) -> None:
        super().switch_trainable_params(verbose=0)  # its default prints at every switch

    def _switch_trainable_params_single_gpu(self, verbose: int = 0) -> None:
        super()._switch_trainable_params_single_gpu(verbose)
        masters = list(self.param_idx2hp.values())
        options = self.base_optimizer.defaults
        self.base_optimizer.param_groups = [
            {**options, "params": [p for p in masters if p.ndim >= 2]},
            {**options, "params": [p for p in masters if p.ndim < 2], "weight_decay": 0.0},
        ]

    def state_dict(self) -> dict[str, Any]:
        return {
            "adamw": self.base_optimizer.state_dict(),
            "masters": [master.detach() for master in self.param_idx2hp.values()],
            "active": self.active_param_prefixs,
            "next": self.current_block_idx,
            "order": self.block_order,
            "steps": self.global_step,
        }

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.active_param_prefixs = state_dict["active"]
        self._switch_trainable_params_single_gpu()
        for master, saved in zip(self.param_idx2hp.values(), state_dict["masters"], strict=True):
            master.copy_(saved)
        self.base_optimizer.load_state_dict(state_dict["adamw"])
        self.current_block_idx = state_dict["next"]
        self.block_order = state_dict["order"]
        self.global_step = state_dict["steps"]
