"""Predict ChunkFT's peak memory for a Llama of any size on a CPU, in seconds, with tensors that hold no data.

    python -m benchmarks.predict --model 7B --chunks 128 --batch 1 --streamed

Forward and backward run on fake tensors while live storages are counted; what the update needs besides is
`chunkft.memory.chunk_bytes`.  Inputs of checkpointed layers count as kept on the host, as on a CUDA device.
A CUDA allocator rounds sizes up, which is not counted.
"""

import argparse

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.gpu import SHAPES, llama
from benchmarks.report import GIB
from chunkft import ChunkFT, checkpoint, head_loss
from chunkft.memory import Host, LiveBytes, chunk_bytes, state_bytes
from chunkft.states import run_length


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
            held, besides = chunk_bytes(elements, torch.bfloat16, per_element, resident, run_length(resident))
            update = weights + held + besides
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
