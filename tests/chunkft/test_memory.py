"""How many chunks fit, and what the parts of a step take."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from chunkft import ChunkFT, checkpoint
from chunkft.memory import LiveBytes, activation_bytes, language_model_loss

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
def test_activations_are_found_without_computing(
    llama: tuple[nn.Module, Loss], partition: str, checkpointing: bool
) -> None:
    """As many bytes as a real step holds, but for small ones, and the model is left as it was."""
    model, _ = llama
    if checkpointing:
        checkpoint(model)
    loss = language_model_loss(batch_size=2, sequence_length=16)
    before = copy.deepcopy(model.state_dict())
    optimizer = ChunkFT(model, lr=0.1, chunks=4, partition=partition)
    chunk = optimizer.chunks[0]
    with LiveBytes(model) as real:
        hooks = [
            leaf.register_post_accumulate_grad_hook(real.leave_out_gradient) for _, leaf in optimizer._active
        ]
        loss(model).backward()
    for hook in hooks:
        hook.remove()
    optimizer.close()
    assert activation_bytes(model, loss, [chunk]) == pytest.approx(real.peak, rel=0.01)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_shape_chooses_the_number_of_chunks(llama: tuple[nn.Module, Loss]) -> None:
    """More tokens leave less for the active chunk; the loss may be given in place of their number."""
    model = llama[0].float()
    limit = sum(p.nbytes for p in model.parameters()) + 100_000

    def chunks(**options: object) -> int:
        optimizer = ChunkFT(model, lr=0.1, memory=limit, **options)  # type: ignore[arg-type]
        optimizer.close()
        return len(optimizer.chunks)

    assert 1 <= chunks(sequence_length=8) < chunks(sequence_length=24)
    assert chunks(sequence_length=24) == chunks(activations=language_model_loss(1, 24))
