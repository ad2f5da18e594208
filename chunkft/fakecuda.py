"""A CUDA device that is not there: its tensors have shapes and no data, and all else is as on a real one.

Within `fake_cuda()` what is put on "cuda" is on torch's meta device and says that it is on CUDA, so that code
that trains on a GPU runs as it would there, without memory and in seconds.  Tensors on the host are real;
copying to them from the device writes nothing.  A number read from the device is 1.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from chunkft.watch import Watch

aten = torch.ops.aten
NUMBER, CONVERT, COPY = aten._local_scalar_dense.default, aten._to_copy.default, aten.copy_.default
CUDA, META = torch.device("cuda", 0), torch.device("meta")
IS_META: Any = torch._C.TensorBase.is_meta.__get__  # type: ignore[attr-defined]


@contextlib.contextmanager
def fake_cuda() -> Iterator[Watch]:
    """For one thread, and not while CUDA itself is used.  Gives what shows the operators that run."""
    for mode in _get_current_dispatch_mode_stack():
        if isinstance(mode, Kernels):  # it is there already
            yield mode
            return
    cuda: dict[str, Any] = {
        "Stream": Stream,
        "Event": Stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "current_stream": lambda device=None: Stream(),
        "synchronize": lambda device=None: None,
    }
    _device_constructors()  # finds torch.empty once and for all: before it is replaced
    with (
        patch("torch.Generator", Generator),
        patch("torch.empty", _empty),
        patch.multiple(torch.cuda, **cuda),
        patch.multiple(Tensor, **CLAIMS),
        Masquerade(),
        Kernels() as kernels,
    ):
        yield kernels


def _claim(name: str, claim: Any) -> property:
    """A tensor attribute that kernels, which run with torch functions disabled, see as it is."""
    truth = getattr(torch._C.TensorBase, name).__get__

    def answer(tensor: Tensor) -> Any:
        kernel = torch._C._is_torch_function_all_disabled()
        with torch._C.DisableTorchFunction():
            return truth(tensor) if kernel or not IS_META(tensor) else claim

    return property(answer)


CLAIMS: dict[str, Any] = {
    "device": _claim("device", CUDA),
    "is_cuda": _claim("is_cuda", True),
    "is_meta": _claim("is_meta", False),
    "record_stream": lambda tensor, stream: None,
}


def _translated(device: Any) -> Any:
    """The meta device for a CUDA one, as object or text; anything else as it is."""
    given = isinstance(device, torch.device) and device.type == "cuda"
    return META if given or isinstance(device, str) and device.split(":")[0] == "cuda" else device


_real_empty = torch.empty


def _empty(*args: Any, **kwargs: Any) -> Tensor:
    """`torch.empty`, also where a dispatch mode calls it: function modes are off then."""
    kwargs.pop("pin_memory", None)
    if "device" in kwargs:
        kwargs["device"] = _translated(kwargs["device"])
    return _real_empty(*args, **kwargs)


class Masquerade(TorchFunctionMode):
    """Turns calls that are about CUDA into calls about the meta device."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is Tensor.cuda:
            return args[0].to(META)
        if function in (Tensor.backward, torch.autograd.backward):
            return self._backward(*args, **kwargs)
        if function is torch.nn.functional.scaled_dot_product_attention:
            return attention(*args, **kwargs)
        if function is torch.nn.functional.dropout:
            return dropout(*args, **kwargs)
        if "device" in kwargs:
            kwargs = {**kwargs, "device": _translated(kwargs["device"])}
        if function is Tensor.to:
            args = tuple(_translated(x) for x in args)
        kwargs.pop("pin_memory", None)
        return function(*args, **kwargs)

    def _backward(
        self,
        loss: Tensor,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        if gradient is not None or create_graph or inputs is not None:
            raise NotImplementedError("without data, backward goes from one loss to all leaves")
        ones = torch.ones_like(loss)
        # A mode is off while it handles a call; hooks and recomputed layers need it on.
        with self:
            torch.autograd.Variable._execution_engine.run_backward(
                (loss,), (ones,), bool(retain_graph), False, (), allow_unreachable=True, accumulate_grad=True
            )


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """By the kernels CUDA has for it, which never hold the scores; on "meta" torch chooses others.

    Flash attention takes fewer heads of keys and values than of queries as they are.
    """
    if attn_mask is None:
        flash = aten._scaled_dot_product_flash_attention
        return flash(query, key, value, dropout_p, is_causal, scale=scale)[0]  # type: ignore[no-any-return]
    saved = query.requires_grad or key.requires_grad or value.requires_grad
    efficient = aten._scaled_dot_product_efficient_attention
    result = efficient(query, key, value, attn_mask, saved, dropout_p, is_causal, scale=scale)
    return result[0]  # type: ignore[no-any-return]


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """By CUDA's one kernel, which keeps a mask of bytes; on "meta" torch makes a mask like the input."""
    if not training or not 0 < p < 1:
        return torch.dropout_(input, p, training) if inplace else torch.dropout(input, p, training)
    result = torch.native_dropout(input, p, True)[0]
    return input.copy_(result) if inplace else result


class Kernels(Watch):
    """Runs operators on shapes, and those that need data too: reading numbers, copying to the host."""

    def __init__(self) -> None:
        super().__init__()
        # Of an operator that makes a new tensor, by arguments: its shape, strides and dtype, since finding
        # that out takes torch far longer than making the tensor.  Of others None.
        self._seen: dict[Any, dict[Any, tuple[Any, Any, torch.dtype]] | None] = {}

    def run(self, function: Any, args: Any, kwargs: Any) -> Any:
        with torch._C.DisableTorchFunction():
            if function is NUMBER and args[0].is_meta:
                return torch.ones((), dtype=args[0].dtype).item()
            if function is CONVERT and args[0].is_meta and "device" in kwargs:
                return torch.empty_like(args[0], **{k: v for k, v in kwargs.items() if k != "non_blocking"})
            if function is COPY and args[1].is_meta and not args[0].is_meta:
                return args[0]
            return self._on_shapes(function, args, kwargs)

    def _on_shapes(self, function: Any, args: Any, kwargs: Any) -> Any:
        if function not in self._seen:
            self._seen[function] = {} if _makes_new_tensor(function) else None
        seen = self._seen[function]
        if seen is None or "device" in kwargs:
            return function(*args, **kwargs)
        try:
            key = _shapes(args), _shapes(tuple(kwargs.items()))
            made = seen.get(key)
        except TypeError:  # an argument that cannot be hashed
            return function(*args, **kwargs)
        if made is not None:
            return torch.empty_strided(*made[:2], dtype=made[2], device=META)
        result = function(*args, **kwargs)
        if isinstance(result, Tensor) and result.is_meta:
            seen[key] = result.shape, result.stride(), result.dtype
        return result


def _makes_new_tensor(function: Any) -> bool:
    """Whether the operator returns one tensor that shares its storage with no other."""
    schema = function._schema
    aliases = any(x.alias_info is not None for x in (*schema.arguments, *schema.returns))
    one = len(schema.returns) == 1 and str(schema.returns[0].type) == "Tensor"
    # Views in effect, whatever their schema says.
    return one and not aliases and function.namespace == "aten" and "unsafe" not in function.name()


def _shapes(x: Any) -> Any:
    """A key for an argument: of a tensor its shape, strides and dtype; 1, 1.0 and True are different."""
    if isinstance(x, Tensor):
        if not IS_META(x):
            raise TypeError("a real tensor's data may matter")
        return x.shape, x.stride(), x.dtype
    if isinstance(x, (list, tuple)):
        return tuple(_shapes(y) for y in x)
    return type(x), x


class Stream:
    """Of work that is done at once; stands for events too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def wait_stream(self, stream: "Stream") -> None: ...

    def wait_event(self, event: "Stream") -> None: ...

    def record_event(self) -> "Stream":
        return self

    def synchronize(self) -> None: ...


class Generator(torch.Generator):
    """torch's own on the host; on the device one of random numbers that nobody reads."""

    _place: torch.device

    def __new__(cls, device: Any = "cpu") -> "Generator":
        generator = super().__new__(cls)
        generator._place = torch.device(device)
        return generator

    def __init__(self, device: Any = "cpu") -> None: ...

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self._place
