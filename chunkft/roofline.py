"""The least time a training step could take on a card: an estimate, from what its operators compute and move.

Each operator takes as long as the slower of its arithmetic, at the card's peak rate, and its traffic, at the
card's bandwidth; copies to and from the host run beside all that.  Launching kernels, caches, clocks and how
far real kernels stay below the peaks are left out, so that a real step takes longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.flop_counter import flop_registry


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
OVERWRITES = ("copy_", "zero_", "fill_", "normal_", "uniform_")  # without reading what was there
LOOKUPS = ("embedding", "index", "index_select", "gather")  # read as much as they return
ATTENTION = {  # products of scores' size
    "_scaled_dot_product_flash_attention": 2,
    "_scaled_dot_product_efficient_attention": 2,
    "_scaled_dot_product_flash_attention_backward": 5,
    "_scaled_dot_product_efficient_attention_backward": 5,
}


def tensors(value: Any) -> Sequence[Tensor]:
    """Those among an operator's arguments or results, which may be in lists and tuples."""
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, (list, tuple)):
        return [t for each in value for t in tensors(each)]
    return ()


class Roofline:
    """Adds up the operators of training steps; `step()` begins one."""

    def __init__(self) -> None:
        self._kernels: list[dict[str, float]] = []  # of each step, seconds on each card
        self._links: list[dict[str, int]] = []  # bytes to the host and to the device

    def step(self) -> None:
        self._kernels.append(dict.fromkeys(CARDS, 0.0))
        self._links.append({"cpu": 0, "cuda": 0})

    def observe(self, function: Any, args: Any, kwargs: Any, results: Any) -> None:
        """An operator that ran on the device."""
        if len(self._kernels) < 2 or _is_free(function):  # of the first step nothing is kept
            return
        inputs, outputs = [*tensors(args), *tensors(list(kwargs.values()))], tensors(results)
        if function.__name__.startswith(("_to_copy", "copy_")):
            there, back = inputs[-1].device.type, outputs[0].device.type
            if there != back:
                self._links[-1][back] += _bytes(outputs[0])
                return
        if not any(t.device.type == "cuda" for t in (*inputs, *outputs)):
            return
        name = function._overloadpacket.__name__
        moved = sum(map(_bytes, outputs)) + _written(function, args)
        moved += moved if name in LOOKUPS else sum(map(_bytes, inputs[name in OVERWRITES :]))
        flops = _flops(function, name, args, kwargs, results)
        half = bool(inputs) and inputs[0].dtype.itemsize == 2
        kernels = self._kernels[-1]
        for card, rates in CARDS.items():
            kernels[card] += max(flops / (rates.matrix if half else rates.fp32), moved / rates.bandwidth)

    def seconds(self) -> dict[str, float]:
        """Of a step, by card: the mean over all steps but the first, which makes the optimizer's state."""
        steps = list(zip(self._kernels, self._links, strict=True))[1:]
        return {
            card: sum(max(kernels[card], max(link.values()) / rates.link) for kernels, link in steps)
            / len(steps)
            for card, rates in CARDS.items()
        }


_free: dict[Any, bool] = {}


def _is_free(function: Any) -> bool:
    """Whether the operator only looks at a tensor in another way, or makes one without writing it."""
    if function not in _free:
        looks = any(x.alias_info is not None and not x.alias_info.is_write for x in function._schema.returns)
        _free[function] = looks or function._overloadpacket.__name__ in NOTHING
    return _free[function]


def _bytes(tensor: Tensor) -> int:
    """What reading it moves: an expanded tensor is smaller in memory than it looks."""
    return min(tensor.numel() * tensor.dtype.itemsize, tensor.untyped_storage().nbytes())


def _written(function: Any, args: Any) -> int:
    """Bytes of arguments that are written and not returned, as fused optimizers do: all but gradients."""
    if function._schema.returns:
        return 0
    written = (
        value
        for argument, value in zip(function._schema.arguments, args, strict=False)
        if argument.alias_info is not None and argument.alias_info.is_write and argument.name != "grads"
    )
    return sum(map(_bytes, tensors(list(written))))


def _flops(function: Any, name: str, args: Any, kwargs: Any, results: Any) -> float:
    """Of matrix products; what else an operator computes takes less time than its traffic."""
    if name in ATTENTION:
        given = {**dict(zip((x.name for x in function._schema.arguments), args, strict=False)), **kwargs}
        batch, heads, length, width = given["query"].shape
        products = ATTENTION[name] * 2.0 * batch * heads * length * given["key"].shape[2] * width
        return products / 2 if given.get("is_causal") else products
    formula = flop_registry.get(function._overloadpacket)
    return float(formula(*args, **kwargs, out_val=results)) if formula else 0.0
