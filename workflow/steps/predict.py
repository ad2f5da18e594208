"""Memory of a training step of every method, predicted without a GPU, and an estimate of its time.

    python -m workflow.steps.predict --model llama2-7b --seq 1024 --batch 1 --memory 24GiB

Takes the steps that `workflow.steps.cost` measures, of the same model, method and loss, on a CUDA device
that is not there (`chunkft.fakecuda`), counts the storages of live tensors, and adds up what the operators
compute and move (`chunkft.roofline`).
"""

import argparse
import gc
import importlib
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import baselines
from chunkft.cli import EXAMPLES, planned_chunks
from chunkft.fakecuda import fake_cuda
from chunkft.memory import LOSSES, WORKSPACES, size
from chunkft.roofline import CARDS, Roofline
from chunkft.shapes import random_model, shape_of
from workflow.steps import cost, profile
from workflow.steps.costcase import Case, prepared, refusal
from workflow.steps.files import InputError, exit_on_input_error, read_json, write_json
from workflow.steps.memory import PARTS, MemoryTracker, state_tensors
from workflow.steps.provenance import provenance

CONFIG = Path(__file__).parents[1] / "config" / "cost.yaml"
GIB = 2**30
PLANNED = "chunkft"  # the entry whose K is chosen
KEPT = ("status", "reason", *PARTS, "peak", "host", "seconds")


def predict(case: Case, turns: int = 1) -> dict[str, Any]:
    """`status` and `reason`; where ok also bytes: on the device at the peak, by part and in all; on the host.
    And `seconds`, the least a step takes, by card; elements `trained`, and `turns` of them.

    Of a method that trains its parameters in turns, `turns` are tried, spread over a cycle, and both ends.
    """
    refused = refusal(case)
    if refused:
        return dict(zip(("status", "reason"), refused, strict=True))
    torch.set_num_threads(1)
    tracker, roofline = MemoryTracker("cuda"), Roofline()
    try:
        # packages print, and standard output is for the table
        with redirect_stdout(sys.stderr), fake_cuda() as card, prepared(case) as (tuning, loss, _):
            visited, _ = profile.sample(tuning.turns, turns)
            profile.label_what_is_there(tracker, tuning)

            def counted(model: Any) -> torch.Tensor:
                roofline.step()
                return loss(model)

            with card.showing(tracker, roofline):
                seen = profile.tracked_steps(tuning, counted, case.lr, tracker, visited)
            kept = {tracker.count(x) for x in state_tensors(tuning.optimizer)}
            idle = sum(tracker.sizes["cpu"][place.number] for place in kept if place.device == "cpu")
            others = tuning.turns - len(visited)
    except Exception as error:
        return {"status": "not predicted", "reason": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
    parts = tracker.breakdown()
    parts["activations"] += WORKSPACES
    return {
        "status": "ok",
        "reason": None,
        **parts,
        "peak": tracker.peak["cuda"] + WORKSPACES,
        "host": tracker.peak["cpu"] + idle * others // len(visited),
        "seconds": roofline.seconds(),
        "trained": sum(p.numel() for p in tuning.trainable),
        "turns": tuning.turns,
        **seen,
    }


def sizes(case: Case) -> dict[str, int]:
    """M parameters in D layers."""
    model = random_model(case.shape, case.precision, "meta", case.length)
    return {"M": sum(p.numel() for p in model.parameters()), "D": model.config.num_hidden_layers}


def formula(case: Case, found: dict[str, Any], model: dict[str, int]) -> tuple[str, float] | None:
    """What the method's file says of weights, gradients and optimizer, and that in bytes.

    In bytes for 16-bit weights, with M parameters in D layers, A of them or beside them trained, in K turns.
    """
    file = baselines.methods()[case.settings["method"]]
    if found["status"] != "ok" or not hasattr(file, "formula") or case.precision == "float32":
        return None
    text = file.formula(case.settings)
    names = {**model, "A": found["trained"], "K": found["turns"]}
    return text, eval(text, {"__builtins__": {}}, names)


def row(case: Case, memory: int | None) -> dict[str, Any]:
    """What is shown of a case, but for the formula."""
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
        "roofline_seconds": found["seconds"] if ok else None,
        "trained": found["trained"] if ok else None,
        "turns": found["turns"] if ok else None,
    }
    if case.settings["method"] == "chunkft":
        shown |= {key: case.settings[key] for key in ("chunks", "partition")}
        shown["checkpointing"] = case.checkpointing
    return shown


