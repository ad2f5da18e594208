"""Evaluates one run's model on every task of the config, in one process.

Writes `<task>.json` and `<task>.samples.jsonl`, and for MT-Bench FastChat's files
beneath `mt_bench/`.  A run that has no model passes its status on.  One task's
failure is its own result; the others are evaluated all the same.  What is finished
is kept outside the declared outputs until every task is: an evaluation that was
killed, or failed in one task, asks only for the rest when it is started again.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from workflow.steps import device
from workflow.steps.files import (
    InputError,
    atomic_write,
    exit_on_input_error,
    read_json,
    write_json,
    write_jsonl,
)
from workflow.steps.result import read_config, result, run_id
from workflow.steps.train import status_of


def evaluate(experiment: Path, config: dict, method: str, seed: int, out: Path) -> None:
    """Writes a result for each task.  InputError, before the model is loaded, is what a user can mend."""
    trained = read_json(out.parent / "train.json")
    tasks = {task: {"limit": None, **settings} for task, settings in config["tasks"].items()}

    def write(task: str, samples: list, status: str = "ok", reason: str | None = None, **parts: dict) -> None:
        record = result("evaluate", experiment, config, method, seed, status, reason, **parts)
        write_jsonl(out / f"{task}.samples.jsonl", samples)
        write_json(out / f"{task}.json", record)
        score = parts["evaluation"]["score"] if parts else None
        print(
            f"{method} seed {seed}, {task}: {reason or status if score is None else f'{score:.4g}'}",
            flush=True,
        )

    if trained["status"] != "ok":
        for task in tasks:
            write(task, [], trained["status"], trained["reason"])
        return

    import torch

    from workflow.steps import classifier, judge, lm_evaluation, mt_bench
    from workflow.steps.conversation import blank

    torch.set_num_threads(config["threads"])
    questions = []
    if "mt_bench" in tasks:
        settings = tasks["mt_bench"]
        questions = mt_bench.read_questions(experiment / "data/mt_bench/test.jsonl", settings["limit"])
        blank(settings["template"])
        judge.check(settings["judge"], questions)

    folder = Path(trained.get("model_path", out.parent / "model"))
    if config["train"]["head"] == "classifier":
        model, tokenizer = classifier.load_tuned(folder)
        model.to(config["device"])
    else:
        model, tokenizer = load(folder, config["device"])
        lm = lm_evaluation.wrap(model, tokenizer)
    states = experiment.parent / ".state" / run_id("evaluate", experiment, config, method, seed)
    for task, settings in tasks.items():
        state = states / f"{trained['run_id']}-{task}.json"
        try:
            if state.exists():
                found = read_json(state)
            elif config["train"]["head"] == "classifier":
                found = classifier.evaluation(model, tokenizer, task, settings, experiment / "data" / task)
            elif task == "mt_bench":
                origin = f"{method}-seed-{seed}", trained["run_id"], out / "mt_bench"
                found = mt_bench.evaluation(model, tokenizer, settings, questions, *origin)
            else:
                found = lm_evaluation.evaluation(lm, task, settings, experiment / "data" / task)
        except InputError as error:
            write(task, [], "crashed", str(error))
        except Exception as error:
            write(task, [], *status_of(error))
        else:
            atomic_write(state, json.dumps(found))
            evaluation, samples = found
            unjudged = task == "mt_bench" and settings["judge"] is None
            write(task, samples, reason="no judge configured" if unjudged else None, evaluation=evaluation)
    if all(read_json(out / f"{task}.json")["status"] == "ok" for task in tasks):
        shutil.rmtree(states, ignore_errors=True)


def load(folder: Path, device: str) -> tuple[Any, Any]:
    """Model and tokenizer of a plain transformers folder, in the precision they were saved in."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder} holds no model, though training finished; remove train.json to train again"
        )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return model.to(device).eval(), tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate one run's model on every task of the config.")
    parser.add_argument("--config", type=Path, required=True, help="a resolved config.json")
    parser.add_argument("--method", required=True, help="a name under `methods` in the config")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to, inside the run's folder")
    arguments = parser.parse_args()
    config = read_config(arguments.config, arguments.method)
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything is on disk: nothing may depend on what the hub says today
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DELAY", "5")  # seconds: lm-eval opens a bar for each MMLU subject
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "60")
    experiment = arguments.config.parent
    with device.lock(experiment, config["device"]):
        evaluate(experiment, config, arguments.method, arguments.seed, arguments.out)


if __name__ == "__main__":
    exit_on_input_error(main)
