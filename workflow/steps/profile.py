"""What one training step costs in memory and time, whatever the method.

A method that trains its parameters in turns is measured in a sample of them: some
that are spread evenly over a cycle, and the first and the last, which are the extremes
where backward ends at the lowest active layer.  Times are means over the former of each
turn's median step; peaks are over all of them.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from baselines import Tuning
from chunkft.watch import Watch
from workflow.steps.memory import MemoryTracker, state_tensors

Loss = Callable[[Any], torch.Tensor]  # from model to loss
TRACE_POINTS = 240  # of the memory trace of a step
LONGEST_VISIT = 5  # steps in a sampled turn: one on arrival, one on leaving, and some between


def profile(
    tuning: Tuning, loss: Loss, lr: float, device: str, *, warmup: int, steps: int, sampled: int
) -> dict[str, dict]:
    """The `memory` and `time` sections of a measurement of training with `loss(model)` at rate `lr`.

    The first pass over the sampled turns counts live tensors, creates optimizer state, and warms up;
    the second is timed.  `steps` are timed after `warmup` more where there is one turn only.
    """
    visited, spread = sample(tuning.turns, sampled)
    tracker = MemoryTracker(device)
    label_what_is_there(tracker, tuning)
    counters = Counters(device)
    after_load = tracker.live[device] if counters.allocated is None else counters.allocated
    # on a CPU the idle turns' state counts too, so all of it has to be made
    tracked = visited if device == "cuda" else list(range(tuning.turns))
    with Watch(tracker):
        seen = tracked_steps(tuning, loss, lr, tracker, tracked, counters.read)
    watch = Stopwatch(device)

    def timed_step() -> list[float]:
        marks: list[Any] = []
        started = time.perf_counter()
        marks.append(watch.mark())
        take_step(tuning, loss, lr, lambda: marks.append(watch.mark()))
        return [*watch.seconds(marks), time.perf_counter() - started]

    rows: dict[int, list[list[float]]] = {turn: [] for turn in visited}
    peaks = []
    if tuning.turns == 1:
        rows[0] = [timed_step() for _ in range(warmup + steps)][warmup:]
        peaks.append(counters.read())
    else:
        # a tour of turns that are one or two steps long is short
        for _ in range(1 if tuning.cycle // tuning.turns > 2 else 3):
            for turn, spans in visits(tuning, visited, LONGEST_VISIT, timed_step):
                rows[turn] += spans
                peaks.append(counters.read())
    memory = {
        "device": device,
        **_parts(tracker, counters),
        "reserved": counters.reserved,
        "after_load": after_load,
        "process": _resident(),
        "pinned": counters.pinned(),
        "card": counters.card(),
        "peak_lowest": min(peaks) if device == "cuda" else None,
        **seen,
    }
    return {"memory": memory, "time": _times(rows, spread, tuning)}


def label_what_is_there(tracker: MemoryTracker, tuning: Tuning) -> None:
    tracker.label([*tuning.model.parameters(), *tuning.model.buffers()], "weights")
    tracker.label(state_tensors(tuning.optimizer), "optimizer")


def tracked_steps(
    tuning: Tuning,
    loss: Loss,
    lr: float,
    tracker: MemoryTracker,
    turns: list[int],
    after_visit: Callable[[], Any] = lambda: None,
) -> dict[str, Any]:
    """Two steps in each turn: the `trace` of the one with the highest level, and what phases leave `held`."""
    trace: dict[str, Any] = {}
    held = {"gradients": 0, "optimizer": 0}

    def step() -> None:
        tracker.levels.clear()
        marks: list[int] = []

        def mark() -> None:
            _label(tracker, tuning)
            now = tracker.breakdown(at_peak=False)
            held.update({part: max(size, now[part]) for part, size in held.items()})
            marks.append(len(tracker.levels))

        take_step(tuning, loss, lr, mark)
        if max(tracker.levels, default=0) == tracker.peak[tracker.device]:
            trace.update(_thinned(tracker.levels, marks))

    if tuning.jump:
        tuning.jump(turns[0])
        step()
    # where a turn is a single step, state that it made is there only on the next visit
    for _ in range(2 if tuning.turns > 1 and tuning.cycle == tuning.turns else 1):
        for _ in visits(tuning, turns, 2, step):
            after_visit()
    return {"held": held, "trace": trace}


def sample(turns: int, count: int) -> tuple[list[int], list[int]]:
    """The turns to visit, and those that times are means over, in the middles of `count` equal parts."""
    spread = [(2 * i + 1) * turns // (2 * count) for i in range(count)] if turns > count else range(turns)
    return sorted({0, *spread, turns - 1}), list(spread)


def visits(
    tuning: Tuning, turns: list[int], length: int, step: Callable[[], Any]
) -> Iterator[tuple[int, list]]:
    """(turn, what `step` returned) of at most `length` steps in each turn; the first is under way already."""
    if tuning.jump:
        length = min(length, tuning.cycle // tuning.turns)
    for turn, coming in zip(turns, [*turns[1:], turns[0]], strict=True):
        results = [step() for _ in range(length - 1)]
        if tuning.jump:
            tuning.jump(coming)
        yield turn, [*results, step()]


def take_step(tuning: Tuning, loss: Loss, lr: float, mark: Callable[[], None]) -> None:
    """One optimizer step; calls `mark` after forward, after backward and after the update."""
    for group in tuning.optimizer.param_groups:
        group["lr"] = lr
    value = loss(tuning.model)
    mark()
    tuning.backward(value)
    mark()
    tuning.optimizer.step()
    mark()
    tuning.optimizer.zero_grad()


class Stopwatch:
    """Seconds between marks, by the GPU's own clock where there is one: marking does not wait for it."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"

    def mark(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, marks: Iterable[Any]) -> list[float]:
        """Waits until the last mark is reached."""
        marks = list(marks)
        if not self.cuda:
            return [after - before for before, after in zip(marks, marks[1:], strict=False)]
        torch.cuda.synchronize()
        return [before.elapsed_time(after) / 1000 for before, after in zip(marks, marks[1:], strict=False)]