def planned_row(case: Case, memory: int) -> dict[str, Any]:
    """The row of ChunkFT with the smallest K that fits, and activations kept where it fits so too."""
    loss = LOSSES[case.loss](case.batch_size, case.length)
    try:
        with fake_cuda():
            model = random_model(case.shape, case.precision, "cuda", case.length)
            fewest = planned_chunks(model, loss, memory)
    except ValueError as error:
        numbers = ("peak_gib", "host_gib", "parts_gib", "roofline_seconds", "trained", "turns")
        nothing = dict.fromkeys((*numbers, "chunks", "partition", "checkpointing"))
        return {"method": PLANNED, "status": "does not fit", "reason": str(error), "fits": False, **nothing}
    # the plan leaves out the batch and the like, which may tip the balance
    recomputed = ((chunks, case.checkpointing) for chunks in range(fewest, fewest + 4))
    for chunks, checkpointing in dict.fromkeys([(fewest, "none"), *recomputed]):
        settings = {**case.settings, "partition": "contiguous", "chunks": chunks}
        shown = row(replace(case, settings=settings, checkpointing=checkpointing), memory)
        if shown["fits"] or shown["status"] != "ok":
            break
    return shown


def table(rows: list[dict[str, Any]], card: str) -> str:
    """The last column is an estimate."""
    head = f"{'method':24}{'peak GiB':>10}{'host GiB':>10}  fits  "
    head += "".join(f"{part:>13}" for part in PARTS) + f"  {'by formula':32}{'est. step s, ' + card:>20}"
    lines = [head]
    for found in rows:
        if found["status"] != "ok":
            lines.append(f"{found['method']:24}{found['status']}: {found['reason']}")
            continue
        name = found["method"] + (f" (K = {found['chunks']})" if found["method"] == PLANNED else "")
        fits = {True: "yes", False: "no", None: ""}[found["fits"]]
        parts = "".join(f"{found['parts_gib'][part]:13.2f}" for part in PARTS)
        by_hand = f"{found['formula']} = {found['formula_gib']:.2f}" if found["formula"] else ""
        lines.append(
            f"{name:24}{found['peak_gib']:10.2f}{found['host_gib']:10.2f}  {fits:4}  {parts}"
            f"  {by_hand:32}{found['roofline_seconds'][card]:20.3f}"
        )
    return "\n".join(lines)


def workers(most: int) -> ProcessPoolExecutor:
    """Processes, not more than `most` or than there are processors, that see no GPU: there may be one."""
    forks = sys.platform == "linux"  # elsewhere that is not safe once frameworks are loaded
    if forks:
        for module in cost.IMPORTED:
            importlib.import_module(module)  # once for all
        gc.freeze()  # what was imported is never garbage, and no worker need look through it
    context = multiprocessing.get_context("fork" if forks else "spawn")
    return ProcessPoolExecutor(min(os.cpu_count() or 1, most), context, _hide_gpus)


