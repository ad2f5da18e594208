"""AdamW on one block of a model at a time: what LISA and HiFT share."""

from typing import Any

import torch

from baselines import decay_groups
from baselines._adamw import MasterAdamW


def decoder_layers(model: torch.nn.Module) -> torch.nn.ModuleList:
    """The model's list of transformer layers; raises ValueError where it has none."""
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return module
    raise ValueError(f"{type(model).__name__} has no list of its transformer layers to choose blocks from")


class BlockAdamW(MasterAdamW):
    """AdamW for which only the parameters in `active()` require gradients; asked again after every step."""

    def __init__(self, model: torch.nn.Module, lr: float, weight_decay: float) -> None:
        super().__init__(decay_groups(model, weight_decay), lr)
        self.steps = 0  # optimizer steps taken

    def active(self) -> list[torch.nn.Parameter]:
        """What trains in the next step, the one after `self.steps` others."""
        raise NotImplementedError

    def park(self, parameter: torch.nn.Parameter) -> None:
        """Put away the state of a parameter that does not train in the next step."""
        raise NotImplementedError

    def fetch(self, parameter: torch.nn.Parameter) -> None:
        """Bring back what `park` put away; nothing where it was dropped."""

    def switch(self) -> None:
        active = {id(parameter) for parameter in self.active()}
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(id(parameter) in active)
                if parameter.requires_grad:
                    self.fetch(parameter)
                else:
                    parameter.grad = None
                    self.park(parameter)

    def step(self, closure: Any = None) -> None:
        super().step()
        self.steps += 1
        self.switch()

    def jump(self, step: int) -> None:
        """Go on after the coming step as if `step` had been taken in all."""
        self.steps = step - 1

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.steps = state_dict["steps"]
        self.switch()
