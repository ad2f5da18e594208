"""The learning-rate grid of one method: the same number of rates for every method, on held-out rows.

Prints the lines to keep in the config; nothing but this step reads its result.
"""

import argparse
from pathlib import Path

import baselines
from workflow.steps.files import InputError, exit_on_input_error, write_json
from workflow.steps.result import read_config, refusal
from workflow.steps.train import fit, status_of


def grid(experiment: Path, config: dict, method: str) -> list[dict]:
    """[{lr, loss}], in rising order of lr; the loss of a run that failed is None, and `reason` says why."""
    seed, entries = config["tune"]["seed"], []
    for factor in sorted(config["tune"]["factors"]):
        lr = float(f"{config['methods'][method]['lr'] * factor:.3g}")
        try:
            *_, loss, _ = fit(experiment, config, method, seed, lr, None, f"{method} lr {lr:g}")
            entries.append({"lr": lr, "loss": round(loss, 4)})
        except InputError:
            raise
        except Exception as error:
            entries.append({"lr": lr, "loss": None, "reason": ": ".join(status_of(error))})
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description="Try learning rates for one method.")
    parser.add_argument("--config", type=Path, required=True, help="a resolved config.json")
    parser.add_argument("--method", required=True, help="a name under `methods` in the config")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    config = read_config(arguments.config, arguments.method)
    refused = refusal(config, arguments.method, config["tune"]["seed"])
    if refused:
        raise InputError(f"{arguments.method} cannot be tuned here ({': '.join(refused)})")
    entries = grid(arguments.config.parent, config, arguments.method)
    write_json(arguments.out, {"method": arguments.method, "grid": entries})
    title = baselines.methods()[config["methods"][arguments.method]["method"]].TITLE
    print(f"{title}:\n  grid:")
    for entry in entries:
        print(f"    - {{lr: {entry['lr']:.2e}, loss: {'null' if entry['loss'] is None else entry['loss']}}}")


if __name__ == "__main__":
    exit_on_input_error(main)
