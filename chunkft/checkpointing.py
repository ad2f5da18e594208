"""Activation checkpointing only where backward reaches, with the kept inputs on the host.

A layer is recomputed in backward when it, or anything below it, is active; the layers under the lowest active
one run as in inference.  (transformers' own switch can make the embedding's output require gradients, and
backward would then run to the bottom.)
"""

import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint as recompute

from chunkft.subtensor import stand_in

aten = torch.ops.aten
CACHES = ("past_key_values", "past_key_value", "layer_past")  # transformers' names for a generation cache
OFFLOAD_BYTES = 1 << 20  # smaller tensors stay: moving them saves nothing


class checkpoint:
    """Recompute the activations of the model's layers in backward, as far down as backward reaches.

        chunkft.checkpoint(model)                            # until .remove()
        with chunkft.checkpoint(model, layers=[...]): ...    # for the time of the block

    Args:
        model: any module.
        layers: what to recompute as one, in the order they run; by default the members of every outermost
            `ModuleList` or `Sequential` of modules of one class: the blocks of a transformer.  The last one
            is not recomputed, since its backward comes first.
        offload: on a CUDA device, keep the layers' inputs in pinned host memory, copied on a side stream;
            not those of the topmost layer that is recomputed, which are needed first.
        keep_products: also keep the results of matrix products that are wider than their inputs, such as
            those into an MLP.  They are what is dearest to compute again for its size.  With `offload` that
            costs host memory and no device memory, and pays for itself where a layer takes longer than the
            copy: for large batches.  Such results must not be changed in place.

    While gradients are enabled, layers get no generation cache: recomputing would append to it twice.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Iterable[nn.Module] | None = None,
        *,
        offload: bool = True,
        keep_products: bool = False,
    ) -> None:
        self.layers = repeated(model) if layers is None else list(layers)
        if not self.layers:
            raise ValueError("layers: the model has no list of modules of one class; say what to recompute")
        for layer in self.layers:
            if stand_in(layer) is not None:
                raise ValueError(
                    f"layers: a {type(layer).__name__} is too little; give modules made of others"
                )
        shelf = Shelf() if offload else None
        self._own = [vars(layer).get("forward") for layer in self.layers]
        for above, layer in enumerate(reversed(self.layers)):
            layer.forward = Recomputed(layer, layer.forward, shelf, keep_products, above)

    def remove(self) -> None:
        """Give the layers their own forward back."""
        for layer, own in zip(self.layers, self._own, strict=True):
            if own is None:
                vars(layer).pop("forward", None)
            else:
                layer.forward = own

    def __enter__(self) -> "checkpoint":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()


def repeated(model: nn.Module) -> list[nn.Module]:
    """The members of every outermost list of at least two modules of one class, made of others."""
    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in model.modules():
        if module in inside or not isinstance(module, nn.ModuleList | nn.Sequential):
            continue
        members = list(module)
        alike = len(members) > 1 and len({type(m) for m in members}) == 1
        if alike and all(any(True for _ in m.parameters()) and stand_in(m) is None for m in members):
            found += members
            inside.update(child for member in members for child in member.modules())
    return found


class Recomputed:
    """A layer's forward that keeps its input alone when backward will reach the layer."""

    def __init__(
        self,
        layer: nn.Module,
        forward: Callable[..., Any],
        shelf: "Shelf | None",
        keep_products: bool,
        above: int,  # how many layers run after this one
    ) -> None:
        self.layer, self.forward, self.shelf, self.above = layer, forward, shelf, above
        self.keep_products = keep_products

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        kwargs = {k: None if k in CACHES else v for k, v in kwargs.items()}
        given = any(isinstance(x, Tensor) and x.requires_grad for x in (*args, *kwargs.values()))
        if self.above == 0 or not (given or any(p.requires_grad for p in self.layer.parameters())):
            return self.forward(*args, **kwargs)
        contexts: dict[str, Any] = {}
        if self.keep_products:
            contexts["context_fn"] = partial(products_kept, self.shelf)
        # Inside, recompute's own hooks replace these: they see its arguments alone.
        hooks: AbstractContextManager[Any] = nullcontext()
        if self.shelf is not None:
            self.shelf.begin_layer(stays=self.above == 1)
            hooks = saved_tensors_hooks(self.shelf.put, self.shelf.take)
        with hooks:
            return recompute(self.forward, *args, use_reentrant=False, **contexts, **kwargs)


