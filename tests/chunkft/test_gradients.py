"""The gradients of slices are slices of the gradient, for any model and cut, and nothing larger is made."""

import copy
import gc
import random
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from chunkft import ChunkFT, Slice, checkpoint, head_loss, release

Loss = Callable[[nn.Module], Tensor]


def dense_gradients(model: nn.Module, loss: Loss) -> dict[str, Tensor]:
    model = copy.deepcopy(model)
    loss(model).backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}


def union_of_chunks(model: nn.Module, loss: Loss, **options: Any) -> dict[str, Tensor]:
    """One backward per chunk, without an update; each element must get its gradient exactly once."""
    names = [n for n, _ in model.named_parameters()]
    optimizer = ChunkFT(model, torch.optim.SGD, lr=0.0, steps_per_chunk=1, **options)
    union = {n: torch.zeros_like(optimizer._sites.parameters[n]) for n in names}
    seen = {n: torch.zeros_like(union[n], dtype=torch.int) for n in names}
    for _ in optimizer.chunks:
        value = loss(model)
        if value.requires_grad:  # not where a chunk is of unused tensors alone
            value.backward()
        for s, leaf in optimizer._active:
            assert leaf.grad is None or leaf.grad.shape == leaf.shape == union[s.name][s.index()].shape
            if leaf.grad is not None:
                union[s.name][s.index()] += leaf.grad
            seen[s.name][s.index()] += 1
        optimizer.step()
        optimizer.zero_grad()
    optimizer.close()
    assert all(bool((count == 1).all()) for count in seen.values())
    return union


def assert_equal(union: dict[str, Tensor], dense: dict[str, Tensor], vectors: float = 1e-12) -> None:
    for name, expected in dense.items():
        error = (union[name] - expected).norm()
        tolerance = vectors if expected.dim() == 1 else 1e-12
        # A gradient that is exactly zero (a key's bias under softmax) leaves rounding errors to compare with.
        assert error <= tolerance * max(expected.norm(), 1e-3), f"{name}: {error / expected.norm()}"


@pytest.mark.filterwarnings("ignore:.*trained whole")
@pytest.mark.parametrize("partition", ["contiguous", "strided"])
def test_union_of_chunks_is_the_dense_gradient(architecture: tuple[nn.Module, Loss], partition: str) -> None:
    model, loss = architecture
    dense = dense_gradients(model, loss)
    assert_equal(union_of_chunks(model, loss, chunks=5, partition=partition), dense)


def random_cuts(model: nn.Module, whole: set[str], chunks: int, rng: random.Random) -> list[list[Slice]]:
    """Every parameter in random rectangles, dealt to random chunks."""

    def ranges(size: int) -> list[tuple[int, int]]:
        cuts = sorted({0, size, *(rng.randrange(size) for _ in range(rng.randrange(3)))})
        return list(zip(cuts, cuts[1:], strict=False))

    slices = []
    for name, p in model.named_parameters():
        if name in whole or p.dim() == 0:
            slices.append(Slice(name))
            continue
        columns = ranges(p.shape[1]) if p.dim() == 2 else [None]
        slices += [Slice(name, r, c) for r in ranges(p.shape[0]) for c in columns]
    rng.shuffle(slices)
    return [slices[i::chunks] for i in range(chunks)]


@pytest.mark.filterwarnings("ignore:.*trained whole")
@pytest.mark.parametrize("seed", range(3))
def test_random_rectangles_of_weights_norms_and_biases(
    architecture: tuple[nn.Module, Loss], seed: int
) -> None:
    model, loss = architecture
    dense = dense_gradients(model, loss)
    plan = ChunkFT(model, chunks=1)
    whole = set(plan._sites.uncuttable)
    plan.close()
    partition = random_cuts(model, whole, 4, random.Random(seed))
    # Gemma's own normalization multiplies by its scale in fp32, whatever the precision of the model.
    vectors = 1e-6 if "Gemma" in type(model).__name__ else 1e-12
    assert_equal(union_of_chunks(model, loss, partition=partition), dense, vectors)


def test_what_can_be_cut_is_known_by_what_it_computes(architecture: tuple[nn.Module, Loss]) -> None:
    model, _ = architecture
    plan = ChunkFT(model, chunks=1)
    for name, module in model.named_modules():
        if type(module) in (nn.Linear, nn.Embedding, nn.LayerNorm) or type(module).__name__.endswith(
            "RMSNorm"
        ):
            assert f"{name}.weight" not in plan._sites.uncuttable


