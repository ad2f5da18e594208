"""Keeps a finished experiment's result files, tables and figures under `results/reference/`.

Models, data, samples and logs stay behind: they are large, and made again by the
same command from the commit that the result files name.  The report and the vector
figures come back with `make tables RESULTS=results/reference/<experiment>`.
"""

import shutil
import sys
from pathlib import Path

from analysis.costs import PATTERN, is_cost_folder

KEPT = (
    "config.json",
    "status.txt",
    "results.csv",
    "left_out.csv",
    "data/manifest.json",
    "runs/*/seed-*/train.json",
    "runs/*/seed-*/eval/*.json",
    "runs/*/measure.json",
    "tables/*",
    "figures/*.png",
    "figures/captions.json",
)


def keep(experiment: Path, reference: Path) -> Path:
    """Copies what is kept of `experiment` into `reference`, replacing what was there."""
    patterns = KEPT
    if is_cost_folder(experiment):  # of a grid that may be kept unfinished: a case is whole in itself
        patterns = (PATTERN, "predicted.json", "tables/*", "figures/*.png", "figures/captions.json")
    elif not (experiment / "status.txt").is_file():
        raise SystemExit(f"{experiment} is not finished: it has no status.txt")
    target = reference / experiment.name
    shutil.rmtree(target, ignore_errors=True)
    for pattern in patterns:
        for path in sorted(experiment.glob(pattern)):
            copy = target / path.relative_to(experiment)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return target


if __name__ == "__main__":
    source = Path(sys.argv[1])
    print(keep(source, source.parent / "reference"))
