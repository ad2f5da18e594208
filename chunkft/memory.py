"""How many chunks fit into a given amount of device memory."""

import copy
import re
import warnings
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from chunkft.checkpointing import OFFLOAD_BYTES, Recomputed, Shelf
from chunkft.partition import Chunks, Slice
from chunkft.precision import needs_master
from chunkft.subtensor import Sites

Loss = Callable[[nn.Module], Tensor]
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
    model: nn.Module,
    cut: Callable[[int], Chunks],
    parameters: dict[str, nn.Parameter],
    cost: Callable[[int, torch.dtype], tuple[float, float]],
    memory: int,
    activations: int | Loss,
) -> int:
    """The smallest K whose largest chunk fits into `memory` beside the weights and `activations`.

    Raises ValueError, saying what would fit, when no K does.
    """

    def can_be_cut(chunks: int) -> bool:
        try:
            return bool(cut(chunks))
        except ValueError:
            return False

    weights = sum(t.nbytes for t in [*model.parameters(), *model.buffers()])
    if callable(activations):
        # Of large chunks, since active layers keep more: the first, for which backward runs to the bottom,
        # and one amidst the layers.
        probe = 4 if can_be_cut(4) else 1
        activations = activation_bytes(model, activations, [cut(probe)[0], cut(probe)[probe // 2]])
    floor = weights + activations

    def needed(chunks: int) -> float:
        largest = max(sum(parameters[s.name][s.index()].numel() for s in chunk) for chunk in cut(chunks))
        dtype = max((p.dtype for p in parameters.values()), key=lambda d: d.itemsize)
        held, update = cost(largest, dtype)
        return weights + held + max(activations, update)  # activations are gone when the update begins

    # Doubling, then bisection: the largest chunk never grows by much with K.
    low, high = 0, 1
    while needed(high) > memory:
        # Of the numbers of chunks that do not fit either, name none that is large for little.
        hopeless = memory < floor and needed(high) < 1.01 * floor
        if hopeless or not can_be_cut(2 * high):
            raise ValueError(
                f"memory={memory / 2**30:.4g} GiB is too little: the weights take {weights / 2**30:.4g} GiB, "
                f"activations {activations / 2**30:.4g}; "
                f"{needed(high) / 2**30:.4g} GiB would do, at chunks={high}"
            )
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if needed(middle) <= memory else (middle, high)
    return high


class LiveBytes(TorchDispatchMode):
    """Bytes of the storages that operators make, weights apart: those alive now and the most at any time."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._weights = {p.untyped_storage()._cdata for p in model.parameters()}
        self._counted: dict[int, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for t in tree_leaves(result):
            storage = t.untyped_storage() if isinstance(t, Tensor) else None
            if storage is not None and not self._known(storage._cdata):
                self._counted[storage._cdata] = storage.nbytes()
                self.live += storage.nbytes()
                weakref.finalize(storage, self._forget, storage._cdata)
        self.peak = max(self.peak, self.live)
        return result

    def _known(self, key: int) -> bool:
        return key in self._weights or key in self._counted

    def _forget(self, key: int) -> None:
        self.live -= self._counted.pop(key, 0)

    def leave_out_gradient(self, leaf: Tensor) -> None:
        """From now on do not count the leaf's gradient: a hook for when it is accumulated."""
        assert leaf.grad is not None
        self._forget(leaf.grad.untyped_storage()._cdata)


class Host(Shelf):
    """Stands for pinned memory: keeps a tensor's shape, and makes a new one when it is taken."""

    def put(self, x: Tensor) -> Any:
        small = x.nbytes < OFFLOAD_BYTES or isinstance(x, nn.Parameter)
        return x if small or self._layer.stays else (x.shape, x.dtype, x.device)

    def take(self, kept: Any) -> Tensor:
        return kept if isinstance(kept, Tensor) else torch.empty(kept[0], dtype=kept[1], device=kept[2])


def language_model_loss(batch_size: int, sequence_length: int) -> Loss:
    """The loss of a language model of transformers for a batch of this shape."""

    def loss(model: nn.Module) -> Tensor:
        device = next(model.parameters()).device
        ids = torch.zeros(batch_size, sequence_length, dtype=torch.long, device=device)
        return model(input_ids=ids, labels=ids).loss  # type: ignore[no-any-return]

    return loss


def activation_bytes(model: nn.Module, loss: Loss, chunks: Iterable[list[Slice]]) -> int:
    """The most bytes that forward and backward of `loss(model)` hold beside weights and finished gradients.

    Found by running them with tensors that hold no data, for each of these chunks.
    """
    peaks = []
    with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        warnings.simplefilter("ignore")
        tensors = [*model.parameters(), *model.buffers()]
        tensors += [v for module in model.modules() for v in vars(module).values() if isinstance(v, Tensor)]
        twin = copy.deepcopy(model, {id(t): mode.from_tensor(t) for t in tensors})
        for module in twin.modules():
            forward = vars(module).get("forward")
            if isinstance(forward, Recomputed) and forward.shelf and next(module.parameters()).is_cuda:
                forward.shelf = Host()
        sites = Sites(twin)
        for slices in chunks:
            sites.deactivate(twin)
            leaves = sites.activate(slices)
            with LiveBytes(twin) as memory:
                hooks = [
                    leaf.register_post_accumulate_grad_hook(memory.leave_out_gradient) for leaf in leaves
                ]
                try:
                    loss(twin).backward()
                except Exception as error:
                    raise ValueError(
                        f"activations: trying the loss on tensors without data failed ({error}); "
                        "give a number of bytes"
                    ) from error
            peaks.append(memory.peak)
            for leaf, hook in zip(leaves, hooks, strict=True):
                leaf.grad = None
                hook.remove()
    return max(peaks)
