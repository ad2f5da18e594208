"""How many chunks fit into a given amount of device memory."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from chunkft.partition import Chunks
from chunkft.precision import needs_master

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def size(name: str, given: int | float | str) -> int:
    """Bytes of a number, or of a text such as "13 GiB" or "24GB"."""
    if not isinstance(given, str):
        return int(given)
    match = re.fullmatch(r"\s*([\d.]+)\s*([A-Za-z]+)\s*", given)
    if match is None or match[2] not in UNITS:
        raise ValueError(f"{name}={given!r} must be a number of bytes, or like '13 GiB' ({', '.join(UNITS)})")
    return int(float(match[1]) * UNITS[match[2]])


def state_bytes(base: type[torch.optim.Optimizer], base_kwargs: dict[str, Any]) -> float:
    """Bytes of fp32 state a parameter gets from one step of `base`, found by taking it on 64 of them."""
    probe = nn.Parameter(torch.zeros(8, 8))
    probe.grad = torch.zeros(8, 8)
    options = {k: v for k, v in base_kwargs.items() if k not in ("fused", "capturable")}
    optimizer = base([probe], **options)
    optimizer.step()
    values = optimizer.state[probe].values()
    return sum(v.nbytes for v in values if isinstance(v, Tensor) and v.dim() > 0) / probe.numel()


def chunk_bytes(
    chunk_elements: int, dtype: torch.dtype, per_element: float, resident: bool, block: int
) -> float:
    """Device bytes of an active chunk: gradient and state, and what the update of one block needs besides.

    With 16-bit weights that is an fp32 master and gradient; streamed state has up to four blocks under way.
    """
    residual = {torch.bfloat16: 2, torch.float16: 4}.get(dtype, 0)
    state = per_element + residual
    elements = min(block, chunk_elements)
    held = chunk_elements * state if resident else 4 * elements * state
    return chunk_elements * dtype.itemsize + held + (8 * elements if needs_master(dtype) else 0)


def fewest_chunks(
    model: nn.Module,
    cut: Callable[[int], Chunks],
    parameters: dict[str, nn.Parameter],
    cost: Callable[[int, torch.dtype], float],
    memory: int,
    activations: int,
) -> int:
    """The smallest K whose largest chunk fits into `memory` beside the weights and `activations`.

    Raises ValueError, saying what would fit, when no K does.
    """
    weights = sum(t.nbytes for t in [*model.parameters(), *model.buffers()])

    def needed(chunks: int) -> float:
        largest = max(sum(parameters[s.name][s.index()].numel() for s in chunk) for chunk in cut(chunks))
        dtype = max((p.dtype for p in parameters.values()), key=lambda d: d.itemsize)
        return weights + activations + cost(largest, dtype)

    # Doubling, then bisection: the largest chunk never grows by much with K.
    low, high = 0, 1
    while needed(high) > memory:
        low, high = high, 2 * high
        try:
            cut(high)
        except ValueError:
            least = needed(low)
            raise ValueError(
                f"memory={memory / 2**30:.2f} GiB is too little: the weights take {weights / 2**30:.2f} GiB; "
                f"{least / 2**30:.2f} GiB would do, at chunks={low}"
            ) from None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if needed(middle) <= memory else (middle, high)
    return high
