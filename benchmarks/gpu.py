"""Peak memory and step time of ChunkFT, AdamW, LoRA and LOMO on one CUDA device, with random weights.

    python -m benchmarks.gpu --out gpu.json

Models have the shapes of Llama 2-7B, Llama 3-8B and Llama 3-70B, in bf16; sequences are 1024 tokens; every
method gets the same blockwise head loss.  A step is forward, backward and update.

For ChunkFT, chunks evenly spread over the model, and the first and the last, are trained for five steps each,
twice: the first pass makes the states and their places on the host, the second is timed.  The median of the
inner steps is a chunk's step time; what the first (state arrives) and the last (state leaves) take beyond
that is the cost of switching.  Means are over the evenly spread chunks; peaks are over all of them.

The peak is `torch.cuda.max_memory_allocated`.  Each case has a process of its own, so nothing is left over
from the one before.  No case is started after `--time` seconds, and the table says which were not run.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor, nn

from baselines import Run, checkpoint_activations, full, lora
from benchmarks.report import markdown, title
from chunkft import ChunkFT, checkpoint, head_loss
from workflow.steps.provenance import provenance

STEPS = 5  # on a chunk
CYCLE = 50  # steps on a chunk that switching costs are shared by, as one would train
LAYERS = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
)
SHAPES = {
    "7B": dict(zip(LAYERS, (32, 4096, 11008, 32, 32), strict=True), vocab_size=32000),
    "8B": dict(zip(LAYERS, (32, 4096, 14336, 32, 8), strict=True), vocab_size=128256),
    "70B": dict(zip(LAYERS, (80, 8192, 28672, 64, 8), strict=True), vocab_size=128256),
    "tiny": dict(zip(LAYERS, (4, 64, 128, 4, 4), strict=True), vocab_size=256),
}


@dataclass(frozen=True)
class Case:
    method: str
    model: str = "7B"
    batch: int = 1
    checkpointing: bool = True
    keep_products: bool = False  # see `chunkft.checkpoint`
    sampled: int = 4  # chunks measured, evenly spread
    options: dict[str, Any] = field(default_factory=dict)  # ChunkFT's


def chunked(chunks: int, *, model: str = "7B", batch: int = 1, sampled: int = 4, **options: Any) -> Case:
    kept = options.pop("checkpointing", True), options.pop("keep_products", False)
    return Case("ChunkFT", model, batch, *kept, sampled, {"chunks": chunks, **options})


CASES = [  # the most wanted first
    chunked(128, sampled=8, resident=False),
    chunked(32, sampled=6),
    *(Case(method) for method in ("AdamW", "LoRA", "LOMO")),
    chunked(128, batch=8),
    chunked(128, batch=8, keep_products=True),
    chunked(128, batch=8, checkpointing=False),
    *(Case(method, batch=8) for method in ("AdamW", "LoRA", "LOMO")),
    chunked(512, model="70B", sampled=2, resident=False),
    chunked(128),
    chunked(128, keep_products=True),
    chunked(512),
    chunked(128, model="8B", batch=2),
    chunked(32, batch=8, resident=False),
    chunked(128, batch=8, sampled=2, partition="strided"),
    chunked(32, sampled=4, resident=False),
    Case("AdamW", batch=8, checkpointing=False),
]
TINY = [
    chunked(4, model="tiny", batch=2, sampled=2, keep_products=True),
    chunked(4, model="tiny", batch=2, sampled=2, resident=False, checkpointing=False),
    *(Case(method, "tiny", 2) for method in ("AdamW", "LoRA", "LOMO")),
]


def llama(shape: str, length: int, device: str) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            config = LlamaConfig(**SHAPES[shape], max_position_embeddings=length, use_cache=False)
            return LlamaForCausalLM(config).train()
    finally:
        torch.set_default_dtype(torch.float32)


def lomo(model: nn.Module, lr: float) -> None:
    """SGD inside backward: a gradient is gone as soon as its weight is updated (arXiv 2306.09782)."""

    def update(weight: Tensor) -> None:
        assert weight.grad is not None
        with torch.no_grad():
            weight.add_(weight.grad, alpha=-lr)
        weight.grad = None

    for weight in model.parameters():
        weight.register_post_accumulate_grad_hook(update)


class Stopwatch:
    """Seconds of the parts of a step, by the device's clock; by the host's on a CPU."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"

    def mark(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, marks: Iterable[Any]) -> list[float]:
        marks = list(marks)
        if not self.cuda:
            return [b - a for a, b in zip(marks, marks[1:], strict=False)]
        torch.cuda.synchronize()
        return [a.elapsed_time(b) / 1000 for a, b in zip(marks, marks[1:], strict=False)]


Step = Callable[[], list[float]]


def stepper(model: nn.Module, optimizer: Any, ids: Tensor, device: str) -> Step:
    """One training step, returning its seconds: forward, backward, update, and all as the host sees it."""
    causal = model.get_base_model() if hasattr(model, "peft_config") else model
    watch = Stopwatch(device)

    def step() -> list[float]:
        start = time.perf_counter()
        marks = [watch.mark()]
        hidden = causal.model(input_ids=ids, use_cache=False).last_hidden_state
        loss = head_loss(hidden[:, :-1], causal.lm_head, ids[:, 1:])
        del hidden
        marks.append(watch.mark())
        loss.backward()
        marks.append(watch.mark())
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()
        marks.append(watch.mark())
        parts = watch.seconds(marks)
        return [*parts, time.perf_counter() - start]

    return step


