"""Refuses, before anything is trained, an evaluation that could not be asked or scored afterwards."""

import argparse
from pathlib import Path

from workflow.steps.files import InputError, atomic_write, exit_on_input_error, read_json


def check(config: dict, data: Path) -> None:
    """Raises InputError for a task without questions, an unknown template, a judge without files or key."""
    for task in config["tasks"]:
        if not (data / task / "test.jsonl").exists():
            raise InputError(f"`tasks.{task}`: its source has no `test` split")
    settings = config["tasks"].get("mt_bench")
    if settings:
        from workflow.steps import conversation, judge, mt_bench

        conversation.blank(settings["template"])
        questions = mt_bench.read_questions(data / "mt_bench" / "test.jsonl", settings.get("limit"))
        judge.check(settings["judge"], questions)


def main() -> None:
    parser = argparse.ArgumentParser(description="Check that every evaluation of a config can be made.")
    parser.add_argument("--config", type=Path, required=True, help="a resolved config.json")
    parser.add_argument("--data", type=Path, required=True, help="the folder that the data step wrote")
    parser.add_argument("--out", type=Path, required=True, help="a file to write when all is well")
    arguments = parser.parse_args()
    config = read_json(arguments.config)
    check(config, arguments.data)
    atomic_write(arguments.out, "".join(f"{task}\n" for task in config["tasks"]))


if __name__ == "__main__":
    exit_on_input_error(main)