class LargestGradient(TorchDispatchMode):
    """The most elements in any tensor made, of those whose shape is a parameter's or a part of one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.largest = width, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        views = {t.untyped_storage()._cdata for t in tree_leaves(args) if isinstance(t, Tensor)}
        for t in tree_leaves(result):
            if isinstance(t, Tensor) and t.dim() == 2 and t.untyped_storage()._cdata not in views:
                self.largest = max(self.largest, t.numel() if t.shape[-1] == self.width else 0)
        return result


@pytest.mark.parametrize("kind", ["linear", "embedding", "head"])
def test_no_gradient_larger_than_its_slice_is_made(kind: str) -> None:
    # 3 tokens, so that no activation has as many elements as a slice; 11 columns, which nothing else has
    weight = nn.Embedding(50, 11) if kind == "embedding" else nn.Linear(11, 50, bias=False)
    model = nn.ModuleDict({"layer": weight})
    ChunkFT(model, partition=[[Slice("layer.weight", (5, 12))], [Slice("layer.weight", (20, 24))]])
    tokens = torch.tensor([6, 30, 11])
    x = torch.randn(3, 11)
    with LargestGradient(width=11) as mode:
        if kind == "embedding":
            model["layer"](tokens).sum().backward()
        elif kind == "linear":
            model["layer"](x).sum().backward()
        else:
            head_loss(x, weight, tokens).backward()  # type: ignore[arg-type]
    assert mode.largest == 7 * 11


def test_leaving_a_chunk_restores_every_module(llama: tuple[nn.Module, Loss]) -> None:
    model, loss = llama
    model.lm_head.weight.requires_grad_(False)
    before = {n: (set(vars(m)), list(m._modules), m.forward.__func__) for n, m in model.named_modules()}
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    keys = list(model.state_dict())
    classes = [nn.Linear, nn.Embedding, nn.LayerNorm, nn.RMSNorm, type(model)]
    forwards = [c.forward for c in classes]
    optimizer = ChunkFT(model, lr=1e-3, chunks=4, steps_per_chunk=1, partition="strided")
    for _ in range(6):
        loss(model).backward()
        assert list(model.state_dict()) == keys
        assert [c.forward for c in classes] == forwards  # what is replaced is on the instances
        optimizer.step()
    optimizer.close()
    assert {
        n: (set(vars(m)), list(m._modules), m.forward.__func__) for n, m in model.named_modules()
    } == before
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("partition", ["contiguous", "strided"])
@pytest.mark.parametrize("close", [False, True])
def test_a_dropped_model_is_freed(llama: tuple[nn.Module, Loss], close: bool, partition: str) -> None:
    """Every weight, not the module alone: a tensor's hooks can keep others out of the collector's reach."""
    model, loss = copy.deepcopy(llama[0]), llama[1]
    checkpoint(model)
    optimizer = ChunkFT(model, lr=1e-3, chunks=5, steps_per_chunk=2, partition=partition)
    for _ in range(3):
        loss(model).backward()
        optimizer.step()
        optimizer.zero_grad()
    if close:
        optimizer.close()
    else:
        assert any(
            p._post_accumulate_grad_hooks for p in model.parameters()
        )  # it is in the midst of a tensor
    alive = [weakref.ref(x) for x in (model, optimizer, *optimizer._sites.parameters.values())]
    del model, optimizer
    gc.collect()
    assert not any(x() is not None for x in alive)


def test_a_copy_in_mid_chunk_computes_the_same_and_can_be_released(llama: tuple[nn.Module, Loss]) -> None:
    model, loss = llama
    ChunkFT(model, chunks=4, partition="strided")
    twin = copy.deepcopy(model)
    assert torch.equal(loss(twin), loss(model))
    names = [n for n, _ in release(twin).named_parameters()]
    assert names == list(dict(build_like(twin).named_parameters()))
    assert torch.equal(loss(twin), loss(model))


def build_like(model: nn.Module) -> nn.Module:
    return type(model)(model.config)


def test_backward_stops_below_the_lowest_active_layer(llama: tuple[nn.Module, Loss]) -> None:
    model, loss = llama
    reached = []
    for i, layer in enumerate(model.model.layers):
        layer.register_forward_hook(lambda *a, i=i: reached.append((i, a[-1].requires_grad)))
    ChunkFT(
        model, partition=[[Slice("model.layers.1.mlp.up_proj.weight", (0, 3))], [Slice("lm_head.weight")]]
    )
    loss(model)
    assert reached == [(0, False), (1, True)]


def test_padding_rows_get_no_gradient() -> None:
    model = nn.Embedding(10, 4, padding_idx=3)
    optimizer = ChunkFT(model, partition=[[Slice("weight", (2, 6))], [Slice("weight", (6, 10))]])
    model(torch.tensor([[3, 4, 4], [0, 3, 9]])).sum().backward()
    ((_, leaf),) = optimizer._active
    assert leaf.grad.sum(1).tolist() == [0, 0, 8, 0]


@pytest.mark.parametrize("mean", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("kind", [nn.RMSNorm, nn.LayerNorm])
def test_gradient_of_a_normalizations_input(kind: type[nn.Module], mean: float) -> None:
    torch.manual_seed(0)
    model = kind(16).double()
    x = (torch.randn(5, 16, dtype=torch.float64) + mean).requires_grad_()
    ahead = torch.randn(5, 16, dtype=torch.float64)
    (expected,) = torch.autograd.grad(model(x), x, ahead)
    ChunkFT(model, partition=[[Slice("weight", (2, 9))], [Slice("weight", (9, 16))]])
    (computed,) = torch.autograd.grad(model(x), x, ahead)
    assert torch.equal(computed, expected)


def test_small_inputs_of_a_normalization_do_not_overflow_in_fp16() -> None:
    model = nn.LayerNorm(64, dtype=torch.float16)
    x = (0.01 * torch.randn(8, 64)).half().requires_grad_()
    optimizer = ChunkFT(
        model, partition=[[Slice("weight", (0, 32)), Slice("bias", (0, 32))], [Slice("bias", (32, 64))]]
    )
    model(x).sum().backward()
    assert x.grad.isfinite().all() and all(leaf.grad.isfinite().all() for _, leaf in optimizer._active)


@pytest.mark.parametrize("shape", [(), (5,), (2, 5), (2, 3, 5), (2, 1, 3, 5)])
def test_linear_with_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    model = nn.Linear(6, 4).double()
    x = torch.randn(*shape, 6, dtype=torch.float64)
    dense = dense_gradients(model, lambda m: m(x).square().sum())
    partition = [[Slice("weight", (1, 3)), Slice("bias")], [Slice("weight", (0, 1)), Slice("weight", (3, 4))]]
    assert_equal(union_of_chunks(model, lambda m: m(x).square().sum(), partition=partition), dense)


class Borrowed(nn.Module):
    """An embedding whose weight is also the head's, read without its module, and a Linear read both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer = nn.Embedding(12, 6), nn.Linear(6, 6)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.layer(self.embedding(ids)).tanh() @ self.layer.weight
        return F.linear(x, self.embedding.weight)