class Counters:
    """The CUDA allocator's peaks since the last reading, and the highest ever read; None on a CPU."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"
        self.allocated = self.peak = self.reserved = None
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()  # of what was there only while the model was made
            torch.cuda.reset_peak_memory_stats()
            self.allocated = torch.cuda.memory_allocated()
            self.peak = self.reserved = 0

    def read(self) -> int | None:
        """Peak allocated bytes since the last reading."""
        if not self.cuda:
            return None
        peak = torch.cuda.max_memory_allocated()
        self.peak = max(self.peak, peak)
        self.reserved = max(self.reserved, torch.cuda.max_memory_reserved())
        torch.cuda.reset_peak_memory_stats()
        return peak

    def pinned(self) -> int | None:
        """Peak bytes of pinned host memory, which torch rounds up to powers of two."""
        return torch.cuda.host_memory_stats().get("allocated_bytes.peak") if self.cuda else None

    def card(self) -> int | None:
        """Bytes taken on the card now, by all processes: with the CUDA context and what is reserved."""
        if not self.cuda:
            return None
        free, total = torch.cuda.mem_get_info()
        return total - free


def _label(tracker: MemoryTracker, tuning: Tuning) -> None:
    grouped = [p for group in tuning.optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in (*tuning.model.parameters(), *grouped) if p.grad is not None]
    tracker.label(gradients, "gradients")
    tracker.label(state_tensors(tuning.optimizer), "optimizer")


def _parts(tracker: MemoryTracker, counters: Counters) -> dict[str, int]:
    """Bytes by part at the peak; what the allocator adds by rounding counts as activations."""
    parts, peak = tracker.breakdown(), tracker.peak[tracker.device]
    if counters.peak is not None:
        peak = counters.peak
        parts["activations"] += peak - sum(parts.values())
    return {**parts, "peak": peak}


def _thinned(levels: list[int], marks: list[int]) -> dict[str, Any]:
    """The levels as at most TRACE_POINTS maxima, and at which of them forward, backward and update end."""
    width = -(-len(levels) // TRACE_POINTS)
    points = [max(levels[start : start + width]) for start in range(0, len(levels), width)]
    return {"bytes": points, "ends": [-(-mark // width) for mark in marks]}


def _resident() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _times(rows: dict[int, list[list[float]]], spread: list[int], tuning: Tuning) -> dict[str, Any]:
    """Seconds; the first and last step of a visit, which switching adds to, are told apart from the rest."""
    told_apart = tuning.turns > 1 and tuning.cycle // tuning.turns > 2
    inner = {turn: spans[1:-1] if told_apart else spans for turn, spans in rows.items()}
    medians = {
        turn: [statistics.median(part) for part in zip(*spans, strict=True)] for turn, spans in inner.items()
    }
    forward, backward, update, step = (
        statistics.mean(medians[turn][part] for turn in spread) for part in range(4)
    )
    whole = [span[-1] for turn in spread for span in inner[turn]]
    times: dict[str, Any] = {
        "steps": len(whole),
        "step": step,
        "step_min": min(whole),
        "step_max": max(whole),
        "forward": forward,
        "backward": backward,
        "update": None if tuning.fused else update,
        "turns": tuning.turns,
        "turn_steps": tuning.cycle // tuning.turns,
        "switch": None,
        "by_turn": {str(turn): medians[turn][-1] for turn in rows} if tuning.turns > 1 else {},
    }
    if told_apart:
        ends = [rows[turn][0][-1] + rows[turn][-1][-1] - 2 * medians[turn][-1] for turn in spread]
        times["switch"] = statistics.mean(ends)
    return times


def step_seconds(times: dict[str, Any]) -> float:
    """A step's share of a long run: its own time and its part of a switch."""
    return times["step"] + max(times["switch"] or 0.0, 0.0) / times["turn_steps"]
