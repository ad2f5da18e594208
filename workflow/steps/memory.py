"""Live tensor bytes, by what they are for, at the moment of their peak.

Counting storages in a dispatch mode gives the same figure on every machine and
for every device; an allocator's own counters add its rounding on top.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import torch

from chunkft.watch import LiveBytes, Place

PARTS = ("weights", "gradients", "optimizer", "activations")


class MemoryTracker(LiveBytes):
    """Also what the storages on `device` are for, at the peak there too.

    `label(tensors, part)` says it, before or after the peak; what is never labelled counts as activations
    (with logits and transients).  A storage keeps its first label.  `levels` are the live bytes after each
    operation.  Storages elsewhere are counted and not told apart.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.parts: dict[int, str] = {}  # storage number -> part
        self.at_peak: dict[int, int] = {}
        self.kept = 0  # the peak whose storages `at_peak` is
        self.levels: list[int] = []

    def observe(self, function: Any, args: Any, kwargs: Any, results: Any) -> None:
        super().observe(function, args, kwargs, results)
        self.levels.append(self.live[self.device])

    def label(self, labelled: Iterable[torch.Tensor], part: str) -> None:
        for tensor in labelled:
            self.parts.setdefault(self.count(tensor).number, part)

    def breakdown(self, at_peak: bool = True) -> dict[str, int]:
        """Bytes of each part at the peak, or now; they add up to it."""
        self._keep_peak()
        parts = dict.fromkeys(PARTS, 0)
        for number, size in (self.at_peak if at_peak else self.sizes[self.device]).items():
            parts[self.parts.get(number, "activations")] += size
        return parts

    def forget(self, place: Place) -> None:
        if place.device == self.device:
            self._keep_peak()
        super().forget(place)

    def _keep_peak(self) -> None:
        """Where the peak is a new one, nothing was freed since."""
        if self.peak[self.device] > self.kept:
            self.at_peak, self.kept = dict(self.sizes[self.device]), self.peak[self.device]


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