@pytest.mark.parametrize("partition", ["contiguous", "strided"])
def test_weights_read_without_their_module(partition: str) -> None:
    torch.manual_seed(0)
    model, ids = Borrowed().double(), torch.randint(12, (3, 4))

    def loss(model: nn.Module) -> Tensor:
        return F.cross_entropy(model(ids).flatten(0, 1), ids.flatten())

    dense = dense_gradients(model, loss)
    with pytest.warns(UserWarning, match="is used outside its module") as caught:
        assert_equal(union_of_chunks(model, loss, chunks=5, partition=partition), dense)
    assert len({str(w.message) for w in caught}) == len(caught)
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_with_fp32_weights(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 16), nn.Linear(16, 32), nn.LayerNorm(32), nn.Linear(32, 20))
    ids = torch.randint(20, (4, 6))

    def loss(model: nn.Module) -> Tensor:
        with torch.autocast("cpu", dtype):
            return F.cross_entropy(model(ids).flatten(0, 1), ids.flatten())

    dense = dense_gradients(model, loss)
    union = union_of_chunks(model, loss, chunks=3, partition="strided")
    for name, expected in dense.items():
        assert union[name].dtype == torch.float32
        assert (union[name] - expected).norm() <= 4 * torch.finfo(dtype).eps * expected.norm()


@pytest.mark.parametrize("ignored", [0, 4])
@pytest.mark.parametrize("short", [False, True])
def test_head_loss_is_cross_entropy(ignored: int, short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if short:  # blocks of 3 tokens, and of 3 rows
        monkeypatch.setattr("chunkft.head.BLOCK_LOGITS", 8)
        monkeypatch.setattr("chunkft.head.SHORTEST", 3)
    torch.manual_seed(0)
    model = nn.ModuleDict({"body": nn.Linear(8, 8), "head": nn.Linear(8, 37)}).double()
    x, labels = torch.randn(3, 5, 8, dtype=torch.float64), torch.randint(37, (3, 5))
    labels.view(-1)[:ignored] = -100

    def reference(model: nn.Module) -> Tensor:
        return F.cross_entropy(model["head"](model["body"](x)).flatten(0, 1), labels.flatten())

    def blockwise(model: nn.Module) -> Tensor:
        return head_loss(model["body"](x), model["head"], labels)

    assert torch.allclose(blockwise(model), reference(model), rtol=1e-12)
    dense = dense_gradients(model, reference)
    assert_equal(dense_gradients(model, blockwise), dense)
    partition = [
        [Slice("head.weight", (3, 20)), Slice("head.weight", (20, 30), (2, 5)), Slice("head.bias", (5, 9))],
        [Slice("head.weight", (0, 3)), Slice("head.weight", (30, 37)), Slice("head.bias", (0, 5))],
        [Slice("head.weight", (20, 30), (0, 2)), Slice("head.weight", (20, 30), (5, 8))],
        [Slice("head.bias", (9, 37)), Slice("body.weight"), Slice("body.bias", (0, 4))],
        [Slice("body.bias", (4, 8))],
    ]
    assert_equal(union_of_chunks(model, blockwise, partition=partition), dense)
    doubled = head_loss(model["body"](x), model["head"], labels, count=(15 - ignored) / 2)
    assert torch.allclose(doubled, 2 * reference(model), rtol=1e-12)
