"""ChunkFT as a torch optimizer: what it updates, when, and how exactly."""

import copy
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from chunkft import ChunkFT, Slice
from chunkft.precision import join

Loss = Callable[[nn.Module], Tensor]


class Constant(nn.Module):
    """A loss whose gradient is 1 everywhere, for parameters in the shape of a Linear layer."""

    def __init__(self, rows: int = 8, columns: int = 4, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(columns, rows, bias=False, dtype=dtype)

    def forward(self) -> Tensor:
        x = torch.ones(1, self.layer.in_features, dtype=self.layer.weight.dtype)
        return self.layer(x).sum()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Loss, steps: int) -> None:
    for _ in range(steps):
        loss(model).backward()
        optimizer.step()
        optimizer.zero_grad()


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"amsgrad": True, "betas": (0.8, 0.9)}])
def test_one_chunk_is_adamw_bit_for_bit(llama: tuple[nn.Module, Loss], options: dict[str, Any]) -> None:
    model, loss = llama
    model = model.float()
    twin = copy.deepcopy(model)

    def groups(model: nn.Module) -> list[dict[str, Any]]:
        matrices = [p for p in model.parameters() if p.dim() > 1]
        return [
            {"params": matrices, "weight_decay": 0.1},
            {"params": [p for p in model.parameters() if p.dim() == 1]},
        ]

    train(
        model, ChunkFT(model, chunks=1, steps_per_chunk=3, lr=1e-2, groups=groups(model), **options), loss, 20
    )
    train(twin, torch.optim.AdamW(groups(twin), lr=1e-2, **options), loss, 20)
    assert equal(model, twin)


BASES = [
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "Adamax",
    "ASGD",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_chunk_of_whole_tensors_is_the_base_optimizer(base: str, dtype: torch.dtype) -> None:
    """Two tensors in turn, two steps each: each as if the base optimizer had trained it alone, in fp32."""
    cls = getattr(torch.optim, base)
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Linear(6, 4, bias=False), "b": nn.Linear(4, 3, bias=False)}).to(dtype)
    x = torch.randn(5, 6, dtype=dtype)
    alone = {n: nn.Parameter(p.detach().float()) for n, p in model.named_parameters()}
    references = {n: cls([p], lr=0.1) for n, p in alone.items()}
    partition = [[Slice("a.weight")], [Slice("b.weight")]]
    optimizer = ChunkFT(model, cls, lr=0.1, partition=partition, steps_per_chunk=2, state="fp32")
    for _ in range(12):
        active = optimizer.chunks[optimizer.chunk][0].name
        model["b"](model["a"](x).relu()).square().mean().backward()
        alone[active].grad = optimizer._active[0][1].grad.float()
        references[active].step()
        optimizer.step()
        optimizer.zero_grad()
        for name, p in model.named_parameters():
            # bf16 rounds to nearest, but breaks ties away from zero
            assert torch.allclose(p.float(), alone[name].to(dtype).float(), rtol=torch.finfo(dtype).eps / 2)


