"""Memory and time of a training step for each model, method, batch and length of a cost config.

    python -m workflow.steps.cost --config workflow/config/cost.yaml --out results/cost

One process for each case and one case at a time on each GPU, those at the top of the grid
first.  Started again, it goes on with the cases that have no result, and then with those
whose result is of other code or settings, or of a crash.
"""

import argparse
import itertools
import multiprocessing
import os
import shlex
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

import baselines
from chunkft.shapes import SHAPES
from workflow.steps import device
from workflow.steps.costcase import Case, outcome, record
from workflow.steps.files import InputError, atomic_write, exit_on_input_error, read_json, write_json

BAD_INPUT = 2
FINAL = ("ok", "out of memory", "not supported", "diverged")
PLAIN = ("precision", "lr", "device", "threads", "warmup", "steps", "turns", "limit")
GRID = {
    "models": None,
    "batch_sizes": [1],
    "lengths": [1024],
    "settings": ["shared"],
    "methods": None,
    "renewal": False,
    "limit": None,
}
LOSSES = ("head", "model")
CHECKPOINTING = ("chunkft", "products", "transformers", "none")
# What most cases import, so that a process forked for one need not.  Not peft, which imports bitsandbytes,
# which starts CUDA: a fork could not use it then.
IMPORTED = [
    "chunkft",
    "workflow.steps.profile",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
]


def read(path: Path) -> dict[str, Any]:
    """The config, `models` with the built-in shapes and `methods` with every parameter.

    InputError names what is wrong.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read ({error})") from None
    _check_keys(config, "the config", (*PLAIN, "models", "settings", "methods", "grid"))
    for key in PLAIN:
        expected = str if key in ("precision", "device") else (int, float)
        if not isinstance(config.get(key), expected):
            raise InputError(
                f"`{key}` is {config.get(key)!r}; give a {'word' if expected is str else 'number'}"
            )
    config["models"] = {**SHAPES, **config["models"]}
    config["methods"] = {name: _method(name, given or {}) for name, given in config["methods"].items()}
    for name, setting in config["settings"].items():
        _check_keys(setting, f"`settings.{name}`", ("loss", "checkpointing"))
        check_one_of(f"settings.{name}.loss", setting.get("loss"), LOSSES)
        check_one_of(f"settings.{name}.checkpointing", setting.get("checkpointing"), CHECKPOINTING)
    return config


def load(path: Path) -> list[Case]:
    """Every case of the config, in its order, each once.  InputError names what is wrong."""
    config = read(path)
    shapes, settings, methods = config["models"], config["settings"], config["methods"]
    cases: dict[str, Case] = {}
    for number, given in enumerate(config["grid"], start=1):
        _check_keys(given, f"row {number} of `grid`", GRID)
        row = {**GRID, **given}
        for key, known in (("models", shapes), ("settings", settings), ("methods", methods)):
            row[key] = list(known) if row[key] == "all" else row[key] or []
            for name in row[key]:
                check_one_of(f"grid.{key}", name, known)
        axes = (row[key] for key in ("models", "batch_sizes", "lengths", "settings", "methods"))
        for model, batch_size, length, setting, entry in itertools.product(*axes):
            case = case_of(config, model, batch_size, length, setting, entry)
            case = replace(case, renewal=row["renewal"], limit=row["limit"] or case.limit)
            cases.setdefault(case.place, case)
    return list(cases.values())


def case_of(
    config: dict[str, Any], model: str, batch_size: int, length: int, setting: str, entry: str
) -> Case:
    return Case(
        model=model,
        shape=config["models"][model],
        batch_size=batch_size,
        length=length,
        setting=setting,
        **config["settings"][setting],
        entry=entry,
        settings=config["methods"][entry],
        renewal=False,
        **{key: config[key] for key in PLAIN},
    )


def _check_keys(given: Any, place: str, known: Iterable[str]) -> None:
    if not isinstance(given, dict):
        raise InputError(f"{place} must be a mapping of keys to values")
    for key in given:
        if key not in known:
            raise InputError(f"{place} has an unknown key `{key}`; known here: {', '.join(known)}")


def check_one_of(place: str, value: Any, known: Iterable[str]) -> None:
    if value not in known:
        raise InputError(f"`{place}`: there is no {value!r}; known here: {', '.join(known)}")


def _method(name: str, given: dict) -> dict:
    """The entry's settings with every parameter of its method filled in."""
    file = given.get("method", name)
    check_one_of(f"methods.{name}", file, baselines.methods())
    parameters = baselines.methods()[file].PARAMETERS
    _check_keys(given, f"`methods.{name}`", ("method", *parameters))
    return {**parameters, **given, "method": file}


def waiting(cases: list[Case], out: Path) -> list[Case]:
    """The cases still to be measured: those without a result first, then those to be made again."""
    without, again = [], []
    for case in cases:
        path = out / case.place
        if not path.exists():
            without.append(case)
            continue
        made = read_json(path)
        if made["run_id"] != case.run_id or made["status"] not in FINAL:
            again.append(case)
    return without + again


