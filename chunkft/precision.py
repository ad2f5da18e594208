"""fp32 masters of 16-bit weights, kept as what the weight leaves out; and stochastic rounding.

A bf16 weight is the upper half of its fp32 master, rounded; the signed lower 16 bits are the residual:

    bits(master) = bits(weight) * 2^16 + residual,    -2^15 <= residual < 2^15

so weight and residual together are the master, exactly, in 4 bytes and not 6.  An fp16 weight is no part of
an fp32 number, and its residual is the fp32 difference, which is exact too.
"""

import torch
from torch import Tensor


def needs_master(dtype: torch.dtype) -> bool:
    return dtype in (torch.bfloat16, torch.float16)


def join(weight: Tensor, residual: Tensor | None) -> Tensor:
    """The fp32 master, a new tensor; without a residual, the weight's own value."""
    if residual is None:
        return weight.float()
    if weight.dtype == torch.float16:
        return weight.float().add_(residual)
    return weight.view(torch.int16).to(torch.int32).bitwise_left_shift_(16).add_(residual).view(torch.float32)


def split_(master: Tensor, weight: Tensor, residual: Tensor) -> None:
    """Write the master into `weight`, rounded to nearest, and `residual`.  Overwrites `master`."""
    if master.dim() == 0:
        master, weight, residual = master[None], weight[None], residual[None]
    if weight.dtype == torch.float16:
        weight.copy_(master)
        residual.copy_(master.sub_(weight))
        return
    bits = master.view(torch.int32)
    halves = bits.view(torch.int16).unflatten(-1, (-1, 2))  # (..., lower and upper half); little-endian
    residual.copy_(halves[..., 0])
    bits.add_(1 << 15)  # carries into the upper half where the lower one is at least one half
    weight.view(torch.int16).copy_(halves[..., 1])


def empty_residual(weight: Tensor) -> Tensor:
    dtype = torch.int16 if weight.dtype == torch.bfloat16 else torch.float32
    return torch.empty(weight.shape, dtype=dtype, device=weight.device)


def round_stochastically(x: Tensor, generator: torch.Generator) -> Tensor:
    """fp32 to bf16, up or down with probability by distance, so that the rounding error has mean zero.

    Round to nearest would freeze a second moment with beta2 = 0.999, whose steps are below half a unit.
    """
    noise = torch.randint(0, 1 << 16, x.shape, dtype=torch.int32, device=x.device, generator=generator)
    bits = x.contiguous().view(torch.int32).add(noise)
    return bits.view(torch.int16).unflatten(-1, (-1, 2))[..., 1].contiguous().view(torch.bfloat16)
