"""What GaLore and APOLLO share: which weights are projected, and projectors as plain state.

galore-torch and apollo-torch keep a Python object per weight in the optimizer's state,
which `torch.load(weights_only=True)` refuses.
"""

from typing import Any

import torch

from baselines import decay_groups


def projected_groups(model: Any, weight_decay: float, **projection: Any) -> list[dict[str, Any]]:
    """Optimizer groups: all linear layers but the output head with `projection`, the rest without."""
    head = model.get_output_embeddings()
    linear = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    projected = {id(weight) for weight in linear}
    groups = [{"params": linear, "weight_decay": weight_decay, **projection}]
    for group in decay_groups(model, weight_decay):
        rest = [parameter for parameter in group["params"] if id(parameter) not in projected]
        groups.append({**group, "params": rest})
    return [group for group in groups if group["params"]]


def store_projectors_as_tensors(optimizer: torch.optim.Optimizer, projector: type) -> None:
    """Save each `projector` in `optimizer.state_dict()` as tensors and numbers; rebuild it on loading.

    For projectors of type "std", the packages' default.
    """

    def save(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
        for index, state in saved["state"].items():
            if "projector" in state:
                attributes = vars(state["projector"]).items()
                # without the text `proj_type`: torch's load_state_dict cannot copy text inside a dict
                plain = {name: value for name, value in attributes if not isinstance(value, str)}
                saved["state"][index] = {**state, "projector": plain}  # a copy: `state` is the live one

    def load(optimizer: torch.optim.Optimizer) -> None:
        for state in optimizer.state.values():
            if "projector" in state:
                attributes = state["projector"]
                state["projector"] = projector(attributes["rank"])
                vars(state["projector"]).update(attributes)

    optimizer.register_state_dict_post_hook(save)
    optimizer.register_load_state_dict_post_hook(load)
