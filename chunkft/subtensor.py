"""Gradients of sub-tensors: an active slice is a leaf, and only its part of the gradient is computed.

While slices of a module's weight or bias are active, the module has a child `active_slices` that holds
one leaf parameter per slice, a view of the weight, and its `forward` is one of the stand-ins below.  They
compute what the module computes, from the whole frozen weight, and give gradients to the leaves.  The child
makes the leaves show up in `model.parameters()`, so that they are clipped and zeroed like any parameter, and
keeps them out of `model.state_dict()`.  `release` takes both away again.

Where a weight is also read by anything else than its own module, as by a fused head loss, that use has an
ordinary gradient, made whole; a hook hands the leaves their part of it.
"""

import copy
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from chunkft.partition import Slice

CHILD = "active_slices"
Ranges = tuple[slice, slice]


class ActiveSlices(nn.Module):
    """The leaves of one module's active slices, in the order of `slices`: (attribute, slice) pairs."""

    def __init__(self, slices: list[tuple[str, Slice]], leaves: list[nn.Parameter]) -> None:
        super().__init__()
        self.slices = slices
        for i, leaf in enumerate(leaves):
            self.register_parameter(str(i), leaf)

    def ranges(self) -> tuple[list[Ranges], list[Ranges], list[Tensor]]:
        """Index ranges of the weight's slices, of the bias's, and the leaves of both in that order."""
        found: dict[str, list[Ranges]] = {"weight": [], "bias": []}
        leaves: dict[str, list[Tensor]] = {"weight": [], "bias": []}
        for (attribute, s), leaf in zip(self.slices, self.parameters(), strict=True):
            rows, columns = (*s.index(), slice(None))[:2]
            found[attribute].append((rows, columns))
            leaves[attribute].append(leaf)
        return found["weight"], found["bias"], leaves["weight"] + leaves["bias"]

    # The leaves are views of weights that are saved anyway.
    def _save_to_state_dict(self, *args: Any) -> None:
        pass

    def _load_from_state_dict(self, *args: Any) -> None:
        pass


