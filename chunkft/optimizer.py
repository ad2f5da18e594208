"""ChunkFT: full-parameter fine-tuning one chunk of the parameters at a time (arXiv 2605.21177)."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from chunkft import partition as partitions
from chunkft.memory import chunk_bytes, fewest_chunks, footprint, language_model_loss, size, state_bytes
from chunkft.partition import ORDERS, Slice, active_chunk, one_of
from chunkft.precision import empty_residual, join, needs_master, split_
from chunkft.states import POLICIES, RESIDUAL, Piece, State, States, blocks, run_length
from chunkft.subtensor import CHILD, Sites

# Their update of an element reads its own gradient and state alone, so that a slice can be updated in blocks.
ELEMENTWISE = (
    *(torch.optim.Adadelta, torch.optim.Adagrad, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adamax),
    *(torch.optim.ASGD, torch.optim.NAdam, torch.optim.RAdam, torch.optim.RMSprop, torch.optim.Rprop),
    torch.optim.SGD,
)


class ChunkFT(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` that trains every parameter of `model`, a chunk at a time.

    The trainable parameters are cut into `chunks` chunks of equal bytes.  Each is trained for
    `steps_per_chunk` optimizer steps by `base`; the others need no gradient and hold no state on the device.

        optimizer = ChunkFT(model, lr=1e-5, chunks=128, steps_per_chunk=50)
        loss.backward(); optimizer.step(); optimizer.zero_grad()

    Args:
        model: on its device and in its precision already.  What requires no gradient stays frozen.
        base: any torch optimizer class that takes dense gradients and needs no closure.
        chunks: K, how many chunks; 1 is `base` itself.
        steps_per_chunk: T, optimizer steps before the next chunk's turn.
        partition: "contiguous" chunks are runs of neighbouring tensors, and backward stops below the lowest;
            "strided" ones take a slice of every matrix; or the chunks themselves, as lists of `Slice`.
        order: "cyclic", "reversed", or "shuffled" anew in each cycle, from `seed`.
        state: what an idle chunk keeps of its moments: none ("reset"), all ("fp32"), all in 16 bits with
            stochastic rounding ("bf16"), or all on disk in `state_dir` ("disk").
        resident: False sends state to the host after every update, not only when its chunk's turn ends.
        memory: in place of `chunks`: the device memory to stay under, in bytes or as "13 GiB"; the smallest K
            that fits is taken, since fewer, larger chunks learn faster.
        activations: bytes that forward and backward need beside weights and gradients, counted into `memory`;
            or a function from model to loss, from which they are found without computing anything.
        sequence_length, batch_size: in place of that function, for a language model of transformers.
        groups: parameter groups as torch optimizers take them (dicts with "params" and options), to give
            some parameters other options, such as no weight decay; parameters outside them are frozen.
        whole: names of parameters never to be cut.
        base_kwargs: go to `base`: lr, betas, weight_decay, ...

    Weights in 16 bits have exact fp32 masters (see `chunkft.precision`).  Learning-rate schedules count
    optimizer steps.  `state_dict` holds tensors, numbers and strings only, gradients and position included.

    Raises:
        ValueError: an argument is out of its range; the message names it.
        FloatingPointError: in `step`, before anything is updated, when a gradient is not finite.
    """

    def __init__(
        self,
        model: nn.Module,
        base: type[torch.optim.Optimizer] = torch.optim.AdamW,
        *,
        chunks: int | None = None,
        steps_per_chunk: int = 50,
        partition: str | Sequence[Sequence[Slice]] = "contiguous",
        order: str = "cyclic",
        state: str = "reset",
        state_dir: str | Path | None = None,
        resident: bool = True,
        memory: int | str | None = None,
        activations: int | str | Callable[[nn.Module], Tensor] = 0,
        sequence_length: int | None = None,
        batch_size: int = 1,
        groups: Iterable[dict[str, Any]] | None = None,
        whole: Iterable[str] = (),
        seed: int = 0,
        **base_kwargs: Any,
    ) -> None:
        one_of("order", order, ORDERS)
        one_of("state", state, POLICIES)
        if (state == "disk") != (state_dir is not None):
            raise ValueError('state="disk" and state_dir="a folder" go together: give both or neither')
        if steps_per_chunk < 1:
            raise ValueError(f"steps_per_chunk={steps_per_chunk} must be at least 1")
        _check_trainable_here(model, base)
        self._model = model
        self._sites = Sites(model, whole)
        trainable = _groups(self._sites.parameters, groups)
        named = {n: self._sites.parameters[n] for group in trainable for n in group["params"]}
        if all(p.is_cuda and needs_master(p.dtype) for p in named.values()):
            base_kwargs = _fused(base, base_kwargs)
        self._group_of = {name: i for i, group in enumerate(trainable) for name in group["params"]}
        in_groups = [{**g, "params": [self._sites.parameters[n] for n in g["params"]]} for g in trainable]
        self._base = base(in_groups, **base_kwargs)
        super().__init__([{**group} for group in self._base.param_groups], self._base.defaults)
        self._base_is_elementwise = base in ELEMENTWISE

        in_order = {n: p for n, p in self._sites.parameters.items() if n in named}
        self.steps_per_chunk, self.order, self.resident, self.seed = steps_per_chunk, order, resident, seed
        if memory is not None:
            if chunks is not None or not isinstance(partition, str):
                raise ValueError("memory chooses chunks: give memory, or chunks, or a partition of your own")
            if sequence_length is not None:
                if activations:
                    raise ValueError("activations are found from sequence_length: give one of the two")
                activations = language_model_loss(batch_size, sequence_length)
            state_size = state_bytes(base, base_kwargs)
            options = {"partition": partition, "resident": resident, "whole": whole, **base_kwargs}
            options["state"] = "fp32" if state == "disk" else state  # which is the same on the device
            loss: Any = activations

            def peak(k: int) -> int:
                def trained(twin: nn.Module) -> ChunkFT:
                    twins = dict(twin.named_parameters())
                    parts = [{**g, "params": [twins[n] for n in g["params"]]} for g in trainable]
                    return ChunkFT(twin, base, chunks=k, groups=parts, **options)

                return footprint(model, trained, loss).device

            chunks = fewest_chunks(
                sum(t.nbytes for t in [*model.parameters(), *model.buffers()]),
                lambda k: self._cut(in_order, partition, k),
                in_order,
                lambda n, dtype: chunk_bytes(n, dtype, state_size, resident, run_length(resident)),
                size("memory", memory),
                peak if callable(activations) else size("activations", activations),
            )
        elif sequence_length is not None:
            raise ValueError(f"sequence_length={sequence_length} is for choosing K: give memory with it")
        self.chunks = self._cut(in_order, partition, chunks)
        self._warn_of_whole_tensors(in_order)
        device = next(iter(named.values())).device
        self._generator = torch.Generator(device).manual_seed(seed)
        self._states = States(state, None if state_dir is None else Path(state_dir), self._generator)
        self.steps = 0  # optimizer steps taken
        self._trainable = [p for p in self._sites.parameters.values() if p.requires_grad]
        self._sites.deactivate(model)
        self._enter()

    def _cut(self, named: dict[str, nn.Parameter], partition: Any, chunks: int | None) -> partitions.Chunks:
        return partitions.chunks_of(named, named.keys() - self._sites.uncuttable, partition, chunks)

    def _warn_of_whole_tensors(self, named: dict[str, nn.Parameter]) -> None:
        matrices = [n for n, p in named.items() if n in self._sites.uncuttable and p.dim() > 1]
        if matrices and len(self.chunks) > 1:
            warnings.warn(
                f"{len(matrices)} tensors are trained whole, as what their modules do with them is unknown: "
                + ", ".join(matrices[:3])
                + (", ..." if len(matrices) > 3 else ""),
                stacklevel=3,
            )

    # Where training stands

    @property
    def chunk(self) -> int:
        """Index of the active chunk."""
        return active_chunk(self.steps // self.steps_per_chunk, len(self.chunks), self.order, self.seed)

    def _enter(self) -> None:
        """Make the active chunk's slices require gradients, and nothing else."""
        slices = self.chunks[self.chunk]
        leaves = self._sites.activate(slices)
        for group in self.param_groups:
            group["params"] = []
        self._active = list(zip(slices, leaves, strict=True))
        grouped = [(s, leaf, self._group_of[s.name]) for s, leaf in self._active]
        for _, leaf, number in grouped:
            self.param_groups[number]["params"].append(leaf)
        self._blocks = blocks(grouped, self._base_is_elementwise, self.resident)

    def _leave(self) -> None:
        for group in self.param_groups:
            for leaf in group["params"]:
                leaf.grad = None
        self._sites.deactivate(self._model)

    def close(self) -> None:
        """End training: every module and every `requires_grad` is as it was before; no more steps."""
        self._leave()
        for p in self._trainable:
            p.requires_grad_(True)
        for group in self.param_groups:
            group["params"] = []
        self._active, self._blocks = [], []

    # The update

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update the active chunk; after `steps_per_chunk` steps, make the next one active."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._check_leaves()
        self._check_gradients()
        turn_ends = len(self.chunks) > 1 and (self.steps + 1) % self.steps_per_chunk == 0
        for i, block in enumerate(self._blocks):
            states = self._states.fetch(block)
            if i + 1 < len(self._blocks):
                self._states.fetch_ahead(self._blocks[i + 1])
            self._update(block, states)
            if turn_ends or not self.resident:
                self._states.put_back(block, leaving=turn_ends)
        self._states.settle()
        if turn_ends:
            self._leave()
        self.steps += 1
        if turn_ends:
            self._enter()
        return loss

    def _check_leaves(self) -> None:
        for s, leaf in self._active:
            weight = self._sites.parameters[s.name]
            if leaf.untyped_storage().data_ptr() != weight.untyped_storage().data_ptr():
                raise RuntimeError(
                    f"model: {s.name!r} was moved or converted after the optimizer was made; do that before"
                )

    def _check_gradients(self) -> None:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        # The largest magnitude: unlike a sum of squares it overflows only where an element has.
        largest = [torch.linalg.vector_norm(g, ord=float("inf")) for g in gradients]
        if largest and not torch.stack([n.to(largest[0].device) for n in largest]).isfinite().all():
            raise FloatingPointError(
                f"a gradient is not finite at step {self.steps} (chunk {self.chunk}); nothing was updated"
            )

    def _update(self, block: list[Piece], states: list[State]) -> None:
        """One step of the base optimizer on the pieces of a block that have a gradient."""
        groups: list[list[Tensor]] = [[] for _ in self.param_groups]
        updated: list[tuple[Piece, State, Tensor, Tensor | None]] = []
        for piece, state in zip(block, states, strict=True):
            gradient = piece.gradient
            if gradient is None:
                continue
            residual = state.pop(RESIDUAL, None)
            target = piece.weight
            if needs_master(target.dtype):
                target = join(piece.weight, residual)
            if target is not piece.leaf:
                target.grad = gradient.to(target.dtype)
            if (step := state.get("step")) is not None and self.param_groups[piece.group].get("fused"):
                state["step"] = step.to(target.device)  # a loaded one is on the host
            groups[piece.group].append(target)
            self._base.state[target] = state
            updated.append((piece, state, target, residual))
        self._base.param_groups = [
            {**group, "params": params} for group, params in zip(self.param_groups, groups, strict=True)
        ]
        self._base.step()
        self._base.state.clear()
        for base_group in self._base.param_groups:
            base_group["params"] = []  # masters, which would stay until the next update
        for piece, state, target, residual in updated:
            if target is not piece.leaf:
                target.grad = None
            if needs_master(piece.weight.dtype):
                state[RESIDUAL] = empty_residual(piece.weight) if residual is None else residual
                split_(target, piece.weight, state[RESIDUAL])

    # Saving and loading

    def _plan(self) -> dict[str, Any]:
        """What a saved state must agree on."""
        return {
            "base": self._base.__class__.__name__,
            "chunks": len(self.chunks),
            "steps_per_chunk": self.steps_per_chunk,
            "order": self.order,
            "state": self._states.policy,
            "resident": self.resident,
            "seed": self.seed,
            "parameters": {n: f"{tuple(p.shape)} {p.dtype}" for n, p in self._sites.parameters.items()},
            "slices": [[str(s) for s in chunk] for chunk in self.chunks],
        }

    def state_dict(self) -> dict[str, Any]:
        """State of every chunk, gradients accumulated so far and position, under the slices' names."""
        self._states.settle()
        return {
            "state": {
                key: dict(state) for key, state in {**self._states.idle, **self._states.active}.items()
            },
            "gradients": {str(s): leaf.grad for s, leaf in self._active if leaf.grad is not None},
            "param_groups": [
                {k: v for k, v in group.items() if k != "params"} for group in self.param_groups
            ],
            "steps": self.steps,
            "generator": self._generator.get_state(),
            "plan": self._plan(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, given the weights the model had then.

        Raises ValueError, naming the first differences, when it is of another model, K, T, ...
        """
        here, there = self._plan(), state_dict.get("plan", {})
        differences = [
            _difference(name, there.get(name), here[name]) for name in here if there.get(name) != here[name]
        ]
        if differences:
            raise ValueError(f"state_dict is of another run: {'; '.join(differences)}")
        self._leave()
        self.steps = state_dict["steps"]
        self._generator.set_state(state_dict["generator"].cpu())  # torch.load may have put it elsewhere
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update(saved)
        self._states.load(state_dict["state"])
        self._enter()
        for s, leaf in self._active:
            if (gradient := state_dict["gradients"].get(str(s))) is not None:
                leaf.grad = gradient.to(leaf.device, copy=True)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if hasattr(self, "steps"):
            raise ValueError("ChunkFT cuts the parameters once: pass every group in groups= when making it")
        super().add_param_group(param_group)

    # Progress

    def progress(self) -> dict[str, int]:
        """Fields for a log line: the active chunk, passes over all chunks done, steps in this one."""
        turn, step = divmod(self.steps, self.steps_per_chunk)
        return {"chunk": self.chunk, "cycle": turn // len(self.chunks), "chunk_step": step}

    def describe(self) -> str:
        """A table of the chunks; an arrow marks the active one."""
        lines = [f"{'':2}{'chunk':>5} {'tensors':>8} {'parameters':>13} {'MiB':>9}  from ... to"]
        for i, chunk in enumerate(self.chunks):
            views = [self._sites.parameters[s.name][s.index()] for s in chunk]
            elements, size = sum(v.numel() for v in views), sum(v.numel() * v.element_size() for v in views)
            span = str(chunk[0]) if len(chunk) == 1 else f"{chunk[0]} ... {chunk[-1]}"
            mark = "->" if i == self.chunk else ""
            lines.append(f"{mark:2}{i:5} {len(chunk):8} {elements:13,} {size / 2**20:9.2f}  {span}")
        return "\n".join(lines)


def _check_trainable_here(model: nn.Module, base: type[torch.optim.Optimizer]) -> None:
    if base in (torch.optim.LBFGS, torch.optim.SparseAdam):
        raise ValueError(f"base={base.__name__} needs a closure or sparse gradients; choose another")
    if any(CHILD in module._modules for module in model.modules()):
        raise ValueError("model: another ChunkFT is training it; call close() on that one first")
    for name, p in model.named_parameters():
        if p.is_meta:
            raise ValueError(f"model: {name!r} is on the meta device; load the weights first")
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        raise ValueError("model: gradients of slices are not reduced over processes; train in one process")


def _fused(base: type[torch.optim.Optimizer], base_kwargs: dict[str, Any]) -> dict[str, Any]:
    """One kernel a block, without temporaries, unless the user chose otherwise."""
    chosen = base not in (torch.optim.Adam, torch.optim.AdamW) or base_kwargs.keys() & {"foreach", "fused"}
    return base_kwargs if chosen else {**base_kwargs, "fused": True}


def _difference(name: str, saved: Any, here: Any) -> str:
    if isinstance(here, dict) and isinstance(saved, dict):
        key = next(k for k in {**here, **saved} if here.get(k) != saved.get(k))
        return f"{name}: {key} is {saved.get(key)} there, {here.get(key)} here"
    if isinstance(here, list):
        return f"{name} are cut elsewhere"
    return f"{name}={saved} there, {here} here"


def _groups(
    parameters: dict[str, nn.Parameter], groups: Iterable[dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """The parameter groups with names in place of tensors, trainable ones only."""
    names = {id(p): name for name, p in parameters.items()}
    result = []
    for i, group in enumerate([{"params": list(parameters.values())}] if groups is None else groups):
        members = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        unknown = [tuple(p.shape) for p in members if id(p) not in names]
        if unknown:
            raise ValueError(f"groups[{i}]: a parameter of shape {unknown[0]} is not in the model")
        result.append({**group, "params": [names[id(p)] for p in members if p.requires_grad]})
    if not any(group["params"] for group in result):
        raise ValueError("model: no parameter requires a gradient, so there is nothing to train")
    return result