def _hide_gpus() -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def predict_measured(folder: Path) -> None:
    """Writes `folder/predicted.json`: of each result of `workflow.steps.cost`, by path, its prediction."""
    results = {path: read_json(path) for path in sorted(folder.glob("*/*/*.json"))}
    cases = {path: Case(**found["config"]) for path, found in results.items() if found["kind"] == "cost"}
    if not cases:
        raise InputError(f"`--measured {folder}` holds no results of workflow.steps.cost")
    models = {case.model: case for case in cases.values()}
    predictions = {}
    with workers(len(cases)) as pool:
        each = pool.map(predict, cases.values(), (case.turns for case in cases.values()))
        size_of = {model: sizes(case) for model, case in models.items()}  # meanwhile
        for (path, case), found in zip(cases.items(), each, strict=True):
            place = path.relative_to(folder).as_posix()
            predictions[place] = {key: found.get(key) for key in KEPT}
            by_hand = formula(case, found, size_of[case.model])
            predictions[place]["formula"] = (
                dict(zip(("text", "bytes"), by_hand, strict=True)) if by_hand else None
            )
            shown = f"{found['peak'] / GIB:.2f} GiB" if found["status"] == "ok" else found["reason"]
            print(f"{len(predictions)}/{len(cases)}  {place}: {shown}", flush=True)
    made = provenance(None, None)
    kept = {key: made[key] for key in ("commit", "dirty", "versions", "command", "date")}
    write_json(folder / "predicted.json", {"provenance": kept, "cases": predictions})


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict the memory of a training step without a GPU.")
    parser.add_argument("--model", help="a known shape, a config's folder or a hub id")
    parser.add_argument("--seq", type=int, default=1024, help="tokens in a sequence (default: 1024)")
    parser.add_argument("--batch", type=int, default=1, help="sequences in a batch (default: 1)")
    parser.add_argument("--memory", help="of the GPU, such as 24GiB, to say what fits")
    parser.add_argument(
        "--methods",
        nargs="+",
        help="entries of the config (default: every method once; of ChunkFT several without --memory)",
    )
    parser.add_argument(
        "--setting", default="shared", help="loss and checkpointing, as the config names them"
    )
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--card", choices=CARDS, default="H200", help="of the estimated time")
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    parser.add_argument(
        "--measured", type=Path, help="instead: predict every result in this folder, into its predicted.json"
    )
    arguments = parser.parse_args()
    if (arguments.model is None) == (arguments.measured is None):
        parser.error("give --model or --measured")
    if arguments.measured:
        return predict_measured(arguments.measured)
    print(show(arguments))


def show(arguments: argparse.Namespace) -> str:
    config = cost.read(arguments.config)
    if arguments.model not in config["models"]:
        try:
            config["models"][arguments.model] = shape_of(arguments.model)
        except ValueError as error:
            raise InputError(f"`--model`: {error}") from None
    memory = None if arguments.memory is None else size("--memory", arguments.memory)
    entries = arguments.methods or shown_entries(config["methods"], memory)
    for name in entries:
        cost.check_one_of("--methods", name, (*config["methods"], PLANNED))
    if PLANNED in entries and memory is None:
        raise InputError(f"`--methods {PLANNED}` chooses K for a GPU: give its `--memory`, such as 24GiB")
    cost.check_one_of("--setting", arguments.setting, config["settings"])
    config["methods"].setdefault(PLANNED, {**baselines.methods()["chunkft"].PARAMETERS, "method": "chunkft"})
    where = (config, arguments.model, arguments.batch, arguments.seq, arguments.setting)
    cases = [replace(cost.case_of(*where, entry), device="cuda") for entry in entries]
    with workers(len(cases)) as pool:
        under_way = {
            case.entry: pool.submit(planned_row if case.entry == PLANNED else row, case, memory)
            for case in sorted(cases, key=lambda case: case.entry != PLANNED)  # what takes longest first
        }
        model = sizes(cases[0])  # meanwhile
    rows = []
    for case in cases:
        found = under_way[case.entry].result()
        text, amount = formula(case, found, model) or (None, None)
        rows.append({**found, "formula": text, "formula_gib": amount / GIB if amount else None})
    return json.dumps(rows, indent=1) if arguments.json else table(rows, arguments.card)


def shown_entries(methods: dict[str, dict], memory: int | None) -> list[str]:
    """Every rival once; of ChunkFT the K that fits, or without a memory some to choose from."""

    def example(settings: dict) -> bool:
        if settings["method"] != "chunkft" or memory is not None:
            return False
        return (
            settings["resident"] and settings["partition"] == "contiguous" and settings["chunks"] in EXAMPLES
        )

    shown = [name for name, given in methods.items() if given["method"] == name or example(given)]
    return shown if memory is None else [*shown, PLANNED]


if __name__ == "__main__":
    exit_on_input_error(main)
