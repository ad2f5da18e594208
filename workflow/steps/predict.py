"""Memory of a training step of every method, predicted without a GPU.

    python -m workflow.steps.predict --model llama2-7b --seq 1024 --batch 1 --memory 24GiB

Takes the steps that `workflow.steps.cost` measures, of the same model, method and loss, on a CUDA device
that is not there (`chunkft.fakecuda`), and counts the storages of live tensors.
"""

import argparse
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from chunkft.memory import WORKSPACES, size
from chunkft.shapes import SHAPES
from workflow.steps import cost
from workflow.steps.costcase import Case, prepared, refusal
from workflow.steps.files import InputError, exit_on_input_error, read_json, write_json
from workflow.steps.provenance import provenance

CONFIG = Path(__file__).parents[1] / "config" / "cost.yaml"
GIB = 2**30
PARTS = ("weights", "gradients", "optimizer", "activations")


def predict(case: Case, turns: int = 1) -> dict[str, Any]:
    """`status` and `reason`; where ok also bytes: on the device at the peak, by part and in all; on the host.

    Of a method that trains its parameters in turns, `turns` are tried, spread over a cycle, and both ends.
    """
    import torch

    from chunkft.fakecuda import fake_cuda
    from workflow.steps import profile
    from workflow.steps.memory import MemoryTracker, state_tensors

    refused = refusal(case)
    if refused:
        return dict(zip(("status", "reason"), refused, strict=True))
    torch.set_num_threads(1)
    tracker, host = MemoryTracker("cuda"), MemoryTracker("cpu")
    try:
        # packages print, and standard output is for the table
        with redirect_stdout(sys.stderr), fake_cuda(), prepared(case) as (tuning, loss, _):
            visited, _ = profile.sample(tuning.turns, turns)
            profile.label_what_is_there(tracker, tuning)
            with host, tracker:
                seen = profile.tracked_steps(tuning, loss, case.lr, tracker, visited)
            host.label(state_tensors(tuning.optimizer), "optimizer")
            idle, others = host.breakdown(at_peak=False)["optimizer"], tuning.turns - len(visited)
    except Exception as error:
        return {"status": "not predicted", "reason": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
    parts = tracker.breakdown()
    parts["activations"] += WORKSPACES
    return {
        "status": "ok",
        "reason": None,
        **parts,
        "peak": tracker.peak + WORKSPACES,
        "host": host.peak + idle * others // len(visited),
        **seen,
    }


def shape_of(model: str) -> dict[str, Any]:
    """What a config of transformers says, in a folder or on the hub."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model).to_dict()
    except (OSError, ValueError) as error:
        raise InputError(
            f"`--model {model}` is neither a known shape ({', '.join(SHAPES)}) nor a config that "
            f"transformers can read: {str(error).splitlines()[0]}"
        ) from None


def row(case: Case, memory: int | None) -> dict[str, Any]:
    """What is shown of a case."""
    found = predict(case)
    ok = found["status"] == "ok"
    shown: dict[str, Any] = {
        "method": case.entry,
        "status": found["status"],
        "reason": found["reason"],
        "peak_gib": found["peak"] / GIB if ok else None,
        "host_gib": found["host"] / GIB if ok else None,
        "fits": found["peak"] <= memory if ok and memory is not None else None,
        "parts_gib": {part: found[part] / GIB for part in PARTS} if ok else None,
    }
    if case.settings["method"] == "chunkft":
        shown |= {key: case.settings[key] for key in ("chunks", "partition")}
        shown["checkpointing"] = case.checkpointing
    return shown


def table(rows: list[dict[str, Any]]) -> str:
    head = f"{'method':24}{'peak GiB':>10}{'host GiB':>10}  fits  " + "".join(f"{part:>13}" for part in PARTS)
    lines = [head]
    for found in rows:
        if found["status"] != "ok":
            lines.append(f"{found['method']:24}{found['status']}: {found['reason']}")
            continue
        fits = {True: "yes", False: "no", None: ""}[found["fits"]]
        parts = "".join(f"{found['parts_gib'][part]:13.2f}" for part in PARTS)
        lines.append(
            f"{found['method']:24}{found['peak_gib']:10.2f}{found['host_gib']:10.2f}  {fits:4}  {parts}"
        )
    return "\n".join(lines)


def predict_measured(folder: Path, pool: ProcessPoolExecutor) -> None:
    """Writes `folder/predicted.json`: of each result of `workflow.steps.cost`, by path, its prediction."""
    paths = sorted(path for path in folder.glob("*/*/*.json") if read_json(path)["kind"] == "cost")
    if not paths:
        raise InputError(f"`--measured {folder}` holds no results of workflow.steps.cost")
    cases = [Case(**read_json(path)["config"]) for path in paths]
    predictions = {}
    for path, found in zip(paths, pool.map(predict, cases, (case.turns for case in cases)), strict=True):
        place = path.relative_to(folder).as_posix()
        predictions[place] = {key: found.get(key) for key in ("status", "reason", *PARTS, "peak", "host")}
        shown = f"{found['peak'] / GIB:.2f} GiB" if found["status"] == "ok" else found["reason"]
        print(f"{len(predictions)}/{len(paths)}  {place}: {shown}", flush=True)
    made = provenance(None, None)
    kept = {key: made[key] for key in ("commit", "dirty", "versions", "command", "date")}
    write_json(folder / "predicted.json", {"provenance": kept, "cases": predictions})


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict the memory of a training step without a GPU.")
    parser.add_argument("--model", help="a known shape, a config's folder or a hub id")
    parser.add_argument("--seq", type=int, default=1024, help="tokens in a sequence (default: 1024)")
    parser.add_argument("--batch", type=int, default=1, help="sequences in a batch (default: 1)")
    parser.add_argument("--memory", help="of the GPU, such as 24GiB, to say what fits")
    parser.add_argument("--methods", nargs="+", help="entries of the config (default: all)")
    parser.add_argument(
        "--setting", default="shared", help="loss and checkpointing, as the config names them"
    )
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    parser.add_argument(
        "--measured", type=Path, help="instead: predict every result in this folder, into its predicted.json"
    )
    arguments = parser.parse_args()
    if (arguments.model is None) == (arguments.measured is None):
        parser.error("give --model or --measured")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(cost.IMPORTED)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        if arguments.measured:
            return predict_measured(arguments.measured, pool)
        config = cost.read(arguments.config)
        if arguments.model not in config["models"]:
            config["models"][arguments.model] = shape_of(arguments.model)
        entries = arguments.methods or list(config["methods"])
        for name in entries:
            cost.check_one_of("--methods", name, config["methods"])
        cost.check_one_of("--setting", arguments.setting, config["settings"])
        where = (config, arguments.model, arguments.batch, arguments.seq, arguments.setting)
        cases = [replace(cost.case_of(*where, entry), device="cuda") for entry in entries]
        memory = None if arguments.memory is None else size("--memory", arguments.memory)
        rows = list(pool.map(partial(row, memory=memory), cases))
    print(json.dumps(rows, indent=1) if arguments.json else table(rows))


if __name__ == "__main__":
    exit_on_input_error(main)
