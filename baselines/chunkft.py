"""ChunkFT: every parameter trained, one chunk of them at a time; this project's own library, `chunkft/`."""

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from baselines import Run, Tuning, decay_groups

TITLE = "ChunkFT"
PAPER = "arXiv 2605.21177"
PARAMETERS: dict[str, Any] = {
    "chunks": 4,
    "steps_per_chunk": 50,
    "partition": "strided",
    "order": "cyclic",
    "state": "reset",
    "resident": True,
}
REQUIRES: tuple[str, ...] = ()
NOTES = (
    "Clipping by norm takes the norm of the active chunk's gradient: the other chunks have none.",
    "Idle chunks' state waits on the host: on a GPU it takes none of its memory, on a CPU it counts.",
)
RESUMES = True


def formula(parameters: Mapping[str, Any]) -> str:
    """Bytes of weights, and of the active chunk's gradient, two moments and low bits of the masters."""
    return "2 * M + (2 + 8 + 2) * M / K" if parameters["resident"] else "2 * M + 2 * M / K"


def supports(run: Run) -> str | None:
    if run.parameters["state"] == "disk":
        return "runs keep idle state in memory; set state to fp32, bf16 or reset"
    return None


def build(model: Any, run: Run) -> Tuning:
    from chunkft import ChunkFT, checkpoint

    parameters = dict(model.named_parameters())  # before the optimizer cuts some of them
    trainable = [parameter for parameter in parameters.values() if parameter.requires_grad]
    if run.checkpointing:
        checkpoint(model)
    groups = decay_groups(model, run.weight_decay)
    optimizer = ChunkFT(model, lr=run.lr, groups=groups, seed=run.seed, **run.parameters)
    when = schedule(parameters, optimizer, run.steps)
    turns, length = len(optimizer.chunks), optimizer.steps_per_chunk

    def jump(turn: int) -> None:
        optimizer.steps = (turns + turn) * length - 1

    cycle = turns * length
    return Tuning(model, optimizer, trainable=trainable, cycle=cycle, turns=turns, jump=jump, schedule=when)


def schedule(parameters: dict[str, Any], optimizer: Any, steps: int) -> dict[str, Any]:
    """Each chunk's bytes in the stream of `parameters`, the model's by name, and the chunk of each turn."""
    from chunkft.partition import active_chunk

    ends = accumulate(parameter.nbytes for parameter in parameters.values())
    stop_of = dict(zip(parameters, ends, strict=True))
    parts = []
    for chunk in optimizer.chunks:
        ranges: list[list[int]] = []
        for cut in chunk:
            parameter = parameters[cut.name]
            row = parameter.nbytes // len(parameter)
            first, last = cut.rows or (0, len(parameter))
            start, stop = (stop_of[cut.name] - (len(parameter) - at) * row for at in (first, last))
            if ranges and ranges[-1][1] == start:
                ranges[-1][1] = stop
            else:
                ranges.append([start, stop])
        parts.append(ranges)
    turns = range(math.ceil(steps / optimizer.steps_per_chunk))
    order = [active_chunk(turn, len(parts), optimizer.order, optimizer.seed) for turn in turns]
    return {"steps": optimizer.steps_per_chunk, "order": order, "parts": parts}


def export(model: Any) -> Any:
    from chunkft import release

    return release(model)
