"""A Llama of 127 thousand parameters, and a few steps of the suite's loop with any method."""

import contextlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from baselines import Run, Tuning, methods, missing_packages
from workflow.steps.loop import Schedule, fit

STEPS = 12
VOCABULARY, WIDTH, INNER, LAYERS = 128, 64, 128, 3


@dataclass(frozen=True)
class Case:
    """A method, and what it is tested with: its parameters, the weights' precision, its rate, the device."""

    method: str
    parameters: dict[str, Any] = field(default_factory=dict)
    precision: str = "float32"
    lr: float = 3e-3
    device: str = "cpu"

    def __str__(self) -> str:
        parameters = [f"{key}={value}" for key, value in self.parameters.items()]
        return "-".join([self.method, *parameters, self.precision, self.device])


CASES = {
    "none": [Case("none")],
    "full": [Case("full"), Case("full", precision="bfloat16"), Case("full", {"pure": True}, "bfloat16")],
    "lora": [Case("lora", lr=1e-2), Case("lora", {"rank": 100, "alpha": 400}, "bfloat16")],
    "galore": [
        Case("galore", {"rank": 8, "gap": 4}, lr=1e-2),
        Case("galore", {"rank": 8, "gap": 4}, "bfloat16", lr=1e-2),
        Case("galore", {"rank": 8, "gap": 4, "layerwise": True}, lr=1e-2),
    ],
    "lomo": [Case("lomo", lr=0.1), Case("lomo", precision="bfloat16", lr=0.1)],
    "chunkft": [
        Case("chunkft", {"chunks": 3, "steps_per_chunk": 4, "state": "fp32"}, lr=1e-2),
        Case("chunkft", {"chunks": 3, "steps_per_chunk": 4, "partition": "contiguous"}, "bfloat16", lr=1e-2),
    ],
    "adamw8bit": [Case("adamw8bit"), Case("adamw8bit", precision="bfloat16")],
    "sgd": [Case("sgd", lr=0.1), Case("sgd", {"momentum": 0.9}, "bfloat16", lr=0.03)],
    "dora": [Case("dora", lr=1e-2)],
    "qlora": [
        Case("qlora", {"rank": 8, "alpha": 32, "dropout": 0.0}, lr=1e-2),
        Case("qlora", {"rank": 8, "alpha": 32, "dropout": 0.0}, "bfloat16", lr=1e-2),
    ],
    "apollo": [Case("apollo", {"rank": 8, "gap": 4}, lr=1e-2)],
    "apollo_mini": [Case("apollo_mini", {"gap": 4}, "bfloat16", lr=1e-2)],
    "lisa": [Case("lisa", {"layers": 1, "period": 3}), Case("lisa", {"layers": 2, "period": 3}, "bfloat16")],
    "hift": [
        Case("hift", {"order": "random"}, lr=1e-2),
        Case("hift", {"layers": 2, "order": "top2down"}, "bfloat16", lr=1e-2),
    ],
    "badam": [
        Case("badam", {"period": 4}, lr=1e-2),
        Case("badam", {"period": 4, "embedding_and_head": True}, "bfloat16", lr=1e-2),
    ],
    "adalomo": [Case("adalomo", lr=3e-2), Case("adalomo", precision="bfloat16", lr=3e-2)],
}


def cases_of(method: str) -> list[Case]:
    """The method's cases; where there is a GPU, each of them there in bfloat16 too."""
    cases = CASES.get(method, [Case(method)])
    if torch.cuda.is_available():
        on_gpu = [replace(case, device="cuda", precision="bfloat16") for case in cases]
        cases = cases + list({str(case): case for case in on_gpu}.values())
    return cases


def run_of(case: Case, seed: int = 0, **changes: Any) -> Run:
    """The case's Run; skips with the reason where the method's package is missing or it refuses the run."""
    method = methods()[case.method]
    missing = missing_packages(method)
    if missing:
        pytest.skip(f"not installed: pip install {' '.join(missing)}")
    options = {
        "method": case.method, "lr": case.lr, "steps": STEPS, "batch_size": 4, "precision": case.precision,
        "device": case.device, "seed": seed, "parameters": {**method.PARAMETERS, **case.parameters},
    }  # fmt: skip
    run = Run(**{**options, **changes})
    refusal = method.supports(run)
    if refusal is not None:
        pytest.skip(refusal)
    return run


def tiny_llama(run: Run, tied: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(1)  # the base model is the same for every seed
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32, tie_word_embeddings=tied,
        attn_implementation="eager",  # the same bits twice on a GPU too
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(run.device, getattr(torch, run.precision))
    torch.manual_seed(run.seed)
    return model.train()


def batch_at(run: Run, step: int) -> list[dict[str, torch.Tensor]]:
    """One step's micro-batches, each [sequences, 16]: counting 0 to 7 over and over from a random start."""
    generator = torch.Generator().manual_seed(1000 * run.seed + step)
    start = torch.randint(8, (run.batch_size, 1), generator=generator)
    tokens = (start + torch.arange(16)) % 8
    parts = tokens.to(run.device).chunk(run.accumulation)
    return [{"input_ids": part, "labels": part, "attention_mask": torch.ones_like(part)} for part in parts]


def train(tuning: Tuning, run: Run, states: Path | None = None, stop: int = STEPS) -> None:
    """The suite's own loop over the run's steps, cut off after `stop` of them with its state in `states`."""

    class CutOff(Exception):
        pass

    def batch(step: int) -> list[dict[str, torch.Tensor]]:
        if step == stop:
            raise CutOff
        return batch_at(run, step)

    with contextlib.suppress(CutOff):
        schedule = Schedule(run.lr, run.steps, "linear")
        fit(tuning, batch, schedule, max_grad_norm=run.max_grad_norm, states=states, save_every=stop)


@torch.no_grad()
def held_out_loss(tuning: Tuning, run: Run) -> float:
    """Loss on a batch that no seed of these tests trains on."""
    return tuning.model(**batch_at(replace(run, seed=9), 0)[0]).loss.item()


def built(case: Case, seed: int = 0, tied: bool = False, **changes: Any) -> tuple[Tuning, Run]:
    run = run_of(case, seed, **changes)
    return methods()[case.method].build(tiny_llama(run, tied), run), run


def trained(case: Case, seed: int = 0, tied: bool = False, **changes: Any) -> Tuning:
    tuning, run = built(case, seed, tied, **changes)
    if tuning.optimizer is None:
        pytest.skip(f"{case.method} trains nothing")
    train(tuning, run)
    return tuning


def trainable(tuning: Tuning) -> dict[str, torch.Tensor]:
    kept = {id(parameter) for parameter in tuning.trainable}
    return {name: p.detach() for name, p in tuning.model.named_parameters() if id(p) in kept}


def weights(tuning: Tuning) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in tuning.model.named_parameters()}


def distance(a: Tuning, b: Tuning) -> float:
    """Euclidean, over all weights."""
    pairs = zip(weights(a).values(), weights(b).values(), strict=True)
    return math.sqrt(sum((x.float() - y.float()).square().sum().item() for x, y in pairs))


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
