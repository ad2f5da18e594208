"""How many chunks fit into a given amount of device memory."""

import copy
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from chunkft.fakecuda import fake_cuda
from chunkft.head import head_loss
from chunkft.partition import Chunks
from chunkft.precision import needs_master
from chunkft.roofline import Roofline
from chunkft.watch import LiveBytes

Loss = Callable[[nn.Module], Tensor]
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

# cuBLAS's workspaces on a CUDA device, which torch takes from its allocator: one for the thread that runs
# forward, one for backward's.  32 MiB each on Hopper, 8 on others.
WORKSPACES = 2 * 32 * 2**20


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
    elements: int, dtype: torch.dtype, per_element: float, resident: bool, block: int
) -> tuple[float, float]:
    """Device bytes of an active chunk: gradient and state, and what its update needs besides.

    With 16-bit weights that is an fp32 master and gradient of a block; streamed state has up to four blocks
    under way.
    """
    state = per_element + {torch.bfloat16: 2, torch.float16: 4}.get(dtype, 0)
    block = min(block, elements)
    update = 8 * block if needs_master(dtype) else 0
    if resident:
        return elements * (dtype.itemsize + state), update
    return elements * dtype.itemsize, update + 4 * block * state


def fewest_chunks(
    weights: int,
    cut: Callable[[int], Chunks],
    parameters: dict[str, nn.Parameter],
    cost: Callable[[int, torch.dtype], tuple[float, float]],
    memory: int,
    activations: int | Callable[[int], int],
) -> int:
    """The smallest K whose largest chunk fits into `memory` beside the weights and `activations`.

    In place of the activations' bytes, a function from K to the peak of training with it.
    Raises ValueError, saying what would fit, when no K does.
    """

    def can_be_cut(chunks: int) -> bool:
        try:
            return bool(cut(chunks))
        except ValueError:
            return False

    def chunk(chunks: int) -> tuple[float, float]:
        largest = max(sum(parameters[s.name][s.index()].numel() for s in chunk) for chunk in cut(chunks))
        dtype = max((p.dtype for p in parameters.values()), key=lambda d: d.itemsize)
        return cost(largest, dtype)

    def search(activations: float) -> int:
        def needed(chunks: int) -> float:
            held, update = chunk(chunks)
            return weights + held + max(activations, update)  # activations are gone when the update begins

        # Doubling, then bisection: the largest chunk never grows by much with K.
        floor, low, high = weights + activations, 0, 1
        while needed(high) > memory:
            # Of the numbers of chunks that do not fit either, name none that is large for little.
            hopeless = memory < floor and needed(high) < 1.01 * floor
            if hopeless or not can_be_cut(2 * high):
                raise ValueError(
                    f"memory={memory / 2**30:.4g} GiB is too little: the weights take "
                    f"{weights / 2**30:.4g} GiB, activations {activations / 2**30:.4g}; "
                    f"{needed(high) / 2**30:.4g} GiB would do, at chunks={high}"
                )
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if needed(middle) <= memory else (middle, high)
        return high

    if not callable(activations):
        return search(activations)
    peaks: dict[int, int] = {}
    chunks = search(0)
    while chunks not in peaks:
        peaks[chunks] = activations(chunks)
        chunks = search(peaks[chunks] - weights - chunk(chunks)[0])
    # The last one fits by what it needs beside its chunk, unless that hardly changes with K.
    while peaks[chunks] > memory:
        chunks += 1
        peaks[chunks] = peaks.get(chunks) or activations(chunks)
    return min(k for k, peak in peaks.items() if peak <= memory)


class Footprint(NamedTuple):
    """What training takes."""

    device: int  # bytes
    host: int  # bytes
    seconds: dict[str, float]  # of a step, at least, by card


def language_model_loss(batch_size: int, sequence_length: int) -> Loss:
    """The loss that a language model of transformers returns, which holds all logits, for such a batch."""

    def loss(model: nn.Module) -> Tensor:
        device = next(model.parameters()).device
        ids = torch.zeros(batch_size, sequence_length, dtype=torch.long, device=device)
        return model(input_ids=ids, labels=ids, use_cache=False).loss  # type: ignore[no-any-return]

    return loss


def head_model_loss(batch_size: int, sequence_length: int) -> Loss:
    """The same by `head_loss` on the model's last hidden states, without ever holding all logits."""

    def loss(model: Any) -> Tensor:
        ids = torch.zeros(
            batch_size, sequence_length, dtype=torch.long, device=next(model.parameters()).device
        )
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return head_loss(hidden[:, :-1], model.get_output_embeddings(), ids[:, 1:])

    return loss


LOSSES = {"model": language_model_loss, "head": head_model_loss}


def footprint(model: nn.Module, make: Callable[[nn.Module], Any], loss: Loss) -> Footprint:
    """The most bytes on a CUDA device, and on the host, while `make(model)`, a ChunkFT, trains by `loss`.

    Found with a copy of the model that holds no data: two steps on each of the first two chunks, for which
    backward runs to the bottom, one amidst the layers, and the last.  The host's are for a whole cycle.
    """
    workspaces = WORKSPACES if next(model.parameters()).is_cuda else 0
    with warnings.catch_warnings(), fake_cuda() as card:
        warnings.simplefilter("ignore")
        twin = _on_card(model)
        optimizer = make(twin)
        try:
            level, roofline = LiveBytes([*twin.parameters(), *twin.buffers()]), Roofline()
            chunks, length = len(optimizer.chunks), optimizer.steps_per_chunk
            visited = sorted({0, min(1, chunks - 1), chunks // 2, chunks - 1})

            def step() -> None:
                roofline.step()
                loss(twin).backward()
                optimizer.step()
                optimizer.zero_grad()

            with card.showing(level, roofline):
                step()
                for turn in (*visited[1:], 0):
                    optimizer.steps = (chunks + turn) * length - 1  # the coming step ends the turn before
                    step()
                    step()
        except Exception as error:
            raise ValueError(
                f"activations: trying the loss on tensors without data failed ({error}); "
                "give a number of bytes"
            ) from error
    idle = sum(v.nbytes for s in optimizer._states.idle.values() for v in s.values() if isinstance(v, Tensor))
    others = idle * (chunks - len(visited)) // len(visited)
    return Footprint(level.peak["cuda"] + workspaces, level.peak["cpu"] + others, roofline.seconds())


def _on_card(model: nn.Module) -> nn.Module:
    """A copy whose tensors are on the device that is not there."""
    tensors = [*model.buffers()]
    tensors += [v for module in model.modules() for v in vars(module).values() if isinstance(v, Tensor)]
    memo: dict[int, Any] = {id(t): torch.empty_like(t, device="cuda") for t in tensors}
    for p in model.parameters():
        memo[id(p)] = nn.Parameter(torch.empty_like(p, device="cuda"), requires_grad=p.requires_grad)
    return copy.deepcopy(model, memo)
