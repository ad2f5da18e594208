"""A step's cost is measured in the turns that are meant, and put together from them as stated."""

from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from baselines import Run, Tuning, methods, missing_packages
from workflow.steps.profile import _times, profile, sample, step_seconds, visits

IDS = torch.randint(64, (2, 16), generator=torch.Generator().manual_seed(0))


def loss(model: LlamaForCausalLM) -> torch.Tensor:
    return model(input_ids=IDS, labels=IDS, use_cache=False).loss


def built(method: str, **parameters: object) -> Tuning:
    file = methods()[method]
    if missing := missing_packages(file):
        pytest.skip(f"not installed: pip install {' '.join(missing)}")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))
    return file.build(model, Run(method, 1e-3, 100, 2, parameters={**file.PARAMETERS, **parameters}))


def trained(tuning: Tuning) -> set[tuple[int, int]]:
    """(address, bytes) of the parameters, or slices of them, that require gradients now."""
    weights = {p.untyped_storage().data_ptr() for p in tuning.model.parameters()}
    grouped = (p for group in tuning.optimizer.param_groups for p in group["params"])
    active = [p for p in (*tuning.model.parameters(), *grouped) if p.requires_grad]
    return {(p.data_ptr(), p.nbytes) for p in active if p.untyped_storage().data_ptr() in weights}


def step(tuning: Tuning) -> None:
    tuning.backward(loss(tuning.model))
    tuning.optimizer.step()
    tuning.optimizer.zero_grad()


TAKING_TURNS = {
    "chunkft": {"chunks": 5, "steps_per_chunk": 3, "partition": "contiguous"},
    "hift": {},
    "lisa": {"layers": 1, "period": 3},
    "badam": {"period": 3},
}


@pytest.mark.parametrize("method", TAKING_TURNS)
def test_a_jump_leads_to_the_turn_it_names(method: str) -> None:
    tuning = built(method, **TAKING_TURNS[method])
    assert tuning.turns > 1 and tuning.cycle % tuning.turns == 0
    seen: list[set] = []
    for turn in range(tuning.turns):
        assert tuning.jump is not None
        tuning.jump(turn)
        step(tuning)
        seen.append(trained(tuning))
        for _ in range(tuning.cycle // tuning.turns - 1):
            step(tuning)
            assert trained(tuning) == seen[-1], "the turn ended early"
        assert seen[-1]
    tuning.jump(tuning.turns - 2)
    step(tuning)
    assert trained(tuning) == seen[-2]
    if method != "lisa":  # its layers are drawn, and may be the same twice
        assert len(set(map(frozenset, seen))) == tuning.turns


@pytest.mark.parametrize("method", ["chunkft", "hift"])
def test_turns_have_the_numbers_they_are_trained_by(method: str) -> None:
    plain, jumping = (built(method, **TAKING_TURNS[method]) for _ in range(2))
    ordinary = []
    for _ in range(plain.turns):
        ordinary.append({size for _, size in trained(plain)})
        for _ in range(plain.cycle // plain.turns):
            step(plain)
    for turn in (2, 0, 3):
        assert jumping.jump is not None
        jumping.jump(turn)
        step(jumping)
        assert {size for _, size in trained(jumping)} == ordinary[turn]


def test_the_sample_is_even_and_has_both_ends() -> None:
    assert sample(128, 4) == ([0, 16, 48, 80, 112, 127], [16, 48, 80, 112])
    assert sample(3, 4) == ([0, 1, 2], [0, 1, 2])
    assert sample(1, 4) == ([0], [0])


def test_each_visit_ends_with_a_jump_to_the_next() -> None:
    log: list[object] = []
    tuning = Tuning(
        torch.nn.Linear(1, 1), None, cycle=80, turns=8, jump=lambda turn: log.append(("jump", turn))
    )
    assert list(visits(tuning, [0, 3], 2, lambda: log.append("step"))) == [(0, [None] * 2), (3, [None] * 2)]
    assert log == ["step", ("jump", 3), "step", "step", ("jump", 0), "step"]


def test_times_are_means_over_the_spread_turns_and_a_switch_is_what_the_ends_add() -> None:
    def visit(step: float, ends: float) -> list[list[float]]:
        parts = [step / 2, step / 3, step / 6]
        return [[*parts, step + ends], [*parts, step], [*parts, step], [*parts, step + ends]]

    tuning = Tuning(torch.nn.Linear(1, 1), None, cycle=400, turns=8)
    times = _times(
        {0: visit(60.0, 5.0), 2: visit(6.0, 1.0), 6: visit(12.0, 2.0), 7: visit(99.0, 9.0)}, [2, 6], tuning
    )
    assert (times["step"], times["forward"], times["switch"]) == (9.0, 4.5, 3.0)
    assert (times["step_min"], times["step_max"], times["turn_steps"]) == (6.0, 12.0, 50)
    assert step_seconds(times) == pytest.approx(9.0 + 3.0 / 50)


@pytest.mark.parametrize("method", ["full", "hift", "chunkft"])
def test_the_sections_hold_together(method: str) -> None:
    tuning = built(method, **TAKING_TURNS.get(method, {}))
    found = profile(tuning, loss, 1e-3, "cpu", warmup=1, steps=2, sampled=2)
    memory, times = found["memory"], found["time"]
    parts = sum(memory[part] for part in ("weights", "gradients", "optimizer", "activations"))
    assert parts == memory["peak"] == max(memory["trace"]["bytes"]) > memory["after_load"]
    assert memory["held"]["optimizer"] >= memory["optimizer"]
    assert memory["trace"]["ends"] == sorted(memory["trace"]["ends"])
    assert 0 < times["step_min"] <= times["step_max"]
    assert set(times["by_turn"]) == (
        {str(t) for t in sample(tuning.turns, 2)[0]} if tuning.turns > 1 else set()
    )


class Card:
    """Stands in for the counters of `torch.cuda`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, peaks: list[int]) -> None:
        self.peaks, self.resets = iter(peaks), 0
        answers: dict[str, Callable] = {
            "synchronize": lambda: None,
            "empty_cache": lambda: None,
            "memory_allocated": lambda: 10,
            "max_memory_allocated": lambda: next(self.peaks),
            "max_memory_reserved": lambda: 50,
            "reset_peak_memory_stats": self.reset,
            "mem_get_info": lambda: (30, 100),
            "host_memory_stats": lambda: {},
        }
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, answer)

    def reset(self) -> None:
        self.resets += 1


def test_peaks_are_read_turn_by_turn_and_the_highest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from workflow.steps.profile import Counters

    card = Card(monkeypatch, [20, 40, 30])
    counters = Counters("cuda")
    assert [counters.read() for _ in range(3)] == [20, 40, 30]
    assert (counters.allocated, counters.peak, counters.reserved) == (10, 40, 50)
    assert card.resets == 4
    assert (counters.card(), counters.pinned()) == (70, None)
