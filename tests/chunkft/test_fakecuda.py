"""What the device that is not there does as CUDA does, where torch's own meta device does otherwise."""

import pytest
import torch
from torch.nn.functional import dropout

from chunkft.fakecuda import fake_cuda
from chunkft.memory import LiveBytes, Watch


@pytest.mark.parametrize(("training", "inplace"), [(True, False), (True, True), (False, False)])
def test_dropout_keeps_a_mask_of_bytes(training: bool, inplace: bool) -> None:
    elements = 1000
    with fake_cuda():
        x = torch.empty(elements, device="cuda", requires_grad=True)
        x = x * 1
        live = LiveBytes("cuda", [x])
        with Watch(live):
            y = dropout(x, 0.1, training, inplace)
        assert y.device.type == "cuda" and y.requires_grad
        assert live.live - 4 * elements == (0 if not training else elements * (1 if inplace else 4 + 1))