def peak(device: str, reset: bool = False) -> int | None:
    if device != "cuda":
        return None
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return torch.cuda.max_memory_allocated()


def measure_chunks(case: Case, model: nn.Module, ids: Tensor, device: str) -> dict[str, Any]:
    options = dict(case.options)
    plan = ChunkFT(model, lr=1e-5, **options)
    chunks = plan.chunks
    plan.close()
    spread = [(2 * i + 1) * len(chunks) // (2 * case.sampled) for i in range(case.sampled)]
    sampled = sorted({0, *spread, len(chunks) - 1})
    options = {k: v for k, v in options.items() if k not in ("chunks", "partition")}
    partition = [chunks[i] for i in sampled]
    optimizer = ChunkFT(model, lr=1e-5, steps_per_chunk=STEPS, partition=partition, **options)
    step = stepper(model, optimizer, ids, device)
    start = time.perf_counter()
    for _ in range(STEPS * len(sampled)):
        step()
    first_pass = time.perf_counter() - start
    rows: dict[int, tuple[list[list[float]], int | None]] = {}
    for i in sampled:
        peak(device, reset=True)
        rows[i] = [step() for _ in range(STEPS)], peak(device)
    inner = {i: [median(parts) for parts in zip(*times[1:-1], strict=True)] for i, (times, _) in rows.items()}
    switching = [rows[i][0][0][-1] + rows[i][0][-1][-1] - 2 * inner[i][-1] for i in spread]
    step_time = mean(inner[i][-1] for i in spread)
    forward, backward, update = (mean(inner[i][part] for i in spread) for part in range(3))
    return {
        "step": step_time,
        "forward": forward,
        "backward": backward,
        "update": update,
        "switch_share": mean(switching) / (CYCLE * step_time),
        "first_pass": first_pass,
        "peaks": {i: memory for i, (_, memory) in rows.items()},
        "steps": {i: inner[i][-1] for i in sampled},
    }


def measure(case: Case, device: str, length: int) -> dict[str, Any]:
    model = llama(case.model, length, device)
    weights = sum(p.nbytes for p in model.parameters())
    ids = torch.randint(0, SHAPES[case.model]["vocab_size"], (case.batch, length), device=device)
    peak(device, reset=True)
    if case.method == "ChunkFT":
        if case.checkpointing:
            checkpoint(model, keep_products=case.keep_products)
        result = measure_chunks(case, model, ids, device)
        peaks = [memory for memory in result["peaks"].values() if memory is not None]
        extremes = {"peak": max(peaks, default=None), "peak_min": min(peaks, default=None)}
        return {"weights": weights, **extremes, **result}
    method = {"AdamW": full, "LoRA": lora}.get(case.method)
    run = Run(
        case.method,
        lr=1e-5,
        steps=1,
        batch_size=case.batch,
        precision="bfloat16",
        checkpointing=case.checkpointing,
        device=device,
        parameters=method.PARAMETERS if method else {},
    )
    optimizer = None
    if method:
        tuning = method.build(model, run)
        model, optimizer = tuning.model, tuning.optimizer
    else:
        if case.checkpointing:
            checkpoint_activations(model)
        lomo(model, run.lr)
    step = stepper(model, optimizer, ids, device)
    times = [step() for _ in range(7)][2:]
    forward, backward, update, total = (median(parts) for parts in zip(*times, strict=True))
    memory = peak(device)
    parts = {"step": total, "forward": forward, "backward": backward, "update": update}
    return {"weights": weights, "peak": memory, "peak_min": memory, **parts}


def measured(case: Case, device: str, length: int) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        result = {"status": "ok", **measure(case, device, length)}
    except torch.OutOfMemoryError:
        result = {"status": "out of memory"}
    return {**result, "seconds": time.perf_counter() - began}


def alone(case: Case, device: str, length: int) -> dict[str, Any]:
    """What `measured` returns in a process of its own, forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["chunkft", "peft", "transformers.models.llama"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(measured, case, device, length).result()
        except BrokenProcessPool:
            return {"status": "killed"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    parser.add_argument("--time", type=float, default=540, help="seconds after which no case is started")
    parser.add_argument("--model", choices=SHAPES, help="run the cases of this model alone")
    parser.add_argument("--batch", type=int, help="run the cases of this batch size alone")
    parser.add_argument("--commit", help="the commit measured, where git cannot say")
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU, to try the script")
    arguments = parser.parse_args()
    device, length = ("cpu", 32) if arguments.tiny else ("cuda", 1024)
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device; --tiny tries the script without one")
    start = time.perf_counter()
    made = provenance(None, None)
    made["commit"] = made["commit"] or arguments.commit
    results: dict[str, Any] = {"provenance": made, "length": length, "rows": []}
    for case in TINY if arguments.tiny else CASES:
        if arguments.model not in (None, case.model) or arguments.batch not in (None, case.batch):
            continue
        row = {**asdict(case), "status": "not run: out of time"}
        if time.perf_counter() - start < arguments.time:
            row |= alone(case, device, length)
        results["rows"].append(row)
        now, what = time.perf_counter() - start, f"{case.model} batch {case.batch} {title(row)}"
        print(f"{now:6.0f} s  {what}: {row['status']}", flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print(markdown(results))


if __name__ == "__main__":
    main()
