"""The estimate of a step's time, against arithmetic by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention

from chunkft.fakecuda import fake_cuda
from chunkft.roofline import CARDS, Roofline
from chunkft.watch import Watch

CARD = CARDS["RTX 3090"]
SIZE = 4096


def matrix(dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.empty(SIZE, SIZE, device="cuda", dtype=dtype)


def fused_adamw() -> None:
    weight, gradient, first, second = ([matrix(torch.float32)] for _ in range(4))
    options = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "eps": 1e-8}
    steps = [torch.empty((), device="cuda")]
    torch._fused_adamw_(weight, gradient, first, second, [], steps, amsgrad=False, maximize=False, **options)


KERNELS: dict[str, tuple[Callable[[], object], float]] = {
    "a product of 16-bit matrices": (lambda: matrix() @ matrix(), 2 * SIZE**3 / CARD.matrix),
    "a product in fp32": (lambda: matrix(torch.float32) @ matrix(torch.float32), 2 * SIZE**3 / CARD.fp32),
    "a sum reads two and writes one": (lambda: matrix() + matrix(), 3 * 2 * SIZE**2 / CARD.bandwidth),
    "in place reads and writes": (lambda: matrix().mul_(2), 2 * 2 * SIZE**2 / CARD.bandwidth),
    "setting only writes": (lambda: matrix().zero_(), 2 * SIZE**2 / CARD.bandwidth),
    "views and empty tensors are free": (lambda: matrix().t()[:7].view(torch.int16), 0.0),
    "a number spread out is read once": (
        lambda: matrix() + torch.empty((), device="cuda", dtype=torch.bfloat16).expand(SIZE, SIZE),
        (2 * 2 * SIZE**2 + 2) / CARD.bandwidth,
    ),
    "a lookup reads the rows it returns": (
        lambda: embedding(torch.empty(8, device="cuda", dtype=torch.long), matrix()),
        2 * 8 * SIZE * 2 / CARD.bandwidth,
    ),
    "to the host, by the link": (lambda: matrix().to("cpu"), 2 * SIZE**2 / CARD.link),
    "to the device, beside what it computes": (
        lambda: (torch.empty(SIZE, SIZE).to("cuda"), matrix().zero_()),
        4 * SIZE**2 / CARD.link,
    ),
    "AdamW reads four and writes three": (fused_adamw, 7 * 4 * SIZE**2 / CARD.bandwidth),
}


@pytest.mark.parametrize("what", KERNELS)
def test_kernels(what: str) -> None:
    kernel, seconds = KERNELS[what]
    roofline = Roofline()
    with fake_cuda(), Watch(roofline):
        roofline.step()
        roofline.step()  # the first is left out
        kernel()
    assert roofline.seconds()["RTX 3090"] == pytest.approx(seconds, rel=0.01)


@pytest.mark.parametrize(("causal", "share"), [(False, 1.0), (True, 0.5)])
def test_attention(causal: bool, share: float) -> None:
    """Two products forward and five backward of a length by a length by a width, for each head."""
    sequences, heads, length, width = 4, 8, 2048, 128
    roofline = Roofline()
    with fake_cuda(), Watch(roofline):
        shape = sequences, heads, length, width
        q = torch.empty(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        k, v = torch.empty_like(q), torch.empty_like(q)
        roofline.step()
        roofline.step()
        out = scaled_dot_product_attention(q, k, v, is_causal=causal)
        forward = roofline.seconds()["RTX 3090"]
        out.sum().backward()
    flops = 2 * sequences * heads * length**2 * width * share / CARD.matrix
    assert forward == pytest.approx(2 * flops, rel=0.01)
    assert roofline.seconds()["RTX 3090"] == pytest.approx(7 * flops, rel=0.05)
