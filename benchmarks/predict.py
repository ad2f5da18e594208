"""Predict ChunkFT's peak memory for a Llama of any size on a CPU, in seconds, with tensors that hold no data.

    python -m benchmarks.predict --model 7B --chunks 128 --batch 1 --streamed

Forward and backward run on fake tensors while live storages are counted; what the update needs besides is
`chunkft.memory.chunk_bytes`.  Inputs of checkpointed layers count as kept on the host, as on a CUDA device.
A CUDA allocator rounds sizes up, which is not counted.
"""

import argparse
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.gpu import GIB, SHAPES, llama
from chunkft import ChunkFT, checkpoint, head_loss
from chunkft.checkpointing import OFFLOAD_BYTES, Shelf
from chunkft.memory import chunk_bytes, state_bytes
from chunkft.states import run_length


class LiveBytes(TorchDispatchMode):
    """Bytes of the storages that operators make, those alive now and the most at any time."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known = {p.untyped_storage()._cdata for p in model.parameters()}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for t in tree_leaves(result):
            if isinstance(t, Tensor) and t.untyped_storage()._cdata not in self.known:
                storage = t.untyped_storage()
                self.known.add(storage._cdata)
                self.live += storage.nbytes()
                weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.live)
        return result

    def _freed(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


class Host(Shelf):
    """Stands for pinned memory: keeps a tensor's shape, and makes a new one when it is taken."""

    def put(self, x: Tensor) -> Any:
        small = x.nbytes < OFFLOAD_BYTES or isinstance(x, nn.Parameter)
        return x if small else (x.shape, x.dtype)

    def take(self, kept: Any) -> Tensor:
        return kept if isinstance(kept, Tensor) else torch.empty(kept[0], dtype=kept[1])


def predict(
    shape: str,
    chunks: int,
    batch: int,
    resident: bool,
    checkpointing: bool,
    keep_products: bool = False,
    length: int = 1024,
) -> dict[int, tuple[float, float]]:
    """Peak bytes of forward and backward, and of the update, for some chunks and the last ones."""
    per_element = state_bytes(torch.optim.AdamW, {})
    peaks = {}
    with FakeTensorMode():
        model = llama(shape, length, "cpu")
        weights = sum(p.nbytes for p in model.parameters())
        if checkpointing:
            for layer in checkpoint(model, keep_products=keep_products).layers:
                layer.forward.shelf = Host()  # type: ignore[union-attr]
        plan = ChunkFT(model, chunks=chunks)
        plan.close()
        ids = torch.zeros(batch, length, dtype=torch.long)
        for i in sorted({*range(0, chunks, max(1, chunks // 4)), *range(max(0, chunks - 4), chunks)}):
            optimizer = ChunkFT(model, partition=[plan.chunks[i]])
            leaves = [leaf for group in optimizer.param_groups for leaf in group["params"]]
            elements = sum(leaf.numel() for leaf in leaves)
            state = elements * (per_element + 2) if resident else 0
            with LiveBytes(model) as memory:
                hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
                loss = head_loss(hidden[:, :-1], model.lm_head, ids[:, 1:])
                del hidden
                loss.backward()
                del loss
            update = weights + chunk_bytes(
                elements, torch.bfloat16, per_element, resident, run_length(resident)
            )
            peaks[i] = weights + state + memory.peak, update
            del leaves
            optimizer.close()
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=SHAPES, default="7B")
    parser.add_argument("--chunks", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--streamed", action="store_true", help="state on the host between updates")
    parser.add_argument("--no-checkpointing", action="store_true")
    parser.add_argument("--keep-products", action="store_true", help="as in chunkft.checkpoint")
    arguments = parser.parse_args()
    peaks = predict(
        arguments.model,
        arguments.chunks,
        arguments.batch,
        not arguments.streamed,
        not arguments.no_checkpointing,
        arguments.keep_products,
    )
    print("chunk  backward GiB  update GiB")
    for i, (backward, update) in peaks.items():
        print(f"{i:5} {backward / GIB:13.2f} {update / GIB:11.2f}")
    highest = [max(pair) for pair in peaks.values()]
    print(f"peak {max(highest) / GIB:.2f} GiB; lowest chunk {min(highest) / GIB:.2f} GiB")


if __name__ == "__main__":
    main()
