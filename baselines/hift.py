"""HiFT: AdamW on one group of layers a step, going round the groups.

The groups are the embedding, every `layers` transformer layers, and the head with the
final norm; the learning rate changes only when each group has had its turn.  No
maintained package: written here from the paper's algorithm 1.
"""

from typing import Any

from baselines import Run, Tuning, checkpoint_activations

TITLE = "HiFT"
PAPER = "arXiv 2401.15207"
PARAMETERS: dict[str, Any] = {"layers": 1, "order": "bottom2up"}
REQUIRES: tuple[str, ...] = ()
NOTES = ("Our implementation: an idle group's moments and masters wait on the host, moved without overlap.",)
RESUMES = True

ORDERS = ("bottom2up", "top2down", "random")


def supports(run: Run) -> str | None:
    if run.parameters["order"] not in ORDERS:
        return f"order is {run.parameters['order']!r}; write {', '.join(ORDERS[:-1])} or {ORDERS[-1]}"
    return None


def build(model: Any, run: Run) -> Tuning:
    from baselines._blocks import BlockAdamW

    groups = ordered(layer_groups(model, run.parameters["layers"]), run)

    class HiFT(BlockAdamW):
        rate = run.lr  # of the whole cycle

        def active(self) -> list[Any]:
            return groups[self.steps % len(groups)]

        def park(self, parameter: Any) -> None:
            self.move(parameter, "cpu")

        def fetch(self, parameter: Any) -> None:
            self.move(parameter, parameter.device)

        def move(self, parameter: Any, device: Any) -> None:
            state = self.state.get(parameter, {})
            state.update({name: value.to(device) for name, value in state.items()})

        def step(self, closure: Any = None) -> None:
            if self.steps % len(groups) == 0:
                self.rate = self.param_groups[0]["lr"]
            for group in self.param_groups:
                group["lr"] = self.rate
            super().step()

        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "rate": self.rate}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            super().load_state_dict(state_dict)
            self.rate = state_dict["rate"]

    if run.checkpointing:
        checkpoint_activations(model)
    optimizer = HiFT(model, run.lr, run.weight_decay)
    tuning = Tuning(model, optimizer, cycle=len(groups), turns=len(groups), jump=optimizer.jump)
    optimizer.switch()  # not before: Tuning takes all that requires gradients for what the run trains
    return tuning


def layer_groups(model: Any, size: int) -> list[list[Any]]:
    """Embedding, `size` transformer layers at a time, the rest; tied weights belong to the embedding."""
    from baselines._blocks import decoder_layers

    layers = decoder_layers(model)
    units = [[model.get_input_embeddings()]]
    units += [list(layers[start : start + size]) for start in range(0, len(layers), size)]
    groups = [[parameter for module in unit for parameter in module.parameters()] for unit in units]
    placed = {id(parameter) for group in groups for parameter in group}
    return [*groups, [parameter for parameter in model.parameters() if id(parameter) not in placed]]


def ordered(groups: list[list[Any]], run: Run) -> list[list[Any]]:
    import torch

    if run.parameters["order"] == "top2down":
        return groups[::-1]
    if run.parameters["order"] == "random":  # drawn once: every cycle has the same order
        generator = torch.Generator().manual_seed(run.seed)
        return [groups[index] for index in torch.randperm(len(groups), generator=generator).tolist()]
    return groups


def export(model: Any) -> Any:
    return model
