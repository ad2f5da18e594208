"""What each method's paper says it trains and stores, as formulas in the sizes of the tiny model."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tiny import LAYERS, VOCABULARY, WIDTH
from transformers import LlamaForCausalLM


@dataclass(frozen=True)
class Sizes:
    """Elements of the tiny model's tensors."""

    total: int
    layer: int  # one transformer layer
    tensors: list[int]  # every parameter
    matrices: list[tuple[int, int]]  # (outputs, inputs) of each linear layer but the head
    weight: int  # bytes of one weight
    active: int  # elements that require gradients at the moment

    @property
    def adamw(self) -> int:
        """Bytes for a trained element: two fp32 moments, and beside a 16-bit weight an fp32 master."""
        return 8 if self.weight == 4 else 12

    def projected(self, rank: int) -> int:
        """Bytes of a projection and two moments for each matrix, and of Adam's two for the rest."""
        small = [(min(shape), max(shape)) for shape in self.matrices]
        low_rank = sum(min(rank, n) * (n + 2 * m) for n, m in small)
        return self.weight * (low_rank + 2 * (self.total - sum(n * m for n, m in small)))


def eight_bit(elements: int) -> int:
    """Bytes of two 8-bit moments with an fp32 maximum per 256 elements and a map of 256 fp32 values each."""
    return 2 * (elements + 4 * math.ceil(elements / 256) + 4 * 256) if elements >= 4096 else 8 * elements


def lora(s: Sizes, rank: int) -> int:
    return rank * sum(outputs + inputs for outputs, inputs in s.matrices)


def sizes_of(model: LlamaForCausalLM, active: int) -> Sizes:
    head = model.get_output_embeddings()
    linear = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    return Sizes(
        total=model.num_parameters(),
        layer=sum(p.numel() for p in model.model.layers[0].parameters()),
        tensors=[p.numel() for p in model.parameters()],
        matrices=[tuple(weight.shape) for weight in linear],
        weight=head.weight.element_size(),
        active=active,
    )


# Of each method: (trained parameters, bytes of optimizer state), from the paper named beside it.
FOOTPRINTS: dict[str, Callable[[Sizes, dict[str, Any]], tuple[int, int]]] = {
    "none": lambda s, p: (0, 0),
    # 1711.05101: two moments
    "full": lambda s, p: (s.total, s.total * (2 * s.weight if p["pure"] else s.adamw)),
    # 2106.09685: B is outputs x rank, A is rank x inputs; here both are fp32
    "lora": lambda s, p: (lora(s, p["rank"]), 8 * lora(s, p["rank"])),
    # 2305.14314: LoRA's; the 4-bit weights are not the optimizer's
    "qlora": lambda s, p: (lora(s, p["rank"]), 8 * lora(s, p["rank"])),
    # 2402.09353: LoRA and a magnitude for each output
    "dora": lambda s, p: (n := lora(s, p["rank"]) + sum(outputs for outputs, _ in s.matrices), 8 * n),
    # 2403.03507, table 1: nr + 2mr
    "galore": lambda s, p: (s.total, s.projected(p["rank"])),
    # 2412.05270, table 1: 2mr; the package stores the projection too, nr
    "apollo": lambda s, p: (s.total, s.projected(p["rank"])),
    "apollo_mini": lambda s, p: (s.total, s.projected(p["rank"])),
    # 2306.09782: no state
    "lomo": lambda s, p: (s.total, 0),
    # 2310.10195: the second moment's row and column means for a matrix, itself for a vector, in fp32
    "adalomo": lambda s, p: (s.total, 4 * (lora(s, 1) + 2 * (VOCABULARY + WIDTH) + (2 * LAYERS + 1) * WIDTH)),
    "sgd": lambda s, p: (s.total, s.weight * s.total if p["momentum"] else 0),
    # 2110.02861: 8-bit moments in blocks
    "adamw8bit": lambda s, p: (s.total, sum(map(eight_bit, s.tensors))),
    # 2403.17919: AdamW's state for the embedding, the head and the layers drawn
    "lisa": lambda s, p: (s.total, s.adamw * (s.total - (LAYERS - p["layers"]) * s.layer)),
    # 2401.15207: every group's state is kept, on the host while it is idle
    "hift": lambda s, p: (s.total, s.adamw * s.total),
    # 2404.02827: an fp32 master and two moments for the active block, which is one layer without the head
    "badam": lambda s, p: (
        (s.total, 12 * s.active) if p["embedding_and_head"] else (LAYERS * s.layer, 12 * s.layer)
    ),
    # 2605.21177: the moments of every chunk, or of the active one alone; the master of a 16-bit weight is
    # 16 bits more, whether active or idle
    "chunkft": lambda s, p: (
        s.total,
        8 * (s.active if p["state"] == "reset" else s.total) + (0 if s.weight == 4 else 2 * s.total),
    ),
}


def state_bytes(state: Any) -> int:
    """Bytes of every tensor in `state` that grows with the model: no step counts, no random state."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size() if state.ndim else 0
    if isinstance(state, dict):
        return sum(state_bytes(value) for key, value in state.items() if key != "generator")
    if isinstance(state, (list, tuple)):
        return sum(map(state_bytes, state))
    return 0
