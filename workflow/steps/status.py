"""What became of every result, a line each; fails where one crashed.

A crashed result is moved aside (`train.json` to `train.crashed`), so that
the next start tries it again while the tables still say what happened.
"""

import argparse
import sys
from pathlib import Path

from workflow.steps.files import atomic_write, exit_on_input_error, read_json

SUFFIX = ".crashed"


def results(folder: Path) -> list[Path]:
    """Every result file of an experiment."""
    patterns = ("runs/*/seed-*/train.json", "runs/*/seed-*/eval/*.json", "runs/*/measure.json")
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def report(folder: Path) -> tuple[str, list[Path]]:
    """The lines, and the results that crashed."""
    lines, crashed = [], []
    for path in results(folder):
        record = read_json(path)
        reason = f": {record['reason']}" if record["reason"] else ""
        lines.append(f"{path.relative_to(folder / 'runs').with_suffix('')}  {record['status']}{reason}\n")
        if record["status"] == "crashed":
            crashed.append(path)
    return "".join(lines), crashed


def main() -> None:
    parser = argparse.ArgumentParser(description="Say what became of every result of an experiment.")
    parser.add_argument("experiment", type=Path, help="such as results/mini")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    text, crashed = report(arguments.experiment)
    for path in crashed:
        path.replace(path.with_suffix(SUFFIX))
    if crashed:
        print(text, end="", file=sys.stderr)
        sys.exit(f"{len(crashed)} results crashed; the tables say so, and the next start tries again")
    atomic_write(arguments.out, text)


if __name__ == "__main__":
    exit_on_input_error(main)
