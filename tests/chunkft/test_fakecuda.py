"""What the device that is not there does as CUDA does, where torch's own meta device does otherwise."""

from typing import Any

import pytest
import torch
from torch.nn.functional import dropout

from chunkft.fakecuda import fake_cuda
from chunkft.watch import LiveBytes, Watch


@pytest.mark.parametrize(("training", "inplace"), [(True, False), (True, True), (False, False)])
def test_dropout_keeps_a_mask_of_bytes(training: bool, inplace: bool) -> None:
    elements = 1000
    with fake_cuda():
        x = torch.empty(elements, device="cuda", requires_grad=True)
        x = x * 1
        level = LiveBytes([x])
        with Watch(level):
            y = dropout(x, 0.1, training, inplace)
        assert y.device.type == "cuda" and y.requires_grad
        made = level.live["cuda"] - 4 * elements
        assert made == (0 if not training else elements * (1 if inplace else 4 + 1))


def test_within_itself_it_is_one_device_that_shows_each_operator_once() -> None:
    class Names:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def observe(self, function: Any, args: Any, kwargs: Any, results: Any) -> None:
            self.seen.append(function.__name__)

    names = Names()
    with fake_cuda() as card:
        x = torch.empty(3, device="cuda")
        with fake_cuda() as same, same.showing(names):
            x + x
        assert same is card and torch.ones(2, device="cuda").is_cuda
    assert names.seen == ["add.Tensor"]
