"""What one training step of a run costs, in memory and time, apart from training."""

import argparse
from pathlib import Path

import baselines
from workflow.steps import device
from workflow.steps.base import model_folder
from workflow.steps.files import InputError, exit_on_input_error, write_json
from workflow.steps.result import read_config, refusal, result, run_of
from workflow.steps.train import load_model, status_of

SEED = 0
SAMPLED_TURNS = 4


def measure(experiment: Path, config: dict, method: str) -> dict:
    """The `memory`, `time` and `batch` sections of a measurement."""
    import torch

    from workflow.steps.profile import profile, step_seconds

    torch.set_num_threads(config["threads"])
    plan, train, settings = config["measure"], config["train"], config["methods"][method]
    batch_size = plan["batch_size"] or train["micro_batch_size"] or train["batch_size"]
    length = plan["length"] or train["max_length"]
    steps = plan["warmup"] + plan["steps"]
    torch.manual_seed(SEED)
    model = load_model(model_folder(experiment / "base" / "base.json"), config)
    tuning = baselines.methods()[settings["method"]].build(model, run_of(config, method, SEED, steps))
    del model
    tuning.model.train()
    draw = torch.Generator().manual_seed(SEED)
    ids = torch.randint(tuning.model.config.vocab_size, (batch_size, length), generator=draw)
    ids = ids.to(config["device"])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}

    sections = profile(
        tuning,
        lambda model: model(**batch, use_cache=False).loss,
        settings["lr"],
        config["device"],
        warmup=plan["warmup"],
        steps=plan["steps"],
        sampled=SAMPLED_TURNS,
    )
    sections["time"]["tokens_per_second"] = batch_size * length / step_seconds(sections["time"])
    sections["batch"] = {
        "batch_size": batch_size,
        "length": length,
        "precision": config["model"]["precision"],
        "checkpointing": train["checkpointing"],
    }
    return sections


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
