"""Which sub-tensors make up each chunk, and which chunk is active at which step."""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch

ORDERS = ("cyclic", "reversed", "shuffled")

# Below this many rows a slice is cut anywhere; above it, at a multiple of 8, which is what the
# 16-byte loads of tensor-core matrix products want from a 16-bit operand.
ALIGNED_ROWS = 64


@dataclass(frozen=True)
class Slice:
    """Rows `start <= i < stop` and columns `start <= j < stop` of one parameter; None stands for all.

    `name` is the parameter's name in `model.named_parameters()`.  Rows are dimension 0 as the
    parameter is stored, columns dimension 1; a vector has rows only.
    """

    name: str
    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None

    @property
    def whole(self) -> bool:
        return self.rows is None and self.columns is None

    def index(self) -> tuple[slice, ...]:
        """What to index the parameter with."""
        if self.whole:
            return ()
        rows = slice(*self.rows) if self.rows else slice(None)
        return (rows, slice(*self.columns)) if self.columns else (rows,)

    def check(self, shape: torch.Size) -> "Slice":
        """The same range with None for a range that covers its dimension; IndexError when out of bounds."""
        ranges: list[tuple[int, int] | None] = []
        for what, dim, given in (("rows", 0, self.rows), ("columns", 1, self.columns)):
            if given is None:
                ranges.append(None)
                continue
            size = shape[dim] if dim < len(shape) else 0
            start, stop = given
            if not 0 <= start < stop <= size:
                raise IndexError(
                    f"{what}={start}:{stop} of {self.name!r} is out of bounds: "
                    f"give 0 <= start < stop <= {size} (its shape is {tuple(shape)})"
                )
            ranges.append(None if (start, stop) == (0, size) else (start, stop))
        return Slice(self.name, *ranges)

    def __str__(self) -> str:
        if self.whole:
            return self.name
        ranges = ["{}:{}".format(*r) if r else ":" for r in (self.rows, self.columns)]
        return f"{self.name}[{', '.join(ranges if self.columns else ranges[:1])}]"


Chunks = list[list[Slice]]


def _rows(parameter: torch.Tensor, cut: bool) -> int:
    """Units a parameter can be cut into: the rows of a matrix; the rest is taken whole."""
    return parameter.shape[0] if cut and parameter.dim() == 2 else 1


def _slice(name: str, start: int, stop: int, rows: int) -> Slice:
    return Slice(name) if (start, stop) == (0, rows) else Slice(name, (start, stop))


