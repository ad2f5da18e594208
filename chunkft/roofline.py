"""The least time a training step could take on a card: an estimate, from what its operators compute and move.

Each operator takes as long as the slower of its arithmetic, at the card's peak rate, and its traffic, at the
card's bandwidth; copies to and from the host run beside all that.  Launching kernels, caches, clocks and how
far real kernels stay below the peaks are left out, so that a real step takes longer.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from torch import Tensor
from torch.utils.flop_counter import flop_registry

from chunkft.watch import tensors


@dataclass(frozen=True)
class Card:
    """Peak rates as the vendor states them: dense 16-bit matrix products summed in fp32, fp32 arithmetic
    without tensor cores, memory, and the link to the host in one direction."""

    matrix: float  # FLOP/s
    fp32: float  # FLOP/s
    bandwidth: float  # bytes/s
    link: float  # bytes/s


CARDS = {
    "H200": Card(989e12, 67e12, 4.8e12, 64e9),
    "H100": Card(989e12, 67e12, 3.35e12, 64e9),
    "A100": Card(312e12, 19.5e12, 2.039e12, 32e9),
    "RTX 4090": Card(165.2e12, 82.6e12, 1.008e12, 32e9),
    "RTX 3090": Card(71e12, 35.6e12, 0.936e12, 32e9),
}

NOTHING = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view")
COPIES = ("_to_copy", "copy_")
OVERWRITES = ("copy_", "zero_", "fill_", "normal_", "uniform_")  # without reading what was there
LOOKUPS = ("embedding", "index", "index_select", "gather")  # read as much as they return
ATTENTION = {  # products of scores' size
    "_scaled_dot_product_flash_attention": 2,
    "_scaled_dot_product_efficient_attention": 2,
    "_scaled_dot_product_flash_attention_backward": 5,
    "_scaled_dot_product_efficient_attention_backward": 5,
}


class Roofline:
    """Adds up the operators of training steps; `step()` begins one."""

    def __init__(self) -> None:
        # Of each step, how often what ran on the device: (operations, in 16 bits, bytes moved).
        self._kernels: list[Counter[tuple[float, bool, int]]] = []
        self._links: list[dict[str, int]] = []  # bytes to the host and to the device

    def step(self) -> None:
        self._kernels.append(Counter())
        self._links.append({"cpu": 0, "cuda": 0})

    def observe(self, function: Any, args: Any, kwargs: Any, results: Any) -> None:
        """An operator that ran on the device."""
        if len(self._kernels) < 2:  # of the first step nothing is kept
            return
        operator = _operator(function)
        if operator.free:
            return
        inputs, outputs = [*tensors(args), *tensors(list(kwargs.values()))], tensors(results)
        if operator.copies:
            there, back = inputs[-1].device.type, outputs[0].device.type
            if there != back:
                self._links[-1][back] += _bytes(outputs[0])
                return
        if not any(t.is_cuda for t in (*outputs, *inputs)):
            return
        moved = sum(map(_bytes, outputs)) + operator.written(args)
        moved += moved if operator.looks_up else sum(map(_bytes, inputs[operator.overwrites :]))
        flops = operator.flops(*args, **kwargs, out_val=results) if operator.flops else 0
        half = bool(inputs) and inputs[0].dtype.itemsize == 2
        self._kernels[-1][flops, half, moved] += 1

    def seconds(self) -> dict[str, float]:
        """Of a step, by card: the mean over all steps but the first, which makes the optimizer's state."""
        steps = list(zip(self._kernels, self._links, strict=True))[1:]
        return {
            name: sum(max(_seconds(kernels, card), max(link.values()) / card.link) for kernels, link in steps)
            / len(steps)
            for name, card in CARDS.items()
        }


def _seconds(kernels: Counter[tuple[float, bool, int]], card: Card) -> float:
    return sum(
        count * max(flops / (card.matrix if half else card.fp32), moved / card.bandwidth)
        for (flops, half, moved), count in kernels.items()
    )


class _Operator:
    """What of an operator's schema counts."""

    def __init__(self, function: Any) -> None:
        schema, packet = function._schema, function._overloadpacket
        name = packet.__name__
        looks = any(x.alias_info is not None and not x.alias_info.is_write for x in schema.returns)
        self.free = looks or name in NOTHING  # looks at a tensor in another way, or writes nothing
        self.copies, self.overwrites, self.looks_up = name in COPIES, name in OVERWRITES, name in LOOKUPS
        # Arguments that are written and not returned, as by fused optimizers: all but gradients.
        self._written = [
            i
            for i, x in enumerate(schema.arguments)
            if not schema.returns and x.alias_info is not None and x.alias_info.is_write and x.name != "grads"
        ]
        # Of matrix products; what else an operator computes takes less time than its traffic.
        self.flops: Callable[..., float] | None = flop_registry.get(packet)
        if name in ATTENTION:
            self.flops = partial(_attention, ATTENTION[name], [x.name for x in schema.arguments])

    def written(self, args: Any) -> int:
        return sum(map(_bytes, tensors([args[i] for i in self._written if i < len(args)])))


_operator = cache(_Operator)


def _attention(products: int, names: list[str], *args: Any, out_val: Any, **kwargs: Any) -> float:
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    batch, heads, length, width = given["query"].shape
    flops = products * 2.0 * batch * heads * length * given["key"].shape[2] * width
    return flops / 2 if given.get("is_causal") else flops


def _bytes(tensor: Tensor) -> int:
    """What reading it moves: an expanded tensor is smaller in memory than it looks."""
    return min(tensor.numel() * tensor.dtype.itemsize, tensor.untyped_storage().nbytes())
