"""What operators are run and what storages they make, seen from within."""

import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode


class Watch(TorchDispatchMode):
    """Shows every operator that runs, with its arguments and results, to `observers`."""

    def __init__(self, *observers: Any) -> None:
        super().__init__()
        self.observers = observers

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        results = self.run(function, args, kwargs)
        for observer in self.observers:
            observer.observe(function, args, kwargs, results)
        return results

    def run(self, function: Any, args: Any, kwargs: Any) -> Any:
        return function(*args, **kwargs)

    @contextmanager
    def showing(self, *observers: Any) -> Iterator[None]:
        """Within the context to these too."""
        before = self.observers
        self.observers = (*before, *observers)
        try:
            yield
        finally:
            self.observers = before


class LiveBytes:
    """Bytes of storages by type of device: of those alive, and the most there ever were at a time.

    Counted are those of `found`, and of what operators make.
    """

    def __init__(self, found: Iterable[Tensor] = ()) -> None:
        self.live: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.sizes: dict[str, dict[int, int]] = defaultdict(dict)  # bytes of live storages by their numbers
        self._places: dict[int, Place] = {}  # of live storages, by address
        self._made = 0
        for tensor in found:
            self.count(tensor)

    def observe(self, function: Any, args: Any, kwargs: Any, results: Any) -> None:
        for tensor in tensors(results):
            self.count(tensor)

    def count(self, tensor: Tensor) -> "Place":
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address not in self._places:
            device, size = tensor.device.type, storage.nbytes()
            place = Place(storage, self.forget)
            place.address, place.device, place.number = address, device, self._made
            self._places[address] = place
            self.sizes[device][self._made] = size
            self._made += 1
            self.live[device] += size
            self.peak[device] = max(self.peak[device], self.live[device])
        return self._places[address]

    def forget(self, place: "Place") -> None:
        """Its storage is gone."""
        del self._places[place.address]
        self.live[place.device] -= self.sizes[place.device].pop(place.number)


class Place(weakref.ref[UntypedStorage]):
    """A storage that was counted."""

    __slots__ = ("address", "device", "number")
    address: int
    device: str
    number: int  # which no other storage has


def tensors(value: Any) -> Sequence[Tensor]:
    """Those among an operator's arguments or results, which may be in lists and tuples."""
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, (list, tuple)):
        return [t for each in value for t in tensors(each)]
    return ()
