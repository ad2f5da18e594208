"""Writes the result of a step that died without writing one: killed, or out of host memory.

The rules call it with the step's exit status.  Bad input and an interruption are
not results: then it writes nothing and passes the status on.
"""

import argparse
import signal
import sys
from pathlib import Path

from workflow.steps.files import exit_on_input_error, read_json, write_json
from workflow.steps.result import result

BAD_INPUT = 2
INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGHUP)


def reason(code: int) -> str:
    if code == 128 + signal.SIGKILL:
        return "killed by signal 9; was the machine out of memory?"
    if code > 128:
        return f"killed by signal {code - 128} ({signal.Signals(code - 128).name})"
    return f"exit status {code}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Record that a step died.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--kind", choices=("train", "evaluate", "measure"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the missing results")
    parser.add_argument("--code", type=int, required=True, help="the step's exit status")
    arguments = parser.parse_args()
    if arguments.code == BAD_INPUT or arguments.code in INTERRUPTED:
        sys.exit(arguments.code)
    config = read_json(arguments.config)
    names = config["tasks"] if arguments.kind == "evaluate" else [arguments.kind]
    for name in names:
        if (arguments.out / f"{name}.json").exists():  # finished before the step died
            continue
        record = result(arguments.kind, arguments.config.parent, config, arguments.method, arguments.seed,
                        "crashed", reason(arguments.code))  # fmt: skip
        write_json(arguments.out / f"{name}.json", record)
    print(f"{arguments.method}: {arguments.kind} crashed ({reason(arguments.code)})", file=sys.stderr)


if __name__ == "__main__":
    exit_on_input_error(main)
