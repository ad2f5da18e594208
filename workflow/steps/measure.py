"""What one training step costs: time first, then memory, each in a fresh build of the run."""

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

import baselines
from workflow.steps import device
from workflow.steps.base import model_folder
from workflow.steps.files import InputError, exit_on_input_error, write_json
from workflow.steps.result import read_config, refusal, result, run_of
from workflow.steps.train import load_model, status_of

SEED = 0


def measure(experiment: Path, config: dict, method: str) -> dict:
    """The `memory`, `time` and `batch` sections of a measurement."""
    import torch

    torch.set_num_threads(config["threads"])
    plan, train = config["measure"], config["train"]
    batch_size = plan["batch_size"] or train["micro_batch_size"] or train["batch_size"]
    length = plan["length"] or train["max_length"]
    file = baselines.methods()[config["methods"][method]["method"]]
    folder = model_folder(experiment / "base" / "base.json")
    steps = plan["warmup"] + plan["steps"]

    def built() -> tuple[baselines.Tuning, dict]:
        torch.manual_seed(SEED)
        tuning = file.build(load_model(folder, config), run_of(config, method, SEED, steps))
        tuning.model.train()
        draw = torch.Generator().manual_seed(SEED)
        ids = torch.randint(tuning.model.config.vocab_size, (batch_size, length), generator=draw).to(
            config["device"]
        )
        return tuning, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}

    lr = config["methods"][method]["lr"]
    times = _times(*built(), lr, plan["warmup"], plan["steps"], config["device"])
    memory = _memory(*built(), lr, steps, config["device"])
    batch = {
        "batch_size": batch_size,
        "length": length,
        "precision": config["model"]["precision"],
        "checkpointing": train["checkpointing"],
    }
    times["tokens_per_second"] = batch_size * length / times["step"]
    return {"memory": memory, "time": times, "batch": batch}


def _times(tuning: baselines.Tuning, batch: dict, lr: float, warmup: int, steps: int, device: str) -> dict:
    """Medians in seconds; every parameter has its turn at least once."""
    import torch

    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    spans = []
    for _ in range(warmup + max(steps, tuning.cycle)):
        stamps = []

        def stamp(stamps: list[float] = stamps) -> None:
            synchronize()
            stamps.append(time.perf_counter())

        stamp()
        _step(tuning, batch, lr, stamp)
        spans.append([after - before for before, after in zip(stamps, stamps[1:], strict=False)])
    forward, backward, update = zip(*spans[warmup:], strict=True)
    whole = [sum(span) for span in spans[warmup:]]
    return {
        "steps": len(whole),
        "step": statistics.median(whole),
        "step_min": min(whole),
        "step_max": max(whole),
        "forward": statistics.median(forward),
        "backward": statistics.median(backward),
        "update": None if tuning.fused else statistics.median(update),
    }


def _memory(tuning: baselines.Tuning, batch: dict, lr: float, steps: int, device: str) -> dict:
    """Bytes at the peak over a whole cycle, by part, and the process's peak resident set."""
    import torch

    from workflow.steps.memory import MemoryTracker, state_tensors

    tracker = MemoryTracker(device)
    tracker.label([*tuning.model.parameters(), *tuning.model.buffers()], "weights")
    tracker.label(state_tensors(tuning.optimizer), "optimizer")
    after_load = tracker.current
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        after_load = torch.cuda.memory_allocated()

    def label() -> None:
        groups = [p for group in tuning.optimizer.param_groups for p in group["params"]]
        tracker.label(
            [p.grad for p in (*tuning.model.parameters(), *groups) if p.grad is not None], "gradients"
        )
        tracker.label(state_tensors(tuning.optimizer), "optimizer")

    with tracker:
        for _ in range(max(steps, tuning.cycle)):
            _step(tuning, batch, lr, label)
    parts, peak, reserved = tracker.breakdown(), tracker.peak, None
    if device == "cuda":
        peak, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        parts["activations"] += peak - sum(parts.values())
    unit = 1 if sys.platform == "darwin" else 1024
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {
        "device": device,
        **parts,
        "peak": peak,
        "reserved": reserved,
        "after_load": after_load,
        "process": process,
    }


def _step(tuning: baselines.Tuning, batch: dict, lr: float, mark) -> None:
    """One optimizer step; calls `mark` after forward, after backward and after the update."""
    for group in tuning.optimizer.param_groups:
        group["lr"] = lr
    loss = tuning.model(**batch, use_cache=False).loss
    mark()
    tuning.backward(loss)
    mark()
    tuning.optimizer.step()
    mark()
    tuning.optimizer.zero_grad()


def outcome(experiment: Path, config: dict, method: str) -> dict:
    refused = refusal(config, method, SEED)
    if refused:
        return result("measure", experiment, config, method, None, *refused)
    if not baselines.trains(baselines.methods()[config["methods"][method]["method"]]):
        return result("measure", experiment, config, method, None, "not supported", "nothing is trained")
    try:
        with device.lock(experiment, config["device"]):
            return result("measure", experiment, config, method, None, **measure(experiment, config, method))
    except InputError:
        raise
    except Exception as error:
        return result("measure", experiment, config, method, None, *status_of(error))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure memory and time of one method's training step.")
    parser.add_argument("--config", type=Path, required=True, help="a resolved config.json")
    parser.add_argument("--method", required=True, help="a name under `methods` in the config")
    parser.add_argument("--out", type=Path, required=True, help="the result file")
    arguments = parser.parse_args()
    config = read_config(arguments.config, arguments.method)
    record = outcome(arguments.config.parent, config, arguments.method)
    write_json(arguments.out, record)
    print(f"{arguments.method}: {record['status']}" + (f" ({record['reason']})" if record["reason"] else ""))


if __name__ == "__main__":
    exit_on_input_error(main)
