"""LISA: AdamW on the embedding, the head and a few layers drawn anew every `period` steps.

No maintained package: written here from the paper's algorithm 1.
"""

import math
from typing import Any

from baselines import Run, Tuning, checkpoint_activations

TITLE = "LISA"
PAPER = "arXiv 2403.17919"
PARAMETERS: dict[str, Any] = {"layers": 2, "period": 20}
REQUIRES: tuple[str, ...] = ()
NOTES = (
    "Our implementation: a layer's moments are dropped when it is frozen, which is what saves their memory.",
    "Our implementation: the final norm is trained with the head.",
)
RESUMES = True


def supports(run: Run) -> str | None:
    return None


def build(model: Any, run: Run) -> Tuning:
    import torch

    from baselines._blocks import BlockAdamW, decoder_layers

    own = run.parameters
    layers = [list(layer.parameters()) for layer in decoder_layers(model)]
    drawable = {id(parameter) for layer in layers for parameter in layer}
    always = [parameter for parameter in model.parameters() if id(parameter) not in drawable]

    class LISA(BlockAdamW):
        def active(self) -> list[Any]:
            # drawn from the seed and the period's number alone, so that resuming needs no random state
            seed = 1_000_003 * run.seed + self.steps // own["period"]
            drawn = torch.randperm(len(layers), generator=torch.Generator().manual_seed(seed))
            return always + [parameter for index in drawn[: own["layers"]] for parameter in layers[index]]

        def park(self, parameter: Any) -> None:
            self.state.pop(parameter, None)

    if run.checkpointing:
        checkpoint_activations(model)
    optimizer = LISA(model, run.lr, run.weight_decay)
    turns = math.ceil(len(layers) / own["layers"])

    def jump(turn: int) -> None:
        optimizer.jump(turn * own["period"])

    tuning = Tuning(model, optimizer, cycle=own["period"] * turns, turns=turns, jump=jump)
    optimizer.switch()  # not before: Tuning takes all that requires gradients for what the run trains
    return tuning


def export(model: Any) -> Any:
    return model
