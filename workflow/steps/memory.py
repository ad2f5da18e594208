"""Live tensor bytes, by what they are for, at the moment of their peak.

Counting storages in a dispatch mode gives the same figure on every machine and
for every device; an allocator's own counters add its rounding on top.
"""

import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from chunkft.roofline import tensors

PARTS = ("weights", "gradients", "optimizer", "activations")


class MemoryTracker(TorchDispatchMode):
    """Within the context, counts the bytes of every storage that an operation makes on `device`.

    `label(tensors, part)` says what storages are for, before or after the peak;
    what is never labelled counts as activations (with logits and transients).
    A storage keeps its first label.  `levels` are the live bytes after each operation.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.live: dict[int, int] = {}  # storage number -> bytes
        self.parts: dict[int, str] = {}  # storage number -> part
        self.numbers: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
        self.current = self.peak = self.made = 0
        self.rising = False  # since the peak, whose storages are not noted yet, nothing was freed
        self.at_peak: dict[int, int] = {}
        self.levels: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        self.observe(func, args, kwargs, results)
        return results

    def observe(self, func, args, kwargs, results):
        for result in tensors(results):
            if result.device.type == self.device:
                self._count(result)
        self.levels.append(self.current)

    def label(self, tensors: Iterable[torch.Tensor], part: str) -> None:
        for tensor in tensors:
            if tensor.device.type != self.device:
                continue
            self.parts.setdefault(self._count(tensor), part)

    def breakdown(self, at_peak: bool = True) -> dict[str, int]:
        """Bytes of each part at the peak, or now; they add up to it."""
        self._keep_peak()
        parts = dict.fromkeys(PARTS, 0)
        for number, size in (self.at_peak if at_peak else self.live).items():
            parts[self.parts.get(number, "activations")] += size
        return parts

    def _keep_peak(self) -> None:
        """What is alive now is what is alive at the peak, if nothing was freed since."""
        if self.rising:
            self.at_peak, self.rising = dict(self.live), False

    def _count(self, tensor: torch.Tensor) -> int:
        storage = tensor.untyped_storage()
        number = self.numbers.get(storage)
        if number is None:
            number = self.made
            self.made += 1
            self.numbers[storage] = number
            self.live[number] = storage.nbytes()
            weakref.finalize(storage, self._free, number).atexit = False
            self.current += self.live[number]
            if self.current > self.peak:
                self.peak, self.rising = self.current, True
        return number

    def _free(self, number: int) -> None:
        self._keep_peak()
        self.current -= self.live.pop(number)


def state_tensors(optimizer: Any) -> list[torch.Tensor]:
    """Every tensor an optimizer keeps between steps, wherever in it they lie; not the parameters."""
    found: list[torch.Tensor] = []
    seen: set[int] = set()
    waiting: list[Any] = [vars(optimizer)]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, (torch.nn.Parameter, torch.nn.Module, type, ModuleType)):
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, (list, tuple, set, deque)):
            waiting += value
        elif hasattr(value, "__dict__") and not callable(value):  # GaLore's projector, ChunkFT's idle chunks
            waiting += vars(value).values()
    return found