def products_kept(shelf: "Shelf | None") -> tuple["Products", "Products"]:
    """Contexts for a layer's forward and for its recomputation, which takes over what the first has kept."""
    kept: deque[Any] = deque()
    return Products(kept, shelf, again=False), Products(kept, shelf, again=True)


class Products(TorchDispatchMode):
    """Keeps the matrix products that are wider than their input, or gives them back in the same order."""

    def __init__(self, kept: deque[Any], shelf: "Shelf | None", again: bool) -> None:
        super().__init__()
        self.kept, self.shelf, self.again = kept, shelf, again

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is aten.mm.default or function is aten.addmm.default:
            x, weight = args[-2:]
            if weight.shape[1] > x.shape[1]:
                if self.again:
                    kept = self.kept.popleft()
                    return kept if self.shelf is None else self.shelf.take(kept)
                # Detached, since autograd will make the result part of a graph.
                result = function(*args, **(kwargs or {})).detach()
                self.kept.append(result if self.shelf is None else self.shelf.put(result))
                return result.detach()
        return function(*args, **(kwargs or {}))


class Layer:
    """What one run of a layer has on the shelf; fetched as a whole while the layer above is in backward."""

    def __init__(self, below: "weakref.ref[Layer] | None", stays: bool) -> None:
        self.below, self.stays = below, stays
        self.begun = False
        self.members: list[
            weakref.ref[Shelved]
        ] = []  # weak, so that nothing waits for a cycle to be collected


class Shelved:
    """A tensor on the host, and its copy on the way back; or one that stays."""

    def __init__(self, x: Tensor, host: Tensor | None, layer: Layer) -> None:
        self.device, self.host, self.layer = x.device, host, layer
        self.back: tuple[Tensor, torch.cuda.Event | None] | None = (x, None) if host is None else None
        self.taken = False


class Shelf:
    """Keeps large CUDA tensors in pinned memory between forward and backward."""

    def __init__(self) -> None:
        self._streams: list[torch.cuda.Stream] = []
        self._layer = Layer(None, stays=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Shelf":
        return Shelf()  # what is on it belongs to the model it is copied from, and streams cannot be copied

    def begin_layer(self, stays: bool) -> None:
        self._layer = Layer(weakref.ref(self._layer), stays)

    def put(self, x: Tensor) -> Any:
        if not x.is_cuda or x.nbytes < OFFLOAD_BYTES or isinstance(x, nn.Parameter):
            return x
        if self._layer.stays:
            return Shelved(x, None, self._layer)
        if not self._streams:
            self._streams = [torch.cuda.Stream(x.device), torch.cuda.Stream(x.device)]
        out = self._streams[0]
        host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
        out.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(out):
            host.copy_(x, non_blocking=True)
        x.record_stream(out)
        shelved = Shelved(x, host, self._layer)
        self._layer.members.append(weakref.ref(shelved))
        return shelved

    def take(self, kept: Any) -> Tensor:
        if not isinstance(kept, Shelved):
            return kept  # type: ignore[no-any-return]
        self._fetch(kept)
        assert kept.back is not None
        tensor, arrived = kept.back
        kept.taken = True
        if kept.host is not None:
            kept.back = None
        if arrived is not None:
            torch.cuda.current_stream(kept.device).wait_event(arrived)
        below = kept.layer.below() if kept.layer.below else None
        if not kept.layer.begun and below is not None:
            for member in below.members:
                shelved = member()
                if shelved is not None and not shelved.taken:
                    self._fetch(shelved)
        kept.layer.begun = True
        return tensor

    def _fetch(self, kept: Shelved) -> None:
        if kept.back is not None:
            return
        assert kept.host is not None
        tensor = torch.empty(kept.host.shape, dtype=kept.host.dtype, device=kept.device)
        out, back = self._streams
        back.wait_stream(out)
        back.wait_stream(torch.cuda.current_stream(kept.device))
        with torch.cuda.stream(back):
            tensor.copy_(kept.host, non_blocking=True)
        kept.back = tensor, back.record_event()
