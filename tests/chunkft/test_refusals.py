"""What ChunkFT refuses, in one sentence that names the argument."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from chunkft import ChunkFT, Slice


def refusals() -> list[tuple[str, Callable[[], Any], type[Exception], str]]:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))

    def frozen() -> nn.Module:
        return model().requires_grad_(False)

    def nan_gradient() -> None:
        m = model()
        before = copy.deepcopy(m)
        optimizer = ChunkFT(m, lr=0.1, chunks=1)
        m(torch.full((1, 4), float("nan"))).sum().backward()
        try:
            optimizer.step()
        finally:
            same = [torch.equal(p, before.state_dict()[n]) for n, p in m.state_dict().items()]
            assert all(same) and optimizer.steps == 0

    def moved() -> None:
        m = model()
        optimizer = ChunkFT(m, lr=0.1, chunks=3)
        m.double()
        optimizer.step()

    def second() -> None:
        m = model()
        ChunkFT(m, lr=0.1, chunks=5)
        ChunkFT(m, lr=0.1, chunks=5)

    def processes() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.distributed, "is_initialized", lambda: True)
            patch.setattr(torch.distributed, "get_world_size", lambda: 2)
            ChunkFT(model(), lr=0.1, chunks=2)

    def added_group() -> None:
        ChunkFT(model(), lr=0.1, chunks=1).add_param_group({"params": []})

    return [
        ("no K", lambda: ChunkFT(model()), ValueError, "chunks=None"),
        ("K = 0", lambda: ChunkFT(model(), chunks=0), ValueError, "chunks=0 must be"),
        ("K too large", lambda: ChunkFT(model(), chunks=13), ValueError, "chunks=13 is above the 12 slices"),
        (
            "K too large",
            lambda: ChunkFT(model(), chunks=99, partition="strided"),
            ValueError,
            "chunks=99 is above the 4",
        ),
        ("T = 0", lambda: ChunkFT(model(), chunks=1, steps_per_chunk=0), ValueError, "steps_per_chunk=0"),
        ("frozen", lambda: ChunkFT(frozen(), chunks=1), ValueError, "no parameter requires a gradient"),
        ("bounds", lambda: ChunkFT(model(), partition=[[Slice("0.weight", (0, 9))]]), IndexError, "rows=0:9"),
        (
            "columns",
            lambda: ChunkFT(model(), partition=[[Slice("0.bias", None, (0, 1))]]),
            IndexError,
            "columns=0:1",
        ),
        (
            "unknown",
            lambda: ChunkFT(model(), partition=[[Slice("9.weight")]]),
            ValueError,
            "'9.weight' is not",
        ),
        ("empty", lambda: ChunkFT(model(), partition=[[]]), ValueError, "chunk 0 is empty"),
        (
            "overlap",
            lambda: ChunkFT(model(), partition=[[Slice("0.weight", (0, 4))], [Slice("0.weight", (3, 6))]]),
            ValueError,
            "overlap",
        ),
        (
            "uncuttable",
            lambda: ChunkFT(nn.Conv2d(2, 2, 3), partition=[[Slice("weight", (0, 1))]]),
            ValueError,
            "only be trained whole",
        ),
        (
            "foreign",
            lambda: ChunkFT(model(), chunks=1, groups=[{"params": [nn.Parameter(torch.ones(3))]}]),
            ValueError,
            "not in the model",
        ),
        (
            "meta",
            lambda: ChunkFT(nn.Linear(2, 2, device="meta"), chunks=1),
            ValueError,
            "'weight' is on the meta",
        ),
        ("memory", lambda: ChunkFT(model(), memory=100), ValueError, "the weights take .* would do"),
        (
            "memory below activations",
            lambda: ChunkFT(model(), memory=2000, activations=9000),
            ValueError,
            "activations .* would do, at chunks=8",
        ),
        (
            "loss that cannot be tried",
            lambda: ChunkFT(model(), memory=9**9, sequence_length=8),
            ValueError,
            "activations: trying the loss .* give a number of bytes",
        ),
        (
            "length and activations",
            lambda: ChunkFT(model(), memory=9**9, sequence_length=8, activations=8),
            ValueError,
            "activations are found from sequence_length",
        ),
        (
            "length without a limit",
            lambda: ChunkFT(model(), chunks=2, sequence_length=8),
            ValueError,
            "sequence_length=8 .* give memory",
        ),
        ("memory's unit", lambda: ChunkFT(model(), memory="3 apples"), ValueError, "memory='3 apples'"),
        (
            "memory and K",
            lambda: ChunkFT(model(), memory=9**9, chunks=2),
            ValueError,
            "memory chooses chunks",
        ),
        ("order", lambda: ChunkFT(model(), chunks=1, order="any"), ValueError, "order='any'"),
        ("partition", lambda: ChunkFT(model(), chunks=1, partition="any"), ValueError, "partition='any'"),
        ("state", lambda: ChunkFT(model(), chunks=1, state="any"), ValueError, "state='any'"),
        ("disk", lambda: ChunkFT(model(), chunks=1, state="disk"), ValueError, "state_dir"),
        ("whole", lambda: ChunkFT(model(), chunks=1, whole=["0"]), ValueError, "whole: '0' is not"),
        ("LBFGS", lambda: ChunkFT(model(), torch.optim.LBFGS, chunks=1), ValueError, "base=LBFGS"),
        ("the base's own", lambda: ChunkFT(model(), chunks=1, lr=-1.0), ValueError, "learning rate"),
        ("group added", added_group, ValueError, "groups="),
        ("nan", nan_gradient, FloatingPointError, "not finite at step 0 .*nothing was updated"),
        ("second", second, ValueError, r"another ChunkFT .* close\(\)"),
        ("processes", processes, ValueError, "train in one process"),
        ("moved", moved, RuntimeError, "'0.weight' was moved"),
    ]


@pytest.mark.parametrize(
    ("call", "error", "message"), [r[1:] for r in refusals()], ids=[r[0] for r in refusals()]
)
def test_refusals_say_what_is_wrong(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_tensors_that_cannot_be_cut_are_named_once() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4, 8))
    with pytest.warns(UserWarning, match="1 tensors are trained whole.*0.weight") as caught:
        ChunkFT(model, lr=0.1, chunks=2)
    assert len(caught) == 1