def _aligned(row: int, rows: int, length: float) -> int:
    if length < ALIGNED_ROWS or row in (0, rows):
        return row
    return min(rows, (row + 4) // 8 * 8)


def contiguous(parameters: Mapping[str, torch.Tensor], cut: set[str], chunks: int) -> Chunks:
    """Cut the parameters, in their order, into `chunks` runs of equal bytes, none empty."""
    names = list(parameters)
    rows = [_rows(parameters[n], n in cut) for n in names]
    row_bytes = [p.nbytes / r for p, r in zip(parameters.values(), rows, strict=True)]
    first_row = [0, *accumulate(rows)]  # of each tensor, in the stream of rows
    first_byte = [0.0, *accumulate(r * b for r, b in zip(rows, row_bytes, strict=True))]
    if chunks > first_row[-1]:
        raise ValueError(f"chunks={chunks} is above the {first_row[-1]} slices this model can be cut into")

    share = first_byte[-1] / chunks
    cuts = [0]
    for i in range(1, chunks):
        t = min(bisect_left(first_byte, i * share, lo=1), len(names)) - 1  # the tensor the cut falls in
        row = round((i * share - first_byte[t]) / row_bytes[t])
        row = first_row[t] + _aligned(row, rows[t], share / row_bytes[t])
        cuts.append(min(max(row, cuts[-1] + 1), first_row[-1] - (chunks - i)))
    cuts.append(first_row[-1])

    result: Chunks = []
    for start, stop in pairwise(cuts):
        chunk = []
        for t in range(bisect_left(first_row, start + 1) - 1, bisect_left(first_row, stop)):
            low, high = max(start, first_row[t]) - first_row[t], min(stop, first_row[t + 1]) - first_row[t]
            chunk.append(_slice(names[t], low, high, rows[t]))
        result.append(chunk)
    return result


def strided(parameters: Mapping[str, torch.Tensor], cut: set[str], chunks: int) -> Chunks:
    """Chunk i takes the i-th of `chunks` slices of every matrix; the rest goes whole where there is least."""
    result: Chunks = [[] for _ in range(chunks)]
    cost = [0.0] * chunks
    whole = []
    for name, p in parameters.items():
        rows = _rows(p, name in cut)
        if rows < chunks:
            whole.append((name, p))
            continue
        cuts = [_aligned(rows * i // chunks, rows, rows / chunks) for i in range(chunks + 1)]
        for i, (start, stop) in enumerate(pairwise(cuts)):
            result[i].append(_slice(name, start, stop, rows))
            cost[i] += p.nbytes * (stop - start) / rows
    # The largest first, so that a few whole tensors end up as even as they can.
    for name, p in sorted(whole, key=lambda item: -item[1].nbytes):
        i = cost.index(min(cost))
        result[i].append(Slice(name))
        cost[i] += p.nbytes
    filled = sum(map(bool, result))
    if filled < chunks:
        raise ValueError(f"chunks={chunks} is above the {filled} slices this model can be cut into")
    order = {name: i for i, name in enumerate(parameters)}
    return [sorted(chunk, key=lambda s: order[s.name]) for chunk in result]


PARTITIONS = {"contiguous": contiguous, "strided": strided}


def chunks_of(
    parameters: Mapping[str, torch.Tensor],
    cut: set[str],
    partition: str | Sequence[Sequence[Slice]],
    chunks: int | None,
) -> Chunks:
    """By the name of a partition, or as it says itself.  Raises ValueError naming the argument."""
    if not isinstance(partition, str):
        if chunks not in (None, len(partition)):
            raise ValueError(f"chunks={chunks} is not the number of chunks in partition, {len(partition)}")
        return given(parameters, cut, partition)
    one_of("partition", partition, PARTITIONS)
    if chunks is None or chunks < 1:
        raise ValueError(f"chunks={chunks} must be a number of at least 1; or give memory")
    if chunks == 1:
        return [[Slice(name) for name in parameters]]
    return PARTITIONS[partition](parameters, cut, chunks)


def one_of(name: str, value: str, allowed: Collection[str]) -> None:
    """ValueError, naming the argument, where its value is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(allowed)}")


def given(parameters: Mapping[str, torch.Tensor], cut: set[str], chunks: Sequence[Sequence[Slice]]) -> Chunks:
    """Check chunks written by hand: known names, inside bounds, cut only where possible, no overlap."""
    seen: dict[str, list[tuple[range, range, Slice]]] = {}
    result = []
    for number, chunk in enumerate(chunks):
        if not chunk:
            raise ValueError(f"partition: chunk {number} is empty")
        checked = []
        for s in chunk:
            if s.name not in parameters:
                raise ValueError(f"partition: {s.name!r} is not a trainable parameter of the model")
            shape = parameters[s.name].shape
            s = s.check(shape)
            if not s.whole and s.name not in cut:
                raise ValueError(f"partition: {s.name!r} can only be trained whole; give it no ranges")
            rows = range(*(s.rows or (0, shape[0] if shape else 1)))
            columns = range(*(s.columns or (0, shape[1] if len(shape) > 1 else 1)))
            for other_rows, other_columns, other in seen.setdefault(s.name, []):
                if _meet(rows, other_rows) and _meet(columns, other_columns):
                    raise ValueError(f"partition: {s} and {other} overlap")
            seen[s.name].append((rows, columns, s))
            checked.append(s)
        result.append(checked)
    return result


def _meet(a: range, b: range) -> bool:
    return max(a.start, b.start) < min(a.stop, b.stop)


def active_chunk(turn: int, chunks: int, order: str, seed: int) -> int:
    """The chunk of the `turn`-th stay (0, 1, ...): a function of its arguments, without state."""
    cycle, position = divmod(turn, chunks)
    if order == "reversed":
        return chunks - 1 - position
    if order == "shuffled":
        generator = torch.Generator().manual_seed((seed * 1_000_003 + cycle) % 2**63)
        return int(torch.randperm(chunks, generator=generator)[position])
    return position
