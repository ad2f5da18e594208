"""Checkpointing changes memory and time, never a gradient; and only where backward reaches."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from chunkft import ChunkFT, Slice, checkpoint

Loss = Callable[[nn.Module], Tensor]


def updates(model: nn.Module, loss: Loss, chunks: int = 3) -> None:
    optimizer = ChunkFT(model, lr=1e-2, chunks=chunks, steps_per_chunk=1)
    for _ in range(chunks):
        value = loss(model)
        if value.requires_grad:
            value.backward()
        optimizer.step()
        optimizer.zero_grad()
    optimizer.close()


@pytest.mark.filterwarnings("ignore:.*trained whole")
def test_updates_are_the_same_bit_for_bit(architecture: tuple[nn.Module, Loss]) -> None:
    model, loss = architecture
    if type(model).__name__ == "Convolutional":
        with pytest.raises(ValueError, match="layers: the model has no list of modules"):
            checkpoint(model)
        with pytest.raises(ValueError, match="layers: a Linear is too little"):
            checkpoint(model, [model.twice])
        return
    plain = copy.deepcopy(model)
    updates(plain, loss)
    with checkpoint(model):
        updates(model, loss)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))
    assert not any("forward" in vars(module) for module in model.modules())


def test_layers_of_ones_own() -> None:
    torch.manual_seed(0)

    def layer() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 6), nn.Tanh())

    model = nn.ModuleDict({name: layer() for name in "abc"})
    x = torch.randn(4, 6)
    plain = copy.deepcopy(model)

    def loss(model: nn.Module) -> Tensor:
        return model["c"](model["b"](model["a"](x))).square().sum()

    updates(plain, loss)
    with checkpoint(model, [model["a"], model["b"], model["c"]], offload=False):
        assert kept(model, loss) < kept(plain, loss)
        updates(model, loss)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))


def forwards(model: nn.Module) -> list[int]:
    """A list that counts how often each decoder layer's attention runs."""
    counts = [0] * len(model.model.layers)
    for i, layer in enumerate(model.model.layers):

        def count(*_: Any, i: int = i) -> None:
            counts[i] += 1

        layer.self_attn.register_forward_hook(count)
    return counts


def test_only_layers_that_backward_reaches_run_twice() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=5, num_attention_heads=2, vocab_size=40
    )
    model = LlamaForCausalLM(config)
    ids = torch.arange(10).view(1, 10)
    counts = forwards(model)
    checkpoint(model)
    optimizer = ChunkFT(
        model,
        lr=0.0,
        steps_per_chunk=1,
        partition=[[Slice(f"model.layers.{i}.mlp.up_proj.weight", (0, 3))] for i in (0, 2, 4)]
        + [[Slice("lm_head.weight")]],
    )
    seen = []
    for _ in range(4):
        counts[:] = [0] * 5
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        seen.append(list(counts))
    # The last layer's activations are kept: its backward comes first.
    assert seen == [[2, 2, 2, 2, 1], [1, 1, 2, 2, 1], [1] * 5, [1] * 5]
    with torch.no_grad():
        counts[:] = [0] * 5
        model(input_ids=ids)
    assert counts == [1] * 5


def kept(model: nn.Module, loss: Loss) -> int:
    """Bytes that a forward pass keeps for backward, weights apart."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return x

    with saved_tensors_hooks(pack, lambda x: x):
        value = loss(model)
    del value
    return sum(storages.values())


def test_inputs_of_inactive_linear_layers_are_not_kept() -> None:
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(6)))
    x = torch.randn(32, 8)
    ChunkFT(model, partition=[[Slice("0.weight", (0, 2)), Slice("5.weight", (2, 4))], [Slice("1.weight")]])
    assert kept(model, lambda m: m(x).sum()) == 2 * x.nbytes  # the inputs of the first and the last


def test_a_slice_of_a_normalization_keeps_its_part_of_the_input() -> None:
    model = nn.LayerNorm(64)
    x = torch.randn(32, 64)
    ChunkFT(model, partition=[[Slice("weight", (0, 8))], [Slice("bias")]])
    assert kept(model, lambda m: m(x).sum()) == x.nbytes // 8


def test_what_checkpointing_keeps_grows_by_a_layers_input(llama: tuple[nn.Module, Loss]) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    ids = torch.arange(10).view(1, 10)

    def bytes_kept(layers: int) -> int:
        config = LlamaConfig(
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=layers,
            num_attention_heads=2,
            vocab_size=40,
        )
        model = LlamaForCausalLM(config)
        checkpoint(model, offload=False)  # whose hooks would hide what is kept from those of this test
        ChunkFT(model, lr=1e-3, chunks=40)
        return kept(model, lambda m: m(input_ids=ids, labels=ids).loss)

    assert bytes_kept(7) - bytes_kept(5) == 2 * 10 * 64 * 4


def test_kept_products_are_not_computed_again(llama: tuple[nn.Module, Loss]) -> None:
    model, loss = llama
    plain = copy.deepcopy(model)
    loss(plain).backward()

    def products(**options: Any) -> int:
        twin = copy.deepcopy(model)
        checkpoint(twin, **options)
        with Counter() as counter:
            loss(twin).backward()
        assert all(
            a.grad is None if b.grad is None else torch.equal(a.grad, b.grad)
            for a, b in zip(plain.parameters(), twin.parameters(), strict=True)
        )
        return counter.products

    assert products(keep_products=True) < products()
    assert products(keep_products=True, offload=False) == products(keep_products=True)


class Counter(TorchDispatchMode):
    products = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.products += function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        return function(*args, **(kwargs or {}))


def test_generation_caches_are_not_filled_twice(llama: tuple[nn.Module, Loss]) -> None:
    model, loss = llama
    assert model.config.use_cache
    plain = copy.deepcopy(model)
    loss(plain).backward()
    with checkpoint(model):
        loss(model).backward()
    assert all(
        torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), model.parameters(), strict=True)
    )