@pytest.mark.parametrize("state", ["fp32", "disk"])
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_masters_of_16_bit_weights_are_exact(
    state: str, resident: bool, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over chunk switches, weight and residual are the master of an fp32 run given the same gradients."""
    monkeypatch.setattr("chunkft.states.BLOCK", 12)  # several blocks a slice
    torch.manual_seed(0)
    model = nn.Linear(4, 16, bias=False).to(dtype)
    x, y = torch.randn(32, 4, dtype=dtype), torch.randn(32, 16, dtype=dtype)
    optimizer = ChunkFT(
        model,
        chunks=2,
        steps_per_chunk=3,
        lr=1e-3,
        state=state,
        state_dir=tmp_path if state == "disk" else None,
        resident=resident,
    )
    halves = [nn.Parameter(part.float()) for part in model.weight.detach().chunk(2)]
    references = [torch.optim.AdamW([half], lr=1e-3) for half in halves]
    for _ in range(30):
        active = optimizer.chunk
        F.mse_loss(model(x), y).backward()
        halves[active].grad = optimizer._active[0][1].grad.float()
        references[active].step()
        optimizer.step()
        optimizer.zero_grad()
    states = optimizer.state_dict()["state"]
    residual = torch.cat(
        [states[key]["residual"] for key in sorted(states, key=lambda k: int(k.split("[")[1].split(":")[0]))]
    )
    assert torch.equal(join(model.weight.detach(), residual), torch.cat([h.detach() for h in halves]))
    assert not torch.equal(model.weight.detach().float(), torch.cat([h.detach() for h in halves]))


def test_bf16_weights_with_masters_track_an_fp32_run(llama: tuple[nn.Module, Loss]) -> None:
    model, loss = llama
    losses = {}
    for dtype in (torch.float32, torch.bfloat16):
        twin = copy.deepcopy(model).to(dtype)
        optimizer = ChunkFT(twin, lr=3e-3, chunks=3, steps_per_chunk=5, partition="strided")
        train(twin, optimizer, loss, 60)
        losses[dtype] = loss(twin).item()
    start = loss(model).item()
    assert losses[torch.float32] < 0.8 * start
    assert losses[torch.bfloat16] == pytest.approx(losses[torch.float32], rel=0.02)


def test_resident_or_streamed_state_gives_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkft.states.BLOCK", 8)
    models = [Constant(dtype=torch.bfloat16), Constant(dtype=torch.bfloat16)]
    for model, resident in zip(models, (True, False), strict=True):
        optimizer = ChunkFT(model, lr=1e-2, chunks=2, steps_per_chunk=2, state="fp32", resident=resident)
        train(model, optimizer, lambda m: m(), 9)
    assert equal(*models)


def test_bias_correction_counts_the_steps_of_a_slice() -> None:
    """The first update of every slice is lr, whenever its turn comes."""
    model = Constant()
    before = model.layer.weight.detach().clone()
    train(model, ChunkFT(model, lr=0.1, weight_decay=0.0, chunks=4, steps_per_chunk=1), lambda m: m(), 4)
    assert torch.allclose(before - model.layer.weight, torch.tensor(0.1), rtol=1e-5)


def test_second_moment_in_bf16_does_not_freeze() -> None:
    """With a constant gradient of 1 it is 1 - beta2^t, 0.63 after 1000 steps; to nearest it stops at 0.25."""
    model = Constant(rows=32, columns=32)
    optimizer = ChunkFT(model, lr=1e-6, chunks=1, steps_per_chunk=1, state="bf16", resident=False)
    train(model, optimizer, lambda m: m(), 1000)
    (state,) = optimizer.state_dict()["state"].values()
    assert state["exp_avg_sq"].dtype == torch.bfloat16
    assert state["exp_avg_sq"].float().mean().item() == pytest.approx(1 - 0.999**1000, abs=0.01)


@pytest.mark.parametrize(("state", "moment"), [("fp32", 2), ("bf16", 2), ("reset", 1)])
def test_moments_are_kept_or_reset_between_turns(state: str, moment: int) -> None:
    model = Constant()
    optimizer = ChunkFT(model, lr=1e-3, chunks=2, steps_per_chunk=1, state=state)
    train(model, optimizer, lambda m: m(), 2)
    optimizer.steps_per_chunk = 10**6  # the turn that begins now does not end
    train(model, optimizer, lambda m: m(), 1)
    assert optimizer._states.active["layer.weight[0:4]"]["step"] == moment


def test_tensors_without_a_gradient_are_left_alone() -> None:
    model = nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 4)})
    before = model["unused"].weight.clone()
    train(model, ChunkFT(model, chunks=1, lr=0.1), lambda m: m["used"](torch.ones(4)).sum(), 2)
    assert torch.equal(model["unused"].weight, before)


def test_frozen_parameters_and_groups(llama: tuple[nn.Module, Loss]) -> None:
    model, loss = llama
    model.model.embed_tokens.weight.requires_grad_(False)
    layers = model.model.layers
    groups = [{"params": layers[0].parameters(), "lr": 0.0}, {"params": layers[1].parameters()}]
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = ChunkFT(
        model, torch.optim.SGD, lr=0.1, groups=groups, chunks=3, steps_per_chunk=1, partition="strided"
    )
    train(model, optimizer, loss, 3)
    optimizer.close()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n in before if n.startswith("model.layers.1.")}


def test_clipping_covers_slices_and_whole_tensors(llama: tuple[nn.Module, Loss]) -> None:
    model, loss = llama
    optimizer = ChunkFT(model, lr=1e-3, chunks=3, partition="strided")
    loss(model).backward()
    own = [p for group in optimizer.param_groups for p in group["params"]]
    norm = torch.stack([p.grad.norm() for p in own]).norm()
    assert torch.allclose(
        torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]), norm
    )
    assert torch.allclose(torch.nn.utils.clip_grad_norm_(model.parameters(), norm / 2), norm)
    assert torch.allclose(torch.nn.utils.clip_grad_norm_(own, 1e9), norm / 2, rtol=1e-4)


def test_accumulation_sums_micro_batches() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    at_once = ChunkFT(twin := copy.deepcopy(model), lr=1e-2, chunks=3, steps_per_chunk=2, partition="strided")
    in_parts = ChunkFT(model, lr=1e-2, chunks=3, steps_per_chunk=2, partition="strided")
    for _ in range(8):
        twin(x).square().sum().backward()
        for part in x.split(2):
            model(part).square().sum().backward()
        for optimizer in (at_once, in_parts):
            optimizer.step()
            optimizer.zero_grad()
    assert all(
        torch.allclose(a, b, rtol=1e-9) for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    )


def test_grad_scaler_skips_overflow_and_unscales() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    twin = copy.deepcopy(model)
    optimizer = ChunkFT(model, torch.optim.SGD, lr=0.1, chunks=2, steps_per_chunk=1, partition="strided")
    reference = ChunkFT(twin, torch.optim.SGD, lr=0.1, chunks=2, steps_per_chunk=1, partition="strided")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)
    x = torch.full((3, 4), 8.0)
    taken = []
    for _ in range(8):
        scaler.scale(model(x).square().sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        taken.append(optimizer.steps)
    assert 0 == taken[0] < taken[-1]
    train(twin, reference, lambda m: m(x).square().sum(), taken[-1])
    assert all(torch.allclose(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_learning_rate_schedule_runs_to_its_end() -> None:
    model = Constant()
    optimizer = ChunkFT(model, torch.optim.SGD, lr=1.0, chunks=4, steps_per_chunk=2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 16)
    rates, before = [], model.layer.weight.detach().clone()
    for _ in range(16):
        rates.append(optimizer.param_groups[0]["lr"])
        train(model, optimizer, lambda m: m(), 1)
        schedule.step()
    assert rates == [1 - step / 16 for step in range(16)] and optimizer.param_groups[0]["lr"] == 0
    moved = (before - model.layer.weight)[::2, 0].tolist()  # of each chunk: the rates of its own steps
    assert moved == pytest.approx(
        [sum(rates[s] for s in range(16) if s // 2 % 4 == chunk) for chunk in range(4)]
    )


@pytest.mark.parametrize("backend", ["aot_eager", "eager"])
@pytest.mark.parametrize("partition", ["contiguous", "strided"])
def test_compiled_models_train_as_others_do(backend: str, partition: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Embedding(20, 16), nn.Linear(16, 32), nn.Tanh(), nn.LayerNorm(32), nn.Linear(32, 20)
    )
    ids = torch.randint(20, (4, 6))
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, backend=backend)
    for m, call in ((model, model), (twin, compiled)):
        optimizer = ChunkFT(m, lr=1e-2, chunks=3, steps_per_chunk=2, partition=partition)
        train(m, optimizer, lambda _, call=call: F.cross_entropy(call(ids).flatten(0, 1), ids.flatten()), 14)
        optimizer.close()
    assert all(
        torch.allclose(a, b, atol=1e-6) for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    )


def test_descent_on_a_strongly_convex_quadratic_at_the_rate_of_block_coordinate_descent() -> None:
    """f(w) = w^T A w / 2 with steps 1/L in cyclic blocks: each cycle of K blocks contracts f at least by
    1 - mu / (2 L (1 + K))  (arXiv 1305.4723's cyclic bound, with one L for all blocks)."""
    torch.manual_seed(0)
    n, blocks = 16, 4
    q, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))
    eigenvalues = torch.linspace(0.5, 4.0, n, dtype=torch.float64)
    root = q * eigenvalues.sqrt()  # A = root root^T
    model = nn.Linear(1, n, bias=False).double()

    def f(model: nn.Module) -> Tensor:
        w = model(torch.ones(1, 1, dtype=torch.float64))[0]
        return (w @ root).square().sum() / 2

    mu, big_l = eigenvalues[0].item(), eigenvalues[-1].item()
    optimizer = ChunkFT(model, torch.optim.SGD, lr=1 / big_l, chunks=blocks, steps_per_chunk=1)
    values = [f(model).item()]
    for _ in range(20):
        train(model, optimizer, f, blocks)
        values.append(f(model).item())
    assert all(after <= (1 - mu / (2 * big_l * (1 + blocks))) * before for before, after in pairwise(values))
    assert values[-1] < 1e-2 * values[0]


