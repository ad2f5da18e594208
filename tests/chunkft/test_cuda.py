"""What only a CUDA device can show: streams, pinned memory, peaks, and that nothing waits for the device."""

import copy
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chunkft import ChunkFT, Slice, checkpoint, head_loss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

Loss = Callable[[nn.Module], Tensor]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Many blocks of state, and every layer's input worth moving."""
    monkeypatch.setattr("chunkft.states.BLOCK", 100)
    monkeypatch.setattr("chunkft.checkpointing.OFFLOAD_BYTES", 0)
    yield


def llama(width: int = 64, layers: int = 4) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        vocab_size=256,
        use_cache=False,
    )
    return LlamaForCausalLM(config).to("cuda", torch.bfloat16)


def loss(model: Any, ids: Tensor) -> Tensor:
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    return head_loss(hidden[:, :-1], model.lm_head, ids[:, 1:])


def weights(steps: int = 40, **options: Any) -> list[Tensor]:
    model = llama()
    ids = torch.randint(256, (2, 64), generator=torch.manual_seed(1)).cuda()
    checkpointing = options.pop("checkpointing", None)
    if checkpointing is not None:
        checkpoint(model, **checkpointing)
    optimizer = ChunkFT(model, lr=1e-3, chunks=5, steps_per_chunk=3, **options)
    for _ in range(steps):
        loss(model, ids).backward()
        optimizer.step()
        optimizer.zero_grad()
    optimizer.close()
    return [p.detach().clone() for p in model.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.usefixtures("small_blocks")
def test_streams_change_no_number() -> None:
    reference = weights()
    assert same(reference, weights(resident=False))
    assert same(reference, weights(checkpointing={"offload": False}))
    assert same(reference, weights(checkpointing={"offload": True}))
    assert same(reference, weights(checkpointing={"offload": True, "keep_products": True}, resident=False))


@pytest.mark.usefixtures("small_blocks")
def test_resuming_is_exact_on_the_device() -> None:
    ids = torch.randint(256, (2, 64), generator=torch.manual_seed(1)).cuda()

    def advance(model: nn.Module, optimizer: ChunkFT, steps: int) -> None:
        for _ in range(steps):
            loss(model, ids).backward()
            optimizer.step()
            optimizer.zero_grad()

    def optimizer_of(model: nn.Module) -> ChunkFT:
        return ChunkFT(model, lr=1e-3, chunks=3, steps_per_chunk=4, state="bf16")

    whole, first, second = llama(), llama(), llama()
    advance(whole, optimizer_of(whole), 20)
    advance(first, one := optimizer_of(first), 13)
    state = copy.deepcopy(one.state_dict())
    state["state"] = {k: {n: v.cpu() for n, v in s.items()} for k, s in state["state"].items()}
    second.load_state_dict(first.state_dict())
    two = optimizer_of(second)
    two.load_state_dict(state)
    advance(second, two, 7)
    assert same(list(whole.state_dict().values()), list(second.state_dict().values()))


def test_gradients_of_slices_do_not_wait_for_the_device() -> None:
    model = nn.Sequential(nn.Embedding(50, 16, padding_idx=0), nn.LayerNorm(16), nn.Linear(16, 50)).cuda()
    ids = torch.randint(50, (4, 8), device="cuda")
    rows = (10, 30)
    ChunkFT(
        model,
        partition=[
            [
                Slice("0.weight", rows),
                Slice("1.weight", (2, 9)),
                Slice("2.weight", rows),
                Slice("2.bias", rows),
            ]
        ],
    )
    head_loss(model[:2](ids), model[2], ids).backward()  # loads libraries, which waits
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(ids).sum().backward()
        head_loss(model[:2](ids), model[2], ids).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_streamed_state_leaves_the_device() -> None:
    """Between updates, the state of 16 M parameters, 10 bytes each, is either there or not."""
    held = {}
    for resident in (True, False):
        model = nn.Linear(4096, 4096, bias=False, device="cuda", dtype=torch.bfloat16)
        x = torch.ones(1, 4096, device="cuda", dtype=torch.bfloat16)
        model(x).sum().backward()  # gives matrix products their workspace
        model.zero_grad()
        optimizer = ChunkFT(model, lr=1e-3, chunks=1, resident=resident)
        before = torch.cuda.memory_allocated()
        for _ in range(2):
            model(x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        held[resident] = torch.cuda.memory_allocated() - before
        del model, optimizer
    assert held[True] == pytest.approx(10 * 4096**2, rel=0.01)
    assert held[False] < 0.01 * held[True]


def test_checkpoints_leave_the_device() -> None:
    ids = torch.randint(256, (1, 2048), device="cuda")
    kept = {}
    for offload in (False, True):
        model = llama(width=512, layers=12)
        checkpoint(model, offload=offload)
        ChunkFT(model, lr=1e-3, chunks=100)
        before = torch.cuda.memory_allocated()
        value = loss(model, ids)
        torch.cuda.synchronize()
        kept[offload] = torch.cuda.memory_allocated() - before
        value.backward()
    # Of 12 layers: the first's input needs no gradient, the last is not recomputed, the last but one is next.
    inputs = 9 * 2048 * 512 * 2
    assert kept[False] - kept[True] >= inputs


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("resident", [False, True])
def test_a_dropped_model_frees_the_device(resident: bool) -> None:
    weights(steps=7, resident=resident)  # gives libraries their workspaces
    gc.collect()
    before = torch.cuda.memory_allocated()
    model = llama(width=512)
    ids = torch.randint(256, (2, 64), device="cuda")
    checkpoint(model)
    optimizer = ChunkFT(model, lr=1e-3, chunks=5, steps_per_chunk=3, resident=resident)
    for _ in range(7):  # into the third chunk
        loss(model, ids).backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.cuda.synchronize()
    held = torch.cuda.memory_allocated() - before
    del model, optimizer, ids
    gc.collect()
    assert torch.cuda.memory_allocated() - before < 0.01 * held


@pytest.mark.parametrize("resident", [False, True])
def test_a_planned_run_stays_within_its_memory(resident: bool) -> None:
    weights(steps=7)  # gives libraries their workspaces
    gc.collect()
    others = torch.cuda.memory_allocated()
    model = llama(width=512, layers=8)
    checkpoint(model)
    limit = sum(p.nbytes for p in model.parameters()) + (1 << 27)
    ids = torch.randint(256, (4, 512), device="cuda")
    optimizer = ChunkFT(
        model, memory=limit, sequence_length=512, batch_size=4, lr=1e-3, steps_per_chunk=2, resident=resident
    )
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2 * len(optimizer.chunks)):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    peak = torch.cuda.max_memory_allocated() - others
    assert len(optimizer.chunks) > 1
    assert (0.85 * limit if resident else 0) < peak <= limit
