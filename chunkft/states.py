"""Where optimizer state is while its slice is idle, and how it travels.

On a CUDA device idle state is in pinned host memory.  Blocks of it are copied in and out on two side
streams while the block before is being updated, so that no more than three blocks are under way.
"""

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chunkft.partition import Slice
from chunkft.precision import needs_master, round_stochastically

POLICIES = ("fp32", "bf16", "reset", "disk")
RESIDUAL = "residual"  # of a 16-bit weight; kept by every policy, since losing it would change the weights
BLOCK = 1 << 22  # elements updated at one time whose state is streamed: up to four such blocks are under way
RESIDENT = (
    4  # as many blocks are updated at one time where the state stays, as launching kernels takes longer
)
IN_FLIGHT = 2  # blocks on their way to the host, beside the one being updated

State = dict[str, Any]


@dataclass
class Piece:
    """Rows of an active leaf that are updated, and travel, together."""

    part: Slice
    weight: torch.nn.Parameter | Tensor  # the leaf, or rows of it
    leaf: torch.nn.Parameter
    rows: slice  # of the leaf
    group: int

    @property
    def key(self) -> str:
        return str(self.part)

    @property
    def gradient(self) -> Tensor | None:
        gradient = self.leaf.grad
        return gradient if gradient is None or gradient.dim() == 0 else gradient[self.rows]


def blocks(
    active: list[tuple[Slice, torch.nn.Parameter, int]], elementwise: bool, resident: bool
) -> list[list[Piece]]:
    """The pieces of the active slices (slice, leaf, group), in runs to be updated, and to travel, together.

    Runs have about `run_length` elements.  With fp32 weights whose state stays there is nothing to gain by
    that, and there is one run of whole slices.
    """
    length = run_length(resident)
    stays = resident and not any(needs_master(leaf.dtype) for _, leaf, _ in active)
    pieces = [
        piece
        for s, leaf, group in active
        for piece in _pieces(
            s, leaf, group, elementwise and (needs_master(leaf.dtype) or not resident), length
        )
    ]
    if stays:
        return [pieces]
    runs: list[list[Piece]] = [[]]
    elements = 0
    for piece in pieces:
        if runs[-1] and elements + piece.weight.numel() > length:
            runs.append([])
            elements = 0
        runs[-1].append(piece)
        elements += piece.weight.numel()
    return runs


def run_length(resident: bool) -> int:
    """Elements whose fp32 master and gradient exist at one time while they are updated."""
    return RESIDENT * BLOCK if resident else BLOCK


