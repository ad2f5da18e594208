"""How many chunks fit, and what the parts of a step take."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from chunkft import ChunkFT, checkpoint, states
from chunkft.fakecuda import fake_cuda
from chunkft.memory import footprint, language_model_loss
from chunkft.watch import LiveBytes, Watch

Loss = Callable[[nn.Module], Tensor]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activations", [0, 1000, 10**6])
def test_memory_limit_gives_the_fewest_chunks_that_fit(dtype: torch.dtype, activations: int) -> None:
    """Per element: 2 moments of 4 bytes, a gradient, for bf16 a residual.  The update needs 8 more for bf16,
    when activations are gone."""

    def chunks(memory: int | str) -> int:
        model = nn.Linear(128, 256, bias=False, dtype=dtype)
        return len(ChunkFT(model, lr=0.1, memory=memory, activations=activations).chunks)

    size, elements = dtype.itemsize, 128 * 256
    half = dtype == torch.bfloat16
    update = 8 * elements // 4 if half else 0
    held = (8 + size + (2 if half else 0)) * elements // 4
    limit = elements * size + held + max(activations, update)
    assert chunks(limit) == 4
    assert chunks(limit - 1) == 5
    assert chunks("1 GiB") == 1


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("partition", ["contiguous", "strided"])
def test_a_step_is_tried_without_computing(
    llama: tuple[nn.Module, Loss], partition: str, checkpointing: bool
) -> None:
    """As many bytes as real steps hold, and the model is left as it was."""
    model = llama[0].float()
    if checkpointing:
        checkpoint(model, offload=False)
    loss = language_model_loss(batch_size=2, sequence_length=16)

    def make(model: nn.Module) -> ChunkFT:
        return ChunkFT(model, torch.optim.SGD, lr=0.0, chunks=4, steps_per_chunk=2, partition=partition)

    before = copy.deepcopy(model.state_dict())
    device, host, seconds = footprint(model, make, loss)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    optimizer = make(model)
    real = LiveBytes([*model.parameters(), *model.buffers()])
    with Watch(real):
        for _ in range(8):
            loss(model).backward()
            optimizer.step()
            optimizer.zero_grad()
    optimizer.close()
    assert device == pytest.approx(real.peak["cpu"], rel=0.02)
    assert 0 < seconds["H200"] < seconds["RTX 3090"]
    assert host < 0.01 * device


def test_idle_state_is_on_the_host(llama: tuple[nn.Module, Loss]) -> None:
    model, loss = llama[0].bfloat16(), language_model_loss(batch_size=1, sequence_length=8)
    parameters = sum(p.numel() for p in model.parameters())
    for state, size in (("fp32", 10), ("bf16", 6), ("reset", 2)):  # with sixteen low bits of each master
        make = partial(ChunkFT, lr=0.1, chunks=8, state=state)
        assert footprint(model, make, loss).host == pytest.approx(size * parameters, rel=0.25)


def test_streamed_state_leaves_block_by_block_from_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the card are the blocks on their way to the host and one that is updated, with its fp32 copies."""
    block = 256 * 16
    monkeypatch.setattr(states, "BLOCK", block)
    with fake_cuda():
        model = nn.Linear(256, 256, bias=False, device="cuda", dtype=torch.bfloat16)
        optimizer = ChunkFT(model, lr=0.1, chunks=1, resident=False)
        for _ in range(3):
            model(torch.empty(1, 256, device="cuda", dtype=torch.bfloat16)).sum().backward()
            update = LiveBytes()
            with Watch(update):
                optimizer.step()
            there = sum(p.nbytes + p.grad.nbytes for p in model.parameters() if p.grad is not None)
            optimizer.zero_grad()
            moments_and_residual, master_and_gradient = 4 + 4 + 2, 4 + 4
            bound = (states.IN_FLIGHT + 1) * moments_and_residual + master_and_gradient
            assert update.peak["cuda"] - there < (bound + 1) * block


def test_a_shape_chooses_the_number_of_chunks(llama: tuple[nn.Module, Loss]) -> None:
    """More tokens leave less for the active chunk; the loss may be given in place of their number."""
    model = llama[0].float()
    limit = sum(p.nbytes for p in model.parameters()) + 100_000

    def chunks(**options: object) -> int:
        optimizer = ChunkFT(model, lr=0.1, memory=limit, **options)  # type: ignore[arg-type]
        optimizer.close()
        k = len(optimizer.chunks)
        peak = footprint(model, partial(ChunkFT, lr=0.1, chunks=k), language_model_loss(1, 24)).device
        assert peak <= limit or "sequence_length" in options and options["sequence_length"] != 24
        return k

    assert 1 <= chunks(sequence_length=8) < chunks(sequence_length=24)
    assert chunks(sequence_length=24) == chunks(activations=language_model_loss(1, 24))