@pytest.mark.parametrize(
    ("order", "visited"),
    [("cyclic", [0, 1, 2, 0, 1, 2]), ("reversed", [2, 1, 0, 2, 1, 0]), ("shuffled", None)],
)
def test_order_of_the_chunks(order: str, visited: list[int] | None) -> None:
    def visits(seed: int, cycles: int) -> list[int]:
        model = Constant(rows=6)
        optimizer = ChunkFT(model, lr=0.1, chunks=3, steps_per_chunk=2, order=order, seed=seed)
        chunks = []
        for _ in range(6 * cycles):
            chunks.append(optimizer.chunk)
            train(model, optimizer, lambda m: m(), 1)
        assert chunks[::2] == chunks[1::2]
        return chunks[::2]

    if visited is not None:
        assert visits(0, 2) == visited
        return
    chunks = visits(1, 12)
    cycles = [tuple(chunks[i : i + 3]) for i in range(0, 36, 3)]
    assert all(sorted(cycle) == [0, 1, 2] for cycle in cycles) and len(set(cycles)) > 1
    assert chunks == visits(1, 12) != visits(2, 12)


def test_progress_and_description() -> None:
    model = Constant()
    optimizer = ChunkFT(model, lr=0.1, chunks=4, steps_per_chunk=2)
    train(model, optimizer, lambda m: m(), 11)
    assert optimizer.progress() == {"chunk": 1, "cycle": 1, "chunk_step": 1}
    header, *rows = optimizer.describe().splitlines()
    assert header.split()[:4] == ["chunk", "tensors", "parameters", "MiB"]
    assert [row.startswith("->") for row in rows] == [False, True, False, False]
    assert rows[1].split()[1:4] == ["1", "1", "8"] and "layer.weight[2:4]" in rows[1]


def test_import_needs_torch_alone_patches_nothing_and_starts_no_device() -> None:
    code = """
import sys, os, torch
before = {n: id(vars(torch.nn)[n]) for n in dir(torch.nn)}, torch.optim.Optimizer.step, set(sys.modules)
os.environ.clear()
import chunkft
loaded = {m.split(".")[0] for m in set(sys.modules) - before[2]} - set(sys.stdlib_module_names)
assert loaded <= {"chunkft", "torch"}, loaded
assert before[0] == {n: id(vars(torch.nn)[n]) for n in dir(torch.nn)}
assert before[1] is torch.optim.Optimizer.step
assert not torch.cuda.is_initialized()
assert len(chunkft.__all__) <= 6
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