def _pieces(s: Slice, leaf: torch.nn.Parameter, group: int, cut: bool, length: int) -> list[Piece]:
    if leaf.dim() == 0 or not cut or leaf.numel() <= length:
        return [Piece(s, leaf, leaf, slice(None), group)]
    step = max(1, length * leaf.shape[0] // leaf.numel())
    first = s.rows[0] if s.rows else 0
    pieces = []
    for start in range(0, leaf.shape[0], step):
        rows = slice(start, min(start + step, leaf.shape[0]))
        part = Slice(s.name, (first + rows.start, first + rows.stop), s.columns)
        pieces.append(Piece(part, leaf.detach()[rows], leaf, rows, group))
    return pieces


def _large(value: Any) -> bool:
    """Worth moving: step counts and the like stay where the base optimizer put them."""
    return isinstance(value, Tensor) and value.dim() > 0


class States:
    """The state of every piece: `idle` on the host, `active` beside the weights."""

    def __init__(self, policy: str, directory: Path | None, generator: torch.Generator) -> None:
        self.policy, self.directory, self.generator = policy, directory, generator
        self._pinned = generator.device.type == "cuda"
        self.idle: dict[str, State] = {}
        self.active: dict[str, State] = {}
        self._arriving: dict[str, torch.cuda.Event] = {}
        self._leaving: deque[tuple[torch.cuda.Event, list[State]]] = deque()
        self._streams: dict[str, torch.cuda.Stream] = {}

    def fetch_ahead(self, block: list[Piece]) -> None:
        """Start bringing the block's state to its weights' device."""
        missing = [p for p in block if p.key not in self.active and p.key in self.idle]
        if not missing:
            return
        if not missing[0].leaf.is_cuda:
            for p in missing:
                idle = self.idle.pop(p.key) if p.leaf.device.type == "cpu" else self.idle[p.key]
                self.active[p.key] = {k: self._widen(v, p) for k, v in idle.items()}
            return
        while len(self._leaving) >= IN_FLIGHT:
            self._wait_for_one()
        # Allocated on the current stream, which is the one that will use and free it.
        arriving = {
            p.key: {
                k: torch.empty_like(v, device=p.leaf.device) if _large(v) else v
                for k, v in self.idle[p.key].items()
            }
            for p in missing
        }
        stream = self._stream("in")
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for key, state in arriving.items():
                for name, value in state.items():
                    if _large(value):
                        value.copy_(self.idle[key][name], non_blocking=True)
        arrived = stream.record_event()
        for key, state in arriving.items():
            self.active[key] = state
            self._arriving[key] = arrived

    def fetch(self, block: list[Piece]) -> list[State]:
        """The block's state, on its weights' device and in full precision; empty where there is none yet."""
        self.fetch_ahead(block)
        for p in block:
            if (arrived := self._arriving.pop(p.key, None)) is not None:
                torch.cuda.current_stream().wait_event(arrived)
                self.active[p.key] = {k: self._widen(v, p) for k, v in self.active[p.key].items()}
        return [self.active.setdefault(p.key, {}) for p in block]

    def put_back(self, block: list[Piece], leaving: bool) -> None:
        """Send the block's state to the host; `leaving` says that its chunk is done with."""
        cuda = [p for p in block if p.leaf.is_cuda]
        states = []
        for p in block:
            state = self.active.pop(p.key, {})
            if self.policy == "reset" and leaving:
                state = {k: v for k, v in state.items() if k == RESIDUAL}
            if self.policy == "bf16":
                state = {k: self._narrow(v, p) if k != RESIDUAL else v for k, v in state.items()}
            states.append(state)
        if not cuda:
            for p, state in zip(block, states, strict=True):
                self.idle[p.key] = {k: self._to_host(v, p.key, k) for k, v in state.items()}
            return
        stream = self._stream("out")
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for p, state in zip(block, states, strict=True):
                self.idle[p.key] = {k: self._to_host(v, p.key, k) for k, v in state.items()}
        self._leaving.append((stream.record_event(), states))
        while len(self._leaving) > IN_FLIGHT:  # also where nothing is fetched, on a chunk's first visit
            self._wait_for_one()

    def settle(self) -> None:
        """Wait until everything that leaves has left, and free it."""
        while self._leaving:
            self._wait_for_one()

    def load(self, states: dict[str, State]) -> None:
        """Take over saved states, as copies; the pieces they belong to fetch them when they need them."""
        self.settle()
        self.active, self.idle = {}, {}
        for key, state in states.items():
            self.idle[key] = {
                k: self._to_host(v.clone() if isinstance(v, Tensor) else v, key, k) for k, v in state.items()
            }

    def _wait_for_one(self) -> None:
        event, _ = self._leaving.popleft()
        event.synchronize()

    def _stream(self, way: str) -> torch.cuda.Stream:
        if way not in self._streams:
            self._streams[way] = torch.cuda.Stream()
        return self._streams[way]

    def _narrow(self, value: Any, piece: Piece) -> Any:
        moment = _large(value) and value.shape == piece.weight.shape and value.dtype == torch.float32
        return round_stochastically(value, self.generator) if moment else value

    def _widen(self, value: Any, piece: Piece) -> Any:
        """Undo `_narrow` on the device the state is needed on."""
        if not _large(value):
            return value
        value = value.to(piece.leaf.device)
        return value.float() if self.policy == "bf16" and value.dtype == torch.bfloat16 else value

    def _to_host(self, value: Any, key: str, name: str) -> Any:
        if not _large(value):
            return value
        host: Tensor | None
        if self.policy == "disk":
            host = self._mapped(value, key, name)
        elif self._pinned:
            host = self.idle.get(key, {}).get(name)
            if host is None or host.dtype != value.dtype:
                host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
        else:
            return value.to("cpu")
        return host.copy_(value, non_blocking=True)

    def _mapped(self, value: Tensor, key: str, name: str) -> Tensor:
        """A tensor backed by a file of its own in `directory`."""
        assert self.directory is not None
        self.directory.mkdir(parents=True, exist_ok=True)
        file = self.directory / f"{key}.{name}".replace("/", "_")
        mapped = torch.from_file(str(file), shared=True, size=value.numel(), dtype=value.dtype)
        return mapped.view(value.shape)
