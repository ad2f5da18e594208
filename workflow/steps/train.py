"""Trains one method with one seed and exports a plain transformers model.

Every outcome is a result file: finished, diverged, out of memory, not installed,
not supported, crashed.  An interrupted run goes on from its last state.
"""

import argparse
import math
import shutil
import traceback
from pathlib import Path

import baselines
from workflow.steps import device
from workflow.steps.base import model_folder
from workflow.steps.files import InputError, exit_on_input_error, write_json
from workflow.steps.result import read_config, refusal, result, run_id, run_of


def fit(experiment: Path, config: dict, method: str, seed: int, states: Path | None):
    """Trains `method`: (tuning, tokenizer, curve, validation loss, rows cut short)."""
    import torch
    from transformers import AutoTokenizer

    from workflow.steps import loop
    from workflow.steps.examples import Examples

    torch.set_num_threads(config["threads"])
    plan = config["train"]
    base = model_folder(experiment / "base" / "base.json")
    tokenizer = AutoTokenizer.from_pretrained(base)
    encode = None
    if config["train"]["head"] == "classifier":
        from workflow.steps.classifier import encode
    rows = Examples(experiment / "data" / "train.jsonl", tokenizer, plan["max_length"], encode)
    held_out = Examples(experiment / "data" / "validation.jsonl", tokenizer, plan["max_length"], encode)
    steps = config["methods"][method].get("steps") or plan["steps"]
    steps = steps or math.ceil(plan["epochs"] * len(rows) / plan["batch_size"])
    micro = plan["micro_batch_size"] or plan["batch_size"]

    torch.manual_seed(seed)
    file = baselines.methods()[config["methods"][method]["method"]]
    tuning = file.build(load_model(base, config), run_of(config, method, seed, steps))
    order = rows.order(seed)
    curve = loop.fit(
        tuning,
        lambda step: rows.batch(order(step, plan["batch_size"]), micro),
        loop.Schedule(config["methods"][method]["lr"], steps, plan["schedule"], plan["warmup"]),
        max_grad_norm=plan["max_grad_norm"],
        states=states,
        save_every=plan["save_every"],
        label=f"{method} seed {seed}",
    )
    return tuning, tokenizer, curve, mean_loss(tuning.model, held_out, micro), rows.cut


def train(experiment: Path, config: dict, method: str, seed: int, out: Path) -> dict:
    """The `training` section of the result; the plain model is in `out/model`."""
    from workflow.steps import checkpoint

    file = baselines.methods()[config["methods"][method]["method"]]
    states = experiment.parent / ".state" / run_id("train", experiment, config, method, seed)
    resumed_from = states if file.RESUMES is True else None  # what would not be exact starts over
    tuning, tokenizer, curve, validation_loss, cut = fit(experiment, config, method, seed, resumed_from)
    trainable = sum(parameter.numel() for parameter in tuning.trainable)
    model = file.export(tuning.model)
    shutil.rmtree(out / "model", ignore_errors=True)
    model.save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    checkpoint.remove(states)
    steps = len(curve["step"])
    last = curve["loss"][-max(1, steps // 10) :]
    every = config["train"]["log_every"]
    return {
        "steps": steps,
        "samples": steps * config["train"]["batch_size"],
        "tokens": curve["tokens"][-1],
        "rows_cut": cut,
        "seconds": curve["seconds"][-1],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trainable": trainable,
        "final_loss": sum(last) / len(last),
        "validation_loss": validation_loss,
        "curve": {key: values[every - 1 :: every] for key, values in curve.items()},
        **({"schedule": tuning.schedule} if tuning.schedule else {}),
    }


def load_model(folder: Path, config: dict):
    """The base model on the config's device, in its precision."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, config["model"]["precision"])
    if config["train"]["head"] == "classifier":
        from workflow.steps import classifier

        return classifier.load_model(folder, dtype).to(config["device"])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=False)
    return model.to(config["device"])


def mean_loss(model, examples, batch_size: int) -> float:
    """Mean loss per answer token over all rows of `examples`."""
    import torch

    device = next(model.parameters()).device
    model.eval()
    total, answers = 0.0, 0
    with torch.no_grad():
        for micro in examples.batch(list(range(len(examples))), batch_size):
            count = int((micro["labels"][:, 1:] != -100).sum())
            micro = {key: value.to(device) for key, value in micro.items()}
            total += count * model(**micro, use_cache=False).loss.item()
            answers += count
    return total / answers


def outcome(experiment: Path, config: dict, method: str, seed: int, out: Path) -> dict:
    """The result of a run, whatever became of it."""
    refused = refusal(config, method, seed)
    if refused:
        return result("train", experiment, config, method, seed, *refused)
    if not baselines.trains(baselines.methods()[config["methods"][method]["method"]]):
        path = str(model_folder(experiment / "base" / "base.json"))
        return result("train", experiment, config, method, seed, model_path=path)
    try:
        with device.lock(experiment, config["device"]):
            training = train(experiment, config, method, seed, out)
        return result("train", experiment, config, method, seed, training=training)
    except InputError:
        raise
    except Exception as error:
        return result("train", experiment, config, method, seed, *status_of(error))


def status_of(error: Exception) -> tuple[str, str]:
    """(status, reason) of a run that raised `error`; a crash prints its traceback to the log."""
    import torch

    from workflow.steps.loop import Diverged

    if isinstance(error, Diverged):
        return "diverged", str(error)
    first_line = str(error).strip().partition("\n")[0]
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in first_line:
        return "out of memory", first_line or "the machine ran out of memory"
    traceback.print_exception(error)
    return "crashed", f"{type(error).__name__}: {first_line}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one method with one seed.")
    parser.add_argument("--config", type=Path, required=True, help="a resolved config.json")
    parser.add_argument("--method", required=True, help="a name under `methods` in the config")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    arguments = parser.parse_args()
    config = read_config(arguments.config, arguments.method)
    record = outcome(arguments.config.parent, config, arguments.method, arguments.seed, arguments.out)
    write_json(arguments.out / "train.json", record)
    print(
        f"{arguments.method} seed {arguments.seed}: {record['status']}"
        + (f" ({record['reason']})" if record["reason"] else "")
    )


if __name__ == "__main__":
    exit_on_input_error(main)
