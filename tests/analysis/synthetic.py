"""Made-up result trees for the tests: every number here is invented, drawn from a seed."""

import json
import random
from pathlib import Path

CATEGORIES = ("repeat", "copy", "reverse", "first", "last", "append")
TITLES = {
    "none": "No tuning",
    "full": "Full fine-tuning",
    "lora": "LoRA",
    "galore": "GaLore",
    "lomo": "LOMO",
    "chunkft": "ChunkFT",
    "badam": "BAdam",
}
SCORES = {"none": 0.1, "full": 0.8, "lora": 0.7, "galore": 0.6, "lomo": 0.5, "chunkft": 0.65, "badam": 0.6}
MEMORY = {
    "full": (4, 4, 8, 6),
    "lora": (4.2, 0.2, 0.4, 6),
    "galore": (4, 4, 2, 6),
    "lomo": (4, 0.3, 0, 6),
    "chunkft": (4, 0.5, 1, 3),
    "badam": (4, 1, 2, 4),
}
TIME = {
    "full": (10, 20, 5),
    "lora": (11, 15, 1),
    "galore": (10, 20, 30),
    "lomo": (10, 24, None),
    "chunkft": (10, 9, 2),
    "badam": (10, 12, 3),
}


def config(
    name: str = "synthetic", methods=tuple(TITLES)[:-1], seeds=(0, 1), model: str | None = None
) -> dict:
    return {
        "name": name,
        "seeds": list(seeds),
        "device": "cpu",
        "model": {"path": model, "precision": "float32"},
        "data": {"sources": {task: {"path": "generated"} for task in ("gsm8k", "mmlu", "mt_bench")}},
        "train": {"steps": 100, "epochs": None, "data": {"gsm8k": 100}},
        "tasks": {
            "gsm8k": {"limit": None},
            "mmlu": {"limit": None},
            "mt_bench": {"judge": {"name": "checker"}},
        },
        "methods": {method: {"method": method, "lr": 0.001} for method in methods},
        "measure": {"steps": 10},
    }


def adapter(settings: dict, method: str) -> str:
    return settings["methods"][method].get("method", method)


def result(
    settings: dict,
    kind: str,
    method: str,
    seed: int | None,
    status: str = "ok",
    reason: str | None = None,
    **parts,
):
    return {
        "schema": 1,
        "kind": kind,
        "experiment": settings["name"],
        "method": method,
        "title": TITLES[adapter(settings, method)],
        "notes": ["LOMO updates on every micro-batch (kept)"] if method == "lomo" else [],
        "seed": seed,
        "status": status,
        "reason": reason,
        "run_id": f"{kind}-{method}-{seed}",
        "config": {"train": settings["train"], "settings": settings["methods"][method]},
        "provenance": {
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "dirty": False,
            "versions": {"python": "3.12.0", "torch": "2.13.0", "badam": None},
            "hardware": {"processor": "A processor", "cores": 2, "memory": 8 * 2**30, "gpus": []},
            "command": f"python -m workflow.steps.{kind}",
            "data": "d" * 64,
            "model": "m" * 64,
            "date": "2026-01-01T00:00:00+00:00",
        },
        **parts,
    }


def training(method: str, seed: int, steps: int, entry: str | None = None) -> dict:
    """`entry`: a further entry of the method, which comes out somewhat worse than the one named like it."""
    rng = random.Random(f"{method} {seed}")
    floor = 3 * (1 - SCORES[method]) + (random.Random(entry).random() if entry else 0)
    loss = [floor + 3 * 0.96**step + rng.gauss(0, 0.08) for step in range(steps)]
    second = sum(part or 0 for part in TIME[method]) / 1000
    curve = {
        "step": list(range(1, steps + 1)),
        "tokens": [step * 2000 for step in range(1, steps + 1)],
        "seconds": [step * second for step in range(1, steps + 1)],
        "loss": loss,
        "lr": [0.001] * steps,
    }
    return {
        "steps": steps,
        "samples": steps * 16,
        "tokens": steps * 2000,
        "seconds": curve["seconds"][-1] + seed / 64,
        "parameters": 900_000,
        "trainable": 900_000,
        "final_loss": loss[-1],
        "validation_loss": floor + seed / 64,
        "curve": curve,
    }


def evaluation(method: str, seed: int, task: str, judge: str | None = "checker") -> dict:
    rng = random.Random(f"{method} {seed} {task}")
    score = SCORES[method] + round(rng.uniform(-0.03, 0.03), 3)
    graded = task == "mt_bench"
    scores: dict = {"exact_match": score}
    if graded:
        score = 1 + 9 * score
        scores = {category: min(10, max(1, score + rng.uniform(-1.5, 1.5))) for category in CATEGORIES}
        scores |= {"turn 1": score, "turn 2": score}
    metric = "score" if graded else "exact_match,flexible-extract"
    return {
        "task": task,
        "metric": metric,
        "score": score if not graded or judge else None,
        "stderr": 0.01,
        "n": 200,
        "scores": scores,
        "judge": judge if graded else None,
        "version": 3,
        "num_fewshot": None if graded else 0,
        "limit": None,
        "batch_size": 64,
        "seconds": 3.5,
    }


def measurement(method: str) -> dict:
    parts = [int(part * 2**20) for part in MEMORY[method]]
    forward, backward, update = TIME[method]
    step = (forward + backward + (update or 0)) / 1000
    memory = dict(zip(("weights", "gradients", "optimizer", "activations"), parts, strict=True))
    memory |= {
        "device": "cpu",
        "peak": sum(parts),
        "reserved": None,
        "after_load": parts[0],
        "process": 400 * 2**20,
    }
    time = {
        "steps": 10,
        "step": step,
        "step_min": step * 0.9,
        "step_max": step * 1.2,
        "forward": forward / 1000,
        "backward": backward / 1000,
        "update": None if update is None else update / 1000,
        "tokens_per_second": 2000 / step,
    }
    batch = {"batch_size": 16, "length": 128, "precision": "float32", "checkpointing": False}
    return {"memory": memory, "time": time, "batch": batch}


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def tree(root: Path, settings: dict) -> Path:
    """A complete experiment in which everything went well; returns its folder."""
    folder = root / settings["name"]
    write(folder / "config.json", settings)
    for method in settings["methods"]:
        name = adapter(settings, method)
        if name != "none" and settings["measure"]:
            write(
                folder / f"runs/{method}/measure.json",
                result(settings, "measure", method, None, **measurement(name)),
            )
        for seed in [0] if name == "none" else settings["seeds"]:
            run = folder / f"runs/{method}/seed-{seed}"
            trained = (
                {"model_path": "base/model"}
                if name == "none"
                else {
                    "training": training(
                        name, seed, settings["train"]["steps"], method if method != name else None
                    )
                }
            )
            write(run / "train.json", result(settings, "train", method, seed, **trained))
            for task in settings["tasks"]:
                found = {"evaluation": evaluation(name, seed, task)}
                write(run / f"eval/{task}.json", result(settings, "evaluate", method, seed, **found))
    return folder


def fail(folder: Path, settings: dict, method: str, status: str, reason: str, seeds=None) -> None:
    """The method's runs (all, or those of `seeds`) end with `status`, and are never evaluated."""
    for seed in settings["seeds"] if seeds is None else seeds:
        run = folder / f"runs/{method}/seed-{seed}"
        write(run / "train.json", result(settings, "train", method, seed, status, reason))
        for file in (run / "eval").glob("*.json"):
            file.unlink()
    if seeds is None:
        write(
            folder / f"runs/{method}/measure.json", result(settings, "measure", method, None, status, reason)
        )
