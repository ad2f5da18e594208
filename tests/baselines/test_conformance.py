"""What every method in `baselines/` must do, on a Llama of 100 thousand parameters.

    pytest --method NAME

A new file in `baselines/` is tested with its default parameters at once; `CASES` names
further parameters and rates, `FOOTPRINTS` what a method's paper says it stores.
"""

import contextlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from baselines import Run, Tuning, methods, missing_packages, trains
from workflow.steps.loop import Schedule, fit

STEPS = 12
VOCABULARY, WIDTH, INNER, LAYERS, KEYS = 128, 64, 128, 3, 32  # KEYS: width of the key and value projections


@dataclass(frozen=True)
class Case:
    """A method with the parameters it is tested with; a rate of None is the default of 3e-3."""

    method: str
    parameters: dict[str, Any] = field(default_factory=dict)
    precision: str = "float32"
    lr: float = 3e-3

    def __str__(self) -> str:
        return "-".join([self.method, *(f"{k}={v}" for k, v in self.parameters.items()), self.precision])


CASES = {
    "none": [Case("none")],
    "full": [Case("full"), Case("full", precision="bfloat16"), Case("full", {"pure": True}, "bfloat16")],
    "lora": [Case("lora", lr=1e-2), Case("lora", {"rank": 4, "alpha": 16}, "bfloat16", lr=1e-2)],
    "galore": [
        Case("galore", {"rank": 8, "gap": 4}, lr=1e-2),
        Case("galore", {"rank": 8, "gap": 4}, "bfloat16", lr=1e-2),
        Case("galore", {"rank": 8, "gap": 4, "layerwise": True}, lr=1e-2),
    ],
    "lomo": [Case("lomo", lr=0.3), Case("lomo", precision="bfloat16", lr=0.3)],
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = [case for name in methods() for case in CASES.get(name, [Case(name)])]
        metafunc.parametrize("case", cases, ids=str)


def run_of(case: Case, seed: int = 0, **changes: Any) -> Run:
    """The case's Run on the first device the method supports; skips where it supports none here."""
    method = methods()[case.method]
    missing = missing_packages(method)
    if missing:
        pytest.skip(f"not installed: pip install {' '.join(missing)}")
    options = {
        "method": case.method, "lr": case.lr, "steps": STEPS, "batch_size": 4, "precision": case.precision,
        "seed": seed, "parameters": {**method.PARAMETERS, **case.parameters}, **changes,
    }  # fmt: skip
    for device in ("cpu", "cuda")[: 1 + torch.cuda.is_available()]:
        run = Run(**{"device": device, **options})
        refusal = method.supports(run)
        if refusal is None:
            return run
    pytest.skip(refusal)


def tiny_llama(run: Run, tied: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(1)  # the base model is the same for every seed
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32, tie_word_embeddings=tied,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(run.device, getattr(torch, run.precision))
    torch.manual_seed(run.seed)
    return model.train()


def batch_at(run: Run, step: int) -> list[dict[str, torch.Tensor]]:
    """The micro-batches of one step, each [sequences, 16]: counting 0 to 7 over and over, from a random start."""
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
    return tuning.model(**batch_at(replace(run, seed=9), 0)[0]).loss.item()


def built(case: Case, seed: int = 0, **changes: Any) -> tuple[Tuning, Run]:
    run = run_of(case, seed, **changes)
    return methods()[case.method].build(tiny_llama(run), run), run


def trained(case: Case, seed: int = 0, **changes: Any) -> Tuning:
    tuning, run = built(case, seed, **changes)
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


def test_loss_falls_and_only_trainable_parameters_move(case: Case) -> None:
    tuning, run = built(case)
    before = {name: parameter.clone() for name, parameter in weights(tuning).items()}
    loss_before = held_out_loss(tuning, run)
    if tuning.optimizer is None:
        assert not trainable(tuning) and not trains(methods()[case.method])
        return
    train(tuning, run)
    assert held_out_loss(tuning, run) < 0.9 * loss_before
    moved = {name for name, parameter in weights(tuning).items() if not torch.equal(parameter, before[name])}
    assert moved <= trainable(tuning).keys()


def test_one_seed_is_bitwise_equal_and_another_differs(case: Case) -> None:
    first = weights(trained(case, seed=3))
    assert equal(first, weights(trained(case, seed=3)))
    assert not equal(first, weights(trained(case, seed=4)))


@pytest.mark.parametrize("stop", [1, 5])  # 5: within a block, a gap and a sampling period of the cases above
def test_resuming_is_exact(case: Case, stop: int, tmp_path: Path) -> None:
    resumes = methods()[case.method].RESUMES
    if resumes is not True:
        pytest.skip(f"{case.method} declares that it does not resume exactly: {resumes}")
    whole = trained(case)
    first, run = built(case)
    train(first, run, tmp_path, stop)
    assert not equal(weights(whole), weights(first))
    second, run = built(case)
    train(second, run, tmp_path)
    assert equal(weights(whole), weights(second))


def test_export_is_a_plain_model_with_the_same_logits(case: Case, tmp_path: Path) -> None:
    tuning, run = built(case)
    if tuning.optimizer is not None:
        train(tuning, run)
    tokens = batch_at(run, 0)[0]["input_ids"]
    with torch.no_grad():
        tuned = tuning.model.eval()(input_ids=tokens).logits
    methods()[case.method].export(tuning.model).save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=run.precision).to(run.device)
    plain = tiny_llama(run)
    assert type(loaded) is type(plain) and loaded.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        # merged 16-bit weights are rounded: relative to logits of about 1, some units of 2^-8
        tolerance = 1e-5 if run.precision == "float32" else 5e-2
        torch.testing.assert_close(loaded(input_ids=tokens).logits, tuned, rtol=0, atol=tolerance)


def test_activation_checkpointing_changes_nothing(case: Case) -> None:
    plain = weights(trained(case))
    assert equal(plain, weights(trained(case, checkpointing=True)))


def test_tied_embeddings_are_trained_once(case: Case) -> None:
    run = run_of(case)
    tuning = methods()[case.method].build(tiny_llama(run, tied=True), run)
    if tuning.optimizer is None:
        pytest.skip(f"{case.method} trains nothing")
    train(tuning, run)
    assert tuning.model.get_input_embeddings().weight is tuning.model.get_output_embeddings().weight


def test_accumulation_is_one_update_or_is_refused(case: Case) -> None:
    whole = trained(case)
    tuning, run = built(case, accumulation=2)  # skips with the method's reason where it is refused
    train(tuning, run)
    base, _ = built(case, accumulation=2)
    # the order of summation differs, and Adam's division enlarges that where a gradient is near zero
    assert distance(whole, tuning) < 0.3 * distance(whole, base)


def test_weight_decay_shrinks_the_matrices(case: Case) -> None:
    def norm(tuning: Tuning) -> float:
        return sum(p.detach().float().norm().item() ** 2 for p in tuning.trainable if p.ndim >= 2)

    assert norm(trained(case, weight_decay=1.0)) < norm(trained(case))