def cards(device: str, count: int | None) -> list[str | None]:
    """What CUDA_VISIBLE_DEVICES is to be for each GPU; one None for the CPU."""
    if device != "cuda":
        return [None]
    import torch

    found = torch.cuda.device_count()
    if not found or (count or 1) > found:
        raise InputError(f"`--gpus` asks for {count or 1}, and torch sees {found} here")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names: list[str | None] = [*(visible.split(",") if visible else map(str, range(found)))]
    return names[: count or found]


class Workers:
    """Measures cases in processes of their own, one at a time on each card."""

    def __init__(self, cases: list[Case], out: Path, stop_after: float, commit: str | None) -> None:
        self.queue, self.total, self.out, self.commit = deque(cases), len(cases), out, commit
        self.stop_at = time.monotonic() + stop_after
        self.done = 0
        self.refused: list[str | None] = []  # cards that were in use
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(IMPORTED)

    def work_off(self, cards: list[str | None]) -> None:
        """Returns when nothing waits or the time is up; an exception here ends what is under way."""
        threads = [threading.Thread(target=self._work, args=[card], daemon=True) for card in cards]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            self.queue.clear()
            for child in multiprocessing.active_children():
                child.terminate()

    def _work(self, card: str | None) -> None:
        while time.monotonic() < self.stop_at:
            try:
                case = self.queue.popleft()
            except IndexError:
                return
            started = time.monotonic()
            if not self._measured(case, card):
                return
            self.done += 1
            print(self._line(case, card, time.monotonic() - started), flush=True)

    def _measured(self, case: Case, card: str | None) -> bool:
        """Writes the case's result; False where no other should be measured on this card."""
        path = self.out / case.place
        path.unlink(missing_ok=True)
        process = self._process(case, card, None)
        process.join(case.limit)
        reason = f"the process ended with status {process.exitcode}"
        if process.is_alive():
            process.kill()
            process.join()
            reason = f"ended after its limit of {case.limit:g} s"
        elif process.exitcode == BAD_INPUT:
            self.refused.append(card)
        if process.exitcode in (BAD_INPUT, -signal.SIGINT, -signal.SIGTERM):
            return False
        if not path.exists():
            self._process(case, card, reason).join()
        return True

    def _process(self, case: Case, card: str | None, crashed: str | None) -> multiprocessing.Process:
        command = shlex.join(["python", "-m", "workflow.steps.cost", *sys.argv[1:]])
        made = {"command": command, **({"commit": self.commit} if self.commit else {})}
        arguments = (case, self.out, card, made, crashed)
        process = self.context.Process(target=write_result, args=arguments, daemon=True)
        process.start()
        return process

    def _line(self, case: Case, card: str | None, seconds: float) -> str:
        made = read_json(self.out / case.place)
        what = made["status"] + (f" ({made['reason']})" if made["reason"] else "")
        if made["status"] == "ok":
            spent = f"{made['time']['step']:.3f} s a step" if made["time"] else made["reason"]
            what = f"{made['memory']['peak'] / 2**30:.2f} GiB, {spent}"
        place = case.place.removesuffix(".json")
        return f"{self.done}/{self.total}  gpu {card}  {place}: {what}  [{seconds:.1f} s]"


def write_result(case: Case, out: Path, card: str | None, made: dict[str, str], crashed: str | None) -> None:
    """Runs in a process of its own, before CUDA is started there; `made` goes into the provenance."""
    if card is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = card

    def write() -> None:
        result = record(case, out.name, "crashed", crashed) if crashed else outcome(case, out.name)
        result["provenance"].update(made)
        write_json(out / case.place, result)

    exit_on_input_error(write)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measure memory and time of a training step, random weights."
    )
    parser.add_argument("--config", type=Path, required=True, help="such as workflow/config/cost.yaml")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the results")
    parser.add_argument("--gpus", type=int, help="how many GPUs to use (default: all that torch sees)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no case after this time")
    parser.add_argument("--commit", help="the commit measured, where git cannot say")
    parser.add_argument("--list", action="store_true", help="show the cases that wait, and measure nothing")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cases = load(arguments.config)
    left = waiting(cases, arguments.out)
    if arguments.list:
        print("\n".join(case.place.removesuffix(".json") for case in left))
        return
    used = cards(cases[0].device, arguments.gpus) if left else []
    workers = Workers(left, arguments.out, arguments.seconds, arguments.commit)
    with device.lock(arguments.out, cases[0].device):
        workers.work_off(used)
    left = waiting(cases, arguments.out)
    if workers.refused:
        raise InputError(
            f"in use by others, so nothing was measured there: GPU {', '.join(map(str, workers.refused))}"
        )
    print(
        f"{len(cases) - len(left)} of {len(cases)} cases have a result"
        + ("; run it again to go on" if left else "")
    )
    if not left:
        lines = (f"{case.place} {read_json(arguments.out / case.place)['status']}" for case in cases)
        atomic_write(arguments.out / "status.txt", "\n".join(lines) + "\n")


if __name__ == "__main__":
    exit_on_input_error(main)