def autocast_operands(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """What autocast makes of the operands of a linear map; the tensors as they are when it is off."""
    if not torch.is_autocast_enabled(x.device.type):
        return x, weight, bias
    dtype = torch.get_autocast_dtype(x.device.type)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


class MatrixProduct(torch.autograd.Function):
    """y = x W^T + b (`transposed`: y = x W + b), with gradients for x, ranges of W and ranges of b.

    Shapes: x (..., in), W (out, in), or (in, out) when transposed, b (out,).  The gradient of W[r, c] is
    g[:, r]^T x[:, c], so what is computed and held is no larger than the slice.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, transposed, weight_ranges, bias_ranges, *leaves):  # type: ignore[no-untyped-def]
        x, cast_weight, cast_bias = autocast_operands(x, weight, bias)
        y = F.linear(x, cast_weight.T if transposed else cast_weight, cast_bias)
        ctx.transposed, ctx.weight_ranges, ctx.bias_ranges = transposed, weight_ranges, bias_ranges
        ctx.dtypes = [leaf.dtype for leaf in leaves]
        # The weight itself, not autocast's copy of it: nothing is kept that was not there before.
        keep_x = weight_ranges or ctx.needs_input_grad[1]
        ctx.save_for_backward(x if keep_x else None, weight if ctx.needs_input_grad[0] else None)
        return y

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        grad_x = None
        if weight is not None:
            weight = weight.to(g.dtype)
            grad_x = g @ (weight.T if ctx.transposed else weight)
        g = _flat(g)
        x = None if x is None else _flat(x)

        def weight_gradient(rows: slice, columns: slice) -> Tensor:
            return x[:, rows].T @ g[:, columns] if ctx.transposed else g[:, rows].T @ x[:, columns]

        # A whole bias or weight can be active beside a slice of the other.
        all_ = slice(None)
        grad_weight = weight_gradient(all_, all_) if ctx.needs_input_grad[1] else None
        grad_bias = g.sum(0) if ctx.needs_input_grad[2] else None
        grads = [weight_gradient(*ranges) for ranges in ctx.weight_ranges]
        grads += [g[:, channels].sum(0) for channels, _ in ctx.bias_ranges]
        leaf_grads = [grad.to(dtype) for grad, dtype in zip(grads, ctx.dtypes, strict=True)]
        return grad_x, grad_weight, grad_bias, None, None, None, *leaf_grads


class Lookup(torch.autograd.Function):
    """y = W[ids], with gradients for ranges of W.  Shapes: ids (...), W (rows, columns), y (..., columns)."""

    @staticmethod
    def forward(ctx, ids, weight, padding_idx, ranges, *leaves):  # type: ignore[no-untyped-def]
        ctx.padding_idx, ctx.ranges, ctx.shapes = padding_idx, ranges, [leaf.shape for leaf in leaves]
        ctx.rows = weight.shape[0]
        ctx.save_for_backward(ids)
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        (ids,) = ctx.saved_tensors
        ids, g = ids.reshape(-1), _flat(g)
        grads = []
        for (rows, columns), shape in zip(ctx.ranges, ctx.shapes, strict=True):
            start, stop, _ = rows.indices(ctx.rows)
            inside = (ids >= start) & (ids < stop)
            if ctx.padding_idx is not None:
                inside &= ids != ctx.padding_idx
            # Tokens outside add zeros to the first row: picking those inside would wait for the device.
            grad = g[:, columns].masked_fill(~inside[:, None], 0)
            ids_inside = torch.where(inside, ids - start, 0)
            grads.append(torch.ops.aten.embedding_dense_backward(grad, ids_inside, shape[0], -1, False))
        return None, None, None, None, *grads


class ScaleAndShift(torch.autograd.Function):
    """A normalization's output y = n w + b passed on, with gradients for ranges of w and b.

    Shapes: y and n (..., channels), w and b (channels,).  The gradient of w[r] is the sum of g[r] n[r].
    """

    @staticmethod
    def forward(ctx, y, n, weight_ranges, bias_ranges, *leaves):  # type: ignore[no-untyped-def]
        ctx.weight_ranges, ctx.bias_ranges = weight_ranges, bias_ranges
        ctx.dtypes = [leaf.dtype for leaf in leaves]
        ctx.save_for_backward(*[n[..., channels].contiguous() for channels, _ in weight_ranges])
        return y.clone()  # returning y itself would forbid in-place operations on it later

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        flat = _flat(g)
        ranges = zip(ctx.saved_tensors, ctx.weight_ranges, strict=True)
        grads = [(flat[:, channels] * _flat(n)).sum(0) for n, (channels, _) in ranges]
        grads += [flat[:, channels].sum(0) for channels, _ in ctx.bias_ranges]
        return g, None, None, None, *[grad.to(dtype) for grad, dtype in zip(grads, ctx.dtypes, strict=True)]


def _linear(self: Any, input: Tensor) -> Tensor:
    return MatrixProduct.apply(input, *operands(self, False))


def _conv1d(self: Any, x: Tensor) -> Tensor:
    return MatrixProduct.apply(x, *operands(self, True))


def operands(module: Any, *between: Any) -> tuple[Any, ...]:
    """Weight, bias, what is given, ranges and leaves: what a Function of a module with active slices takes.

    What is cut is detached: its gradient goes to the leaves.  What is whole gets its own.
    """
    weight_ranges, bias_ranges, leaves = module.active_slices.ranges()
    weight = module.weight.detach() if weight_ranges else module.weight
    bias = module.bias.detach() if bias_ranges else getattr(module, "bias", None)
    return weight, bias, *between, weight_ranges, bias_ranges, *leaves


def _embedding(self: Any, input: Tensor) -> Tensor:
    ranges, _, leaves = self.active_slices.ranges()
    return Lookup.apply(input, self.weight.detach(), self.padding_idx, ranges, *leaves)


def _normalization(self: Any, x: Tensor, *, neutral: float) -> Tensor:
    weight, bias, weight_ranges, bias_ranges, *leaves = operands(self)
    y = _own_forward(self, weight, bias, x)
    with torch.no_grad():
        n = _own_forward(self, torch.full_like(weight, neutral), None, x) if weight_ranges else None
    return ScaleAndShift.apply(y, n, weight_ranges, bias_ranges, *leaves)


def _own_forward(module: Any, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """What the module's class computes, with another weight and bias."""
    twin = copy.copy(module)
    twin._parameters = {}
    twin.weight, twin.bias = weight, bias
    return type(module).forward(twin, x)  # type: ignore[no-any-return]


def _neutral(module: Any) -> float | None:
    """The weight with which a module computes n when it computes w n (that is 1) or (1 + w) n (0) from x.

    Libraries write their own normalizations, so it is found by trying.  None where it is something else.
    """
    if [name for name, _ in module.named_parameters()] != ["weight"] or module.weight.dim() != 1:
        return None
    generator = torch.Generator().manual_seed(0)
    channels = module.weight.numel()
    x, w = torch.randn(4, channels, generator=generator), torch.randn(channels, generator=generator)

    def y(weight: Tensor) -> Tensor:
        return functional_call(module, {"weight": weight}, (x,))  # type: ignore[no-any-return]

    try:
        with torch.no_grad():
            if torch.allclose(y(w), w * y(torch.ones_like(w)), rtol=1e-4, atol=1e-5):
                return 1.0
            if torch.allclose(y(w), (1 + w) * y(torch.zeros_like(w)), rtol=1e-4, atol=1e-5):
                return 0.0
    except Exception:  # whatever it is, it does not take one tensor as a normalization does
        pass
    return None


StandIn = Callable[..., Tensor]


def stand_in(module: Any) -> StandIn | None:
    """What replaces the module's forward while slices of it are active; None where none can be."""
    kind = type(module)
    if "forward" in vars(module):
        return None  # someone else's forward: what it computes is unknown
    # Exact classes: a subclass may compute anything, or have its weight read by its parent.
    if kind is nn.Linear:
        return _linear
    if kind is nn.Embedding:
        plain = module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
        return _embedding if plain else None
    if kind is nn.LayerNorm:
        return partial(_normalization, neutral=1.0) if len(module.normalized_shape) == 1 else None
    if kind.__name__ == "Conv1D" and hasattr(module, "nf"):
        return _conv1d  # GPT-2's in transformers
    neutral = _neutral(module)
    return None if neutral is None else partial(_normalization, neutral=neutral)


class Sites:
    """Where each parameter of a model is used, and which parameters can be cut.

    A parameter can be cut when every module that holds it has a stand-in; `uncuttable` names the others.
    """

    def __init__(self, model: nn.Module, whole: Iterable[str] = ()) -> None:
        self.parameters = dict(model.named_parameters())
        names = {id(p): name for name, p in self.parameters.items()}
        whole = set(whole)
        if unknown := sorted(whole - self.parameters.keys()):
            raise ValueError(f"whole: {unknown[0]!r} is not a parameter of the model")
        self._owners: dict[str, list[tuple[nn.Module, str]]] = {name: [] for name in self.parameters}
        self._stand_ins: dict[nn.Module, StandIn | None] = {}
        self._hooks: list[RemovableHandle] = []
        self._read_elsewhere: set[str] = set()
        for module in model.modules():
            own = [(key, p) for key, p in module.named_parameters(recurse=False, remove_duplicate=False)]
            for key, p in own:
                self._owners[names[id(p)]].append((module, key))
            if own:
                self._stand_ins[module] = stand_in(module)
        self.uncuttable = {
            name
            for name, owners in self._owners.items()
            if name in whole or any(self._stand_ins[module] is None for module, _ in owners)
        }

    def deactivate(self, model: nn.Module) -> None:
        """Undo `activate`: nothing requires gradients, and every module is as it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        release(model)
        for parameter in self.parameters.values():
            parameter.requires_grad_(False)

    def activate(self, slices: Iterable[Slice]) -> list[nn.Parameter]:
        """Make these slices, and nothing else, require gradients; returns their leaves, in order."""
        leaves: list[nn.Parameter] = []
        at: dict[nn.Module, list[tuple[str, Slice, nn.Parameter]]] = {}
        cut: dict[str, list[tuple[Slice, nn.Parameter]]] = {}
        for s in slices:
            parameter = self.parameters[s.name]
            if s.whole:
                leaves.append(parameter)
                parameter.requires_grad_(True)
                continue
            leaf = nn.Parameter(parameter.detach()[s.index()])  # a view: updating it updates the weight
            leaves.append(leaf)
            cut.setdefault(s.name, []).append((s, leaf))
            for module, attribute in self._owners[s.name]:
                at.setdefault(module, []).append((attribute, s, leaf))
        for module, active in at.items():
            child = ActiveSlices(
                [(attribute, s) for attribute, s, _ in active], [leaf for *_, leaf in active]
            )
            module.add_module(CHILD, child)
            forward = self._stand_ins[module]
            assert forward is not None  # only what can be cut is given in slices
            module.forward = MethodType(forward, module)  # type: ignore[method-assign]
        for name, parts in cut.items():
            # Its own module detaches it; any other use of it is caught.
            weight = self.parameters[name].requires_grad_(True)
            # Torch hides a tensor's hooks from the garbage collector: one that led back to the weight, as a
            # method of this object would, kept every weight alive for good.
            hook = partial(_hand_over, name, parts, self._read_elsewhere)
            self._hooks.append(weight.register_post_accumulate_grad_hook(hook))
        return leaves


def _hand_over(
    name: str, parts: list[tuple[Slice, nn.Parameter]], read_elsewhere: set[str], parameter: Tensor
) -> None:
    """Give the leaves their part of a gradient that was made whole."""
    gradient, parameter.grad = parameter.grad, None
    if gradient is None:  # a compiled graph that takes the weight as an input, and only detaches it
        return
    for s, leaf in parts:
        part = gradient[s.index()]
        leaf.grad = part.clone() if leaf.grad is None else leaf.grad + part
    if name not in read_elsewhere:
        read_elsewhere.add(name)
        warnings.warn(f"{name} is used outside its module: there its gradient is made whole", stacklevel=2)


def release(model: nn.Module) -> nn.Module:
    """Give every module of `model` its own forward back and remove the leaves; returns the model.

    Leaving a chunk does this.  Call it on a copy of a model in training, such as one to be exported.
    """
    for module in list(model.modules()):
        if CHILD in module._modules:
            delattr(module, CHILD)
            del module.forward
    return model
