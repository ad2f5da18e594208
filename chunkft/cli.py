"""The command line: `chunkft plan meta-llama/Meta-Llama-3-8B --seq 1024 --batch 2 --memory 24GiB`."""

import argparse
import json
import sys
from importlib.util import find_spec
from typing import Any

from torch import nn

from chunkft import ChunkFT, checkpoint
from chunkft.fakecuda import fake_cuda
from chunkft.memory import LOSSES, footprint, size
from chunkft.roofline import CARDS
from chunkft.shapes import SHAPES, random_model, shape_of

GIB = 2**30
EXAMPLES = (8, 32, 128)  # numbers of chunks shown where there is no memory to fill


def plan(model: nn.Module, loss: Any, memory: int | None) -> list[dict[str, Any]]:
    """What AdamW, which is one chunk, and ChunkFT take: method, chunks, partition, checkpointing, peak_gib,
    host_gib, fits, and by card the least time of a step, roofline_seconds.

    The model is on `fake_cuda`, within its context.
    """
    full = _row("AdamW", model, loss, 1, True, memory)
    if memory is not None:
        return [full, fewest(model, loss, memory)]
    return [full, *(_row("ChunkFT", model, loss, chunks, True, None) for chunks in EXAMPLES)]


def fewest(model: nn.Module, loss: Any, memory: int) -> dict[str, Any]:
    """ChunkFT with the smallest K that fits, keeping activations where they fit too; where nothing fits, the
    row says why."""
    try:
        chunks = planned_chunks(model, loss, memory)
    except ValueError as error:
        return {"method": "ChunkFT", "fits": False, "reason": str(error)}
    plain = _row("ChunkFT", model, loss, chunks, False, memory)
    return plain if plain["fits"] else _row("ChunkFT", model, loss, chunks, True, memory)


def planned_chunks(model: nn.Module, loss: Any, memory: int) -> int:
    """The smallest K that fits into `memory` bytes with activations recomputed.

    Raises ValueError, saying what would fit, when no K does.
    """
    with checkpoint(model):
        optimizer = ChunkFT(model, lr=0.0, memory=memory, activations=loss)
        optimizer.close()
    return len(optimizer.chunks)


def _row(
    method: str, model: nn.Module, loss: Any, chunks: int, recomputed: bool, memory: int | None
) -> dict[str, Any]:
    def make(twin: nn.Module) -> ChunkFT:
        if recomputed:
            checkpoint(twin)
        return ChunkFT(twin, lr=0.0, chunks=chunks)

    found = footprint(model, make, loss)
    return {
        "method": method,
        "chunks": chunks,
        "partition": "contiguous",
        "checkpointing": recomputed,
        "peak_gib": found.device / GIB,
        "host_gib": found.host / GIB,
        "fits": None if memory is None else found.device <= memory,
        "roofline_seconds": found.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="chunkft")
    commands = parser.add_subparsers(dest="command", required=True)
    planner = commands.add_parser("plan", help="the memory that training takes, found without a GPU")
    planner.add_argument(
        "model", metavar="MODEL", help=f"a hub id, a config's folder, or {', '.join(SHAPES)}"
    )
    planner.add_argument("--seq", type=int, required=True, help="tokens in a sequence")
    planner.add_argument("--batch", type=int, required=True, help="sequences in a batch")
    planner.add_argument("--memory", help="of the GPU, such as 24GiB: choose the smallest K that fits")
    planner.add_argument("--precision", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    planner.add_argument("--loss", choices=LOSSES, default="model", help="head: chunkft.head_loss")
    planner.add_argument("--card", choices=CARDS, default="H200", help="for the roofline estimate of a step")
    planner.add_argument("--json", action="store_true", help="print a list of objects")
    arguments = parser.parse_args()
    if find_spec("transformers") is None:
        sys.exit("error: transformers makes the model: pip install chunkft[plan]")
    try:
        memory = None if arguments.memory is None else size("--memory", arguments.memory)
        with fake_cuda():
            model = random_model(shape_of(arguments.model), arguments.precision, "cuda", arguments.seq)
            rows = plan(model, LOSSES[arguments.loss](arguments.batch, arguments.seq), memory)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(
        json.dumps(rows, indent=1)
        if arguments.json
        else "\n".join(_line(row, arguments.card) for row in rows)
    )


def _line(row: dict[str, Any], card: str) -> str:
    if "reason" in row:
        return f"{row['method']:8} {row['reason']}"
    fits = {True: ", fits", False: ", does not fit", None: ""}[row["fits"]]
    recomputed = "recomputing activations" if row["checkpointing"] else "keeping activations"
    return (
        f"{row['method']:8} K = {row['chunks']:<5} {row['peak_gib']:8.2f} GiB on the device, "
        f"{row['host_gib']:.2f} on the host, {recomputed}{fits}; "
        f"a step at least {row['roofline_seconds'][card]:.3f} s on one {card} (an estimate)"
    )
