"""Step time of ChunkFT against full AdamW on the CPU, for a tiny Llama in fp32.

    OMP_NUM_THREADS=1 python -m benchmarks.cpu

The optimizers take turns, so that a busy machine slows all of them; times are processor seconds of this
process, and ratios are of medians.
"""

import copy
import statistics
import time

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from chunkft import ChunkFT

STEPS, WARM_UP = 60, 10


def tiny() -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        vocab_size=512,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def main() -> None:
    torch.set_num_threads(1)
    base, ids = tiny(), torch.randint(512, (8, 128))
    models = {name: copy.deepcopy(base) for name in ("AdamW", "contiguous K = 4", "strided K = 4")}
    optimizers: dict[str, torch.optim.Optimizer] = {"AdamW": torch.optim.AdamW(models["AdamW"].parameters())}
    for partition in ("contiguous", "strided"):
        name = f"{partition} K = 4"
        optimizers[name] = ChunkFT(models[name], chunks=4, steps_per_chunk=5, partition=partition)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(STEPS):
        for name, model in models.items():
            start = time.process_time()
            model(input_ids=ids, labels=ids).loss.backward()
            optimizers[name].step()
            optimizers[name].zero_grad()
            seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(times[WARM_UP:]) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:18} {median * 1000:7.1f} ms  {median / medians['AdamW']:.2f} of AdamW")


if __name__ == "__main__":
    main()
