"""Activation checkpointing only where backward reaches, with the kept inputs on the host.

A layer is recomputed in backward when it, or anything below it, is active; the layers under the lowest active
one run as in inference.  (transformers' own switch can make the embedding's output require gradients, and
backward would then run to the bottom.)
"""

import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint as recompute

from chunkft.subtensor import stand_in

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
        offload: on a CUDA device, keep the layers' inputs in pinned host memory, copied on a side stream.

    While gradients are enabled, layers get no generation cache: recomputing would append to it twice.
    """

    def __init__(
        self, model: nn.Module, layers: Iterable[nn.Module] | None = None, *, offload: bool = True
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
        for layer in self.layers:
            layer.forward = Recomputed(layer, layer.forward, shelf, layer is self.layers[-1])

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
    """The members of every outermost list of at least two modules of one class that have parameters."""
    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in model.modules():
        if module in inside or not isinstance(module, nn.ModuleList | nn.Sequential):
            continue
        members = list(module)
        alike = len(members) > 1 and len({type(m) for m in members}) == 1
        if alike and all(any(True for _ in m.parameters()) for m in members):
            found += members
            inside.update(child for member in members for child in member.modules())
    return found


class Recomputed:
    """A layer's forward that keeps its input alone when backward will reach the layer."""

    def __init__(
        self, layer: nn.Module, forward: Callable[..., Any], shelf: "Shelf | None", last: bool
    ) -> None:
        self.layer, self.forward, self.shelf, self.last = layer, forward, shelf, last

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        kwargs = {k: None if k in CACHES else v for k, v in kwargs.items()}
        given = any(isinstance(x, Tensor) and x.requires_grad for x in (*args, *kwargs.values()))
        if self.last or not (given or any(p.requires_grad for p in self.layer.parameters())):
            return self.forward(*args, **kwargs)
        if self.shelf is None:
            return recompute(self.forward, *args, use_reentrant=False, **kwargs)
        # Inside, recompute's own hooks replace these: they see its arguments alone.
        with saved_tensors_hooks(self.shelf.put, self.shelf.take):
            return recompute(self.forward, *args, use_reentrant=False, **kwargs)


class Shelved:
    """A tensor on the host, and its copy on the way back."""

    def __init__(self, host: Tensor, device: torch.device, before: "weakref.ref[Shelved] | None") -> None:
        self.host, self.device, self.before = host, device, before
        self.back: tuple[Tensor, torch.cuda.Event] | None = None
        self.fetched = False


class Shelf:
    """Keeps large CUDA tensors in pinned memory between forward and backward; the next is fetched ahead."""

    def __init__(self) -> None:
        self._streams: list[torch.cuda.Stream] = []
        self._latest: weakref.ref[Shelved] | None = None

    def put(self, x: Tensor) -> Any:
        if not x.is_cuda or x.nbytes < OFFLOAD_BYTES or isinstance(x, nn.Parameter):
            return x
        if not self._streams:
            self._streams = [torch.cuda.Stream(x.device), torch.cuda.Stream(x.device)]
        out = self._streams[0]
        host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
        out.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(out):
            host.copy_(x, non_blocking=True)
        x.record_stream(out)
        shelved = Shelved(host, x.device, self._latest)
        self._latest = weakref.ref(shelved)
        return shelved

    def take(self, kept: Any) -> Tensor:
        if not isinstance(kept, Shelved):
            return kept  # type: ignore[no-any-return]
        self._fetch(kept)
        assert kept.back is not None
        tensor, arrived = kept.back
        kept.back, kept.fetched = None, True
        torch.cuda.current_stream(kept.device).wait_event(arrived)
        before = kept.before() if kept.before else None
        if before is not None and not before.fetched:
            self._fetch(before)
        return tensor

    def _fetch(self, kept: Shelved) -> None:
        if kept.back is not None:
            return
        tensor = torch.empty(kept.host.shape, dtype=kept.host.dtype, device=kept.device)
        out, back = self._streams
        back.wait_stream(out)
        back.wait_stream(torch.cuda.current_stream(kept.device))
        with torch.cuda.stream(back):
            tensor.copy_(kept.host, non_blocking=True)
        kept.back = tensor, back.record_event()
