"""The grids of a config whose entries `vary`, in the form in which a config keeps them.

    python -m workflow.steps.tune --config workflow/config/tuning.yaml

reads the training results that `snakemake --configfile workflow/config/tuning.yaml` made.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean

from workflow.steps.configuration import load, read_yaml
from workflow.steps.files import InputError, exit_on_input_error, read_json


def grid(path: Path, results: Path, name: str) -> list[dict]:
    """What one entry of the config at `path` tried: [{each varied key, loss}], in the config's order.

    The loss is the mean over seeds of that on held-out rows, or None where a run has none.
    Raises InputError where a result is missing, or where the entry has no `vary`.
    """
    vary = read_yaml(path)["settings"][name].get("vary")
    if vary is None:
        raise InputError(f"{path}: `settings.{name}` has no `vary`: nothing to choose from")
    config = load([path], {"methods": [name]})
    points = []
    for entry, settings in config["methods"].items():
        runs = [read_json(results / "runs" / entry / f"seed-{s}" / "train.json") for s in config["seeds"]]
        losses = [run.get("training", {}).get("validation_loss") for run in runs]
        loss = None if None in losses else round(fmean(losses), 4)
        points.append({**{key: settings[key] for key in vary}, "loss": loss})
    return points


def lines(name: str, points: list[dict]) -> list[str]:
    """An entry of `settings` in YAML: the point with the least loss, and all of them as its `grid`."""
    tried = [point for point in points if point["loss"] is not None]
    best = min(tried, key=lambda point: point["loss"], default={})
    chosen = [f"    {key}: {_written(value)}" for key, value in best.items() if key != "loss"]
    kept = [", ".join(f"{key}: {_written(value)}" for key, value in point.items()) for point in points]
    return [f"  {name}:", *chosen, "    grid:", *(f"      - {{{pairs}}}" for pairs in kept)]


def _written(value: object) -> str:
    """As YAML reads it back: JSON, but 1.0e-05 for 1e-05."""
    text = json.dumps(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what a config's varied entries found.")
    parser.add_argument("--config", type=Path, required=True, help="a config whose entries `vary`")
    parser.add_argument("--results", type=Path, help="its results (default: results/<name of the config>)")
    arguments = parser.parse_args()
    config = load([arguments.config])
    results = arguments.results or Path("results", config["name"])
    for name in read_yaml(arguments.config)["methods"]:
        print(*lines(name, grid(arguments.config, results, name)), sep="\n")


if __name__ == "__main__":
    exit_on_input_error(main)
