"""What every method in `baselines/` must do, on a tiny Llama.

    python -m pytest --method NAME

or `--method all`.  A new file in `baselines/` is tested at once, with its default parameters;
`CASES` in `tiny.py` names further parameters and rates, `footprints.py` what its paper says it
stores.  Where torch sees a GPU, every case runs there too, with bfloat16 weights.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from footprints import FOOTPRINTS, sizes_of, state_bytes
from tiny import (
    Case,
    batch_at,
    built,
    cases_of,
    distance,
    equal,
    held_out_loss,
    tiny_llama,
    train,
    trainable,
    trained,
    weights,
)
from transformers import AutoModelForCausalLM

from baselines import Tuning, methods, trains


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", [case for name in methods() for case in cases_of(name)], ids=str)


@pytest.fixture(autouse=True)
def _deterministic() -> Iterator[None]:
    """Kernels that give the same bits twice, on a GPU too; those that have no such form warn."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def test_loss_falls_and_frozen_parameters_stay(case: Case) -> None:
    tuning, run = built(case)
    trained_names = trainable(tuning).keys()
    frozen = {
        name: parameter.clone()
        for name, parameter in tuning.model.named_parameters()
        if name not in trained_names and not parameter.requires_grad
    }
    loss_before = held_out_loss(tuning, run)
    if tuning.optimizer is None:
        assert not trainable(tuning) and not trains(methods()[case.method])
        return
    train(tuning, run)
    assert held_out_loss(tuning, run) < 0.9 * loss_before
    after = weights(tuning)
    assert equal(frozen, {name: after[name] for name in frozen})


def test_one_seed_is_bitwise_equal_and_another_differs(case: Case) -> None:
    first = weights(trained(case, seed=3))
    assert equal(first, weights(trained(case, seed=3)))
    assert not equal(first, weights(trained(case, seed=4)))


def test_every_batch_is_seen_once_and_in_order(case: Case) -> None:
    tuning, run = built(case, accumulation=1)
    if tuning.optimizer is None:
        pytest.skip(f"{case.method} trains nothing")
    seen: list[torch.Tensor] = []
    tuning.model.register_forward_pre_hook(
        lambda module, args, inputs: seen.append(inputs["input_ids"].clone()), with_kwargs=True
    )
    train(tuning, run)
    expected = [batch_at(run, step)[0]["input_ids"] for step in range(run.steps)]
    assert torch.equal(torch.stack(seen), torch.stack(expected))


def test_clipping_changes_the_run_or_is_refused(case: Case) -> None:
    clipped = trained(case, max_grad_norm=1e-2)  # skips with the method's reason where it is refused
    assert not equal(weights(clipped), weights(trained(case)))


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


def test_tied_embeddings_learn_and_stay_tied(case: Case) -> None:
    base, run = built(case, tied=True)
    tuned = trained(case, tied=True)
    assert held_out_loss(tuned, run) < 0.95 * held_out_loss(base, run)
    assert tuned.model.get_input_embeddings().weight is tuned.model.get_output_embeddings().weight


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


def test_footprint_is_the_papers(case: Case, tmp_path: Path) -> None:
    if case.method not in FOOTPRINTS:
        pytest.skip(f"tests/baselines/footprints.py has no formula for {case.method}: add its paper's")
    tuning, run = built(case)
    if tuning.optimizer is not None:
        train(tuning, run, tmp_path, stop=10)  # in the middle of a block; each block has had its turn
    groups = tuning.optimizer.param_groups if tuning.optimizer else []
    active = sum(p.numel() for group in groups for p in group["params"] if p.requires_grad)
    expected = FOOTPRINTS[case.method](sizes_of(tiny_llama(run), active), run.parameters)
    state = tuning.optimizer.state_dict() if tuning.optimizer else {}
    assert (sum(p.numel() for p in tuning.trainable), state_bytes(state)) == expected
