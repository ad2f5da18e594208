"""N steps are N/2, save, load, N/2, bit for bit: in mid-chunk, in mid-sum, with every policy."""

import copy
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chunkft import ChunkFT

Loss = Callable[[nn.Module], Tensor]

BATCHES = torch.randn(24, 3, 6, generator=torch.Generator().manual_seed(0))


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.LayerNorm(16), nn.Linear(16, 6)).to(dtype)


def advance(model: nn.Module, optimizer: ChunkFT, start: int, stop: int, accumulate: int) -> None:
    """Micro-batches start to stop, with an update after every `accumulate`-th."""
    dtype = next(model.parameters()).dtype
    for i in range(start, stop):
        (model(BATCHES[i].to(dtype)) - BATCHES[i].to(dtype)).square().mean().backward()
        if (i + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)  # type: ignore[no-any-return]


OPTIONS: dict[str, dict[str, Any]] = {
    "fp32": {"state": "fp32"},
    "bf16": {"state": "bf16"},
    "bf16-streamed": {"state": "bf16", "resident": False},
    "reset": {"state": "reset"},
    "disk": {"state": "disk"},
    "shuffled": {"state": "fp32", "order": "shuffled", "seed": 3},
    "strided": {"state": "fp32", "partition": "strided"},
    "SGD": {"state": "fp32", "base": torch.optim.SGD, "momentum": 0.9},
    "Adafactor": {"state": "fp32", "base": torch.optim.Adafactor},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("accumulate", "stop"), [(1, 13), (2, 11), (1, 12)]
)  # in a chunk, a sum, at a switch
@pytest.mark.parametrize("name", OPTIONS)
def test_resuming_is_exact(name: str, accumulate: int, stop: int, dtype: torch.dtype, tmp_path: Path) -> None:
    def optimizer(model: nn.Module, place: str) -> ChunkFT:
        own = {"state_dir": tmp_path / place} if name == "disk" else {}
        return ChunkFT(model, lr=1e-2, **{"chunks": 3, "steps_per_chunk": 2, **OPTIONS[name], **own})

    whole = network(dtype)
    whole_optimizer = optimizer(whole, "whole")
    advance(whole, whole_optimizer, 0, 24, accumulate)

    first = network(dtype)
    first_optimizer = optimizer(first, "first")
    advance(first, first_optimizer, 0, stop, accumulate)
    saved = through_a_file({"model": first.state_dict(), "optimizer": first_optimizer.state_dict()})
    second = network(dtype)
    second_optimizer = optimizer(second, "second")
    second.load_state_dict(saved["model"])
    second_optimizer.load_state_dict(saved["optimizer"])
    advance(second, second_optimizer, stop, 24, accumulate)

    assert_same(whole.state_dict(), second.state_dict())
    assert_same(whole_optimizer.state_dict(), second_optimizer.state_dict())
    unlike = first.state_dict()["0.weight"]
    assert not torch.equal(whole.state_dict()["0.weight"], unlike)


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def test_loading_leaves_the_saved_state_alone() -> None:
    model = network()
    optimizer = ChunkFT(model, lr=1e-2, chunks=2, steps_per_chunk=5)
    advance(model, optimizer, 0, 3, 1)
    saved = copy.deepcopy(optimizer.state_dict())
    kept = copy.deepcopy(saved)
    optimizer.load_state_dict(saved)
    advance(model, optimizer, 3, 9, 1)
    assert_same(saved, kept)


def test_state_is_tensors_numbers_and_text(llama: tuple[nn.Module, Loss]) -> None:
    model, loss = llama
    optimizer = ChunkFT(model, lr=1e-2, chunks=3, steps_per_chunk=1)
    for _ in range(4):
        loss(model).backward()
        optimizer.step()

    def leaves(value: Any) -> Any:
        if isinstance(value, dict | list | tuple):
            for item in value.values() if isinstance(value, dict) else value:
                yield from leaves(item)
        else:
            yield value

    assert {type(v) for v in leaves(optimizer.state_dict())} <= {Tensor, int, float, str, bool, type(None)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"chunks": 4}, "chunks=3 there, 4 here"),
        ({"steps_per_chunk": 7}, "steps_per_chunk=2 there, 7 here"),
        ({"order": "reversed"}, "order=cyclic there, reversed here"),
        ({"partition": "strided"}, "slices are cut elsewhere"),
        ({"state": "fp32"}, "state=reset there, fp32 here"),
        ({"base": torch.optim.SGD}, "base=AdamW there, SGD here"),
    ],
)
def test_state_of_another_run_is_refused_with_the_difference(changed: dict[str, Any], message: str) -> None:
    options = {"chunks": 3, "steps_per_chunk": 2}
    saved = ChunkFT(network(), lr=1e-2, **options).state_dict()
    other = ChunkFT(network(), lr=1e-2, **{**options, **changed})
    with pytest.raises(ValueError, match=f"state_dict is of another run: .*{message}"):
        other.load_state_dict(saved)


def test_state_of_another_model_is_refused_with_the_difference() -> None:
    saved = ChunkFT(network(), lr=1e-2, chunks=3).state_dict()
    other = ChunkFT(
        nn.Sequential(nn.Linear(6, 17), nn.Tanh(), nn.LayerNorm(17), nn.Linear(17, 6)), lr=1e-2, chunks=3
    )
    with pytest.raises(ValueError, match=r"parameters: 0.weight is \(16, 6\) torch.float32 there, \(17, 6\)"):
        other.load_state_dict(saved)
    with pytest.raises(ValueError, match="state_dict is of another run"):
        other.load_state_dict(torch.optim.AdamW(network().parameters()).state_dict())


def test_random_switch_points_resume_exactly() -> None:
    """A property: any K, T, place to stop."""
    rng = random.Random(0)
    for _ in range(10):
        options = {
            "chunks": rng.randrange(1, 8),
            "steps_per_chunk": rng.randrange(1, 6),
            "partition": rng.choice(["contiguous", "strided"]) if rng.random() < 0.5 else "contiguous",
            "order": rng.choice(["cyclic", "reversed", "shuffled"]),
        }
        options["chunks"] = min(options["chunks"], 6)
        stop = rng.randrange(1, 24)
        whole, first, second = network(), network(), network()
        advance(whole, ChunkFT(whole, lr=1e-2, **options), 0, 24, 1)
        advance(first, one := ChunkFT(first, lr=1e-2, **options), 0, stop, 1)
        two = ChunkFT(second, lr=1e-2, **options)
        second.load_state_dict(first.state_dict())
        two.load_state_dict(through_a_file(one.state_dict()))
        advance(second, two, stop, 24, 1)
        assert_same(whole.state_dict(), second.state_dict())
