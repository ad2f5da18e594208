"""AdamW that keeps fp32 masters and moments, whatever the precision of the weights.

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
    w = w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps) - lr wd w

arXiv 1711.05101, algorithm 2.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.adamw import adamw


class MasterAdamW(torch.optim.Optimizer):
    """`torch.optim.AdamW`, computed on an fp32 copy of each weight that is not fp32 itself.

    State per element: 12 bytes (master, exp_avg, exp_avg_sq) beside a 16-bit weight, 8 beside an fp32 one.
    Tensors are updated one after the other, so one fp32 gradient lives at a time, not all of them.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)

    def _update(self, weight: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
            if weight.dtype != torch.float32:
                state["master"] = weight.float()
            state["exp_avg"] = torch.zeros_like(weight, dtype=torch.float32)
            state["exp_avg_sq"] = torch.zeros_like(weight, dtype=torch.float32)
        master = state.get("master", weight)
        adamw(
            [master],
            [weight.grad.float()],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            foreach=False,
            fused=weight.is_cuda,  # one kernel, no temporaries; on the CPU it rounds differently
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
        if master is not weight:
            weight.copy_(master)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        # torch casts floating-point state to the weight's precision, which would round the masters away
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for index, saved in state_dict["state"].items():
            weight = weights[index]
            self.state[weight] = {name: value.to(weight.device, copy=True) for name, value in saved.items()}
