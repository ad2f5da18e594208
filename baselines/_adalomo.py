"""`lomo_optim.AdaLomo` without what ties it to one device, and to one session."""

from collections.abc import Callable
from typing import Any

import torch
from lomo_optim import AdaLomo
from torch.overrides import TorchFunctionMode

MOMENTS = ("exp_avg_sq", "exp_avg_sq_row", "exp_avg_sq_col")


class BesideTheWeights(TorchFunctionMode):
    """Within the context, `tensor.cuda()` goes to `device`: the package makes its moments with it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, function: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.Tensor.cuda:
            return args[0].to(self.device)
        return function(*args, **(kwargs or {}))


class PortableAdaLomo(AdaLomo):
    """Keeps its moments where the weights are, and in `state_dict` with the step count."""

    def __init__(self, model: torch.nn.Module, **options: Any) -> None:
        with BesideTheWeights(next(model.parameters()).device):
            super().__init__(model, **options)

    def state_dict(self) -> dict[str, Any]:
        moments = {name: getattr(self, name) for name in MOMENTS}
        return {**super().state_dict(), **moments, "steps": self.step_num}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.step_num = state_dict["steps"]
        for name in MOMENTS:
            for parameter, moment in getattr(self, name).items():
                moment.copy_(state_dict[name][parameter])
