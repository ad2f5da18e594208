"""Cross-entropy over a vocabulary without ever holding all logits, forward or backward."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from chunkft.subtensor import CHILD, autocast_operands, operands

# Logits held at one time: as many as the hidden states have elements, or these, 32 MiB in fp32, where that
# is more; with a large vocabulary more still.  Short products are slow, and so are those that fill the last
# of a matrix unit's tiles badly.
BLOCK_LOGITS = 1 << 23
SHORTEST = 256
TILE = 128


def head_loss(
    hidden: Tensor,
    head: nn.Linear,
    labels: Tensor,
    *,
    ignore_index: int = -100,
    count: Tensor | float | None = None,
) -> Tensor:
    """`F.cross_entropy(head(hidden).float(), labels)`, in blocks of tokens.

        hidden = model.model(input_ids).last_hidden_state
        loss = head_loss(hidden[:, :-1], model.lm_head, labels[:, 1:])

    Args:
        hidden: (..., width).
        head: (vocabulary, width) weight, and bias if any; slices of it may be active.
        labels: (...), of class indices; where it is `ignore_index` there is no loss.
        count: what the sum over labels is divided by; by default their number.

    Returns a scalar, in fp32 for hidden states in 16 bits.  Backward computes the logits a second time.  Of
    the head's gradient it computes what is active, each row in one product: no sum is kept in 16 bits.
    """
    if type(head) is not nn.Linear:
        raise TypeError(f"head must be a torch.nn.Linear, not {type(head).__name__}")
    if hidden.shape[:-1] != labels.shape:
        raise ValueError(f"labels has shape {tuple(labels.shape)}; it must be {tuple(hidden.shape[:-1])}")
    labels = labels.reshape(-1)
    if count is None:
        count = (labels != ignore_index).sum()
    given = labels, ignore_index
    sliced = CHILD in head._modules
    arguments = operands(head, *given) if sliced else (head.weight, head.bias, *given, [], [])
    hidden = hidden.reshape(-1, hidden.shape[-1])
    total: Tensor = BlockwiseCrossEntropy.apply(hidden, *arguments)
    return total / count


def _length(other: int, h: Tensor) -> int:
    """Tokens or rows of a block of logits, given its `other` dimension."""
    return max(SHORTEST, max(BLOCK_LOGITS, h.numel()) // max(other, 1) // TILE * TILE)


class BlockwiseCrossEntropy(torch.autograd.Function):
    """sum_i logsumexp(z_i) - z_i[label_i], z = h W^T + b.  Shapes: h (N, width), W (V, width), label (N,)."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
        labels, ignore_index, ctx.weight_ranges, ctx.bias_ranges, *leaves = rest
        h, cast_weight, cast_bias = autocast_operands(h, weight, bias)
        counted = labels != ignore_index
        labels = labels.where(counted, 0)
        wide = torch.promote_types(h.dtype, torch.float32)
        lse = torch.empty(len(h), dtype=wide, device=h.device)
        total = torch.zeros((), dtype=wide, device=h.device)
        step = _length(len(weight), h)
        for start in range(0, len(h), step):
            block = slice(start, start + step)
            label = labels[block, None]
            logits = F.linear(h[block], cast_weight, cast_bias)
            picked = logits.gather(-1, label).squeeze(-1)
            loss = -F.log_softmax(logits, -1, dtype=wide).gather(-1, label).squeeze(-1)
            lse[block] = loss + picked
            total += loss.masked_fill_(~counted[block], 0).sum()
        lse.masked_fill_(~counted, float("inf"))  # no probability, no gradient
        ctx.save_for_backward(h, weight, bias, labels, counted, lse)
        ctx.dtypes = [leaf.dtype for leaf in leaves]
        return total

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        h, weight, bias, labels, counted, lse = ctx.saved_tensors
        weight, bias = weight.to(h.dtype), None if bias is None else bias.to(h.dtype)

        def logits_gradient(tokens: slice, rows: range) -> Tensor:
            """(softmax(z) - onehot(label)) g for some tokens and some of the vocabulary."""
            classes = slice(rows.start, rows.stop)
            z = F.linear(h[tokens], weight[classes], None if bias is None else bias[classes])
            p = (z - lse[tokens, None]).exp_()
            label = labels[tokens] - rows.start
            inside = (label >= 0) & (label < len(rows)) & counted[tokens]
            p.scatter_add_(-1, label.where(inside, 0)[:, None], -inside.to(p.dtype)[:, None])
            return torch.mul(p, g, out=z)

        grad_h = None
        if ctx.needs_input_grad[0]:
            grad_h = torch.empty_like(h)
            step = _length(len(weight), h)
            for start in range(0, len(h), step):
                tokens = slice(start, start + step)
                torch.mm(logits_gradient(tokens, range(len(weight))), weight, out=grad_h[tokens])

        def rows_of(ranges: slice) -> list[range]:
            start, stop, _ = ranges.indices(len(weight))
            step = _length(len(h), h)
            return [range(row, min(row + step, stop)) for row in range(start, stop, step)]

        everything = slice(None)

        def weight_gradient(rows: slice, columns: slice) -> Tensor:
            start, stop, _ = rows.indices(len(weight))
            grad = h.new_empty(stop - start, len(range(h.shape[1])[columns]))
            for block in rows_of(rows):
                part = grad[block.start - start : block.stop - start]
                torch.mm(logits_gradient(everything, block).T, h[:, columns], out=part)
            return grad

        def bias_gradient(rows: slice) -> Tensor:
            return torch.cat([logits_gradient(everything, block).sum(0) for block in rows_of(rows)])

        grad_weight = weight_gradient(everything, everything) if ctx.needs_input_grad[1] else None
        grad_bias = bias_gradient(everything) if ctx.needs_input_grad[2] else None
        grads = [weight_gradient(*ranges) for ranges in ctx.weight_ranges]
        grads += [bias_gradient(rows) for rows, _ in ctx.bias_ranges]
        leaf_grads = [grad.to(dtype) for grad, dtype in zip(grads, ctx.dtypes, strict=True)]
        return grad_h, grad_weight, grad_bias, None, None, None, None, *leaf_grads
