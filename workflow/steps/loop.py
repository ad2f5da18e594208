"""The training loop, the same for every method and for pre-training."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from baselines import Tuning
from workflow.steps import checkpoint
from workflow.steps.progress import Progress

Batch = list[
    dict[str, torch.Tensor]
]  # micro-batches of input_ids, attention_mask, labels, each [sequences, tokens]


class Diverged(Exception):
    """The loss or a gradient is not finite; raised before the update."""


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up to `lr`, then constant, linear to zero, or a cosine to zero."""

    lr: float
    steps: int
    kind: str = "cosine"
    warmup: float = 0.0  # fraction of the steps

    def __call__(self, step: int) -> float:
        """The learning rate of optimizer step `step`, counted from 0."""
        warmup = round(self.warmup * self.steps)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        progress = (step - warmup) / max(1, self.steps - warmup)
        if self.kind == "constant":
            return self.lr
        if self.kind == "linear":
            return self.lr * (1 - progress)
        return self.lr * 0.5 * (1 + math.cos(math.pi * progress))


def empty_curve() -> dict[str, list]:
    return {"step": [], "tokens": [], "seconds": [], "loss": [], "lr": []}


def fit(
    tuning: Tuning,
    batch_at: Callable[[int], Batch],
    schedule: Schedule,
    *,
    max_grad_norm: float | None = None,
    states: Path | None = None,
    save_every: int = 100,
    label: str = "train",
) -> dict[str, list]:
    """Trains for `schedule.steps` optimizer steps and returns the curve, one entry a step.

    `batch_at(step)` must depend on the step alone: a run that goes on from a state
    in `states` then sees what an uninterrupted one would have seen.  `seconds`
    counts training steps, not saving.  Raises Diverged before an update with a
    loss or gradient that is not finite.
    """
    tuning.model.train()
    device = str(next(tuning.model.parameters()).device)
    curve, first = _resume(tuning, states, device) if states else (empty_curve(), 0)
    tokens, seconds = (curve["tokens"][-1], curve["seconds"][-1]) if first else (0, 0.0)
    progress = Progress(label, schedule.steps, first)
    for step in range(first, schedule.steps):
        batch = [{key: value.to(device) for key, value in micro.items()} for micro in batch_at(step)]
        started = time.perf_counter()
        loss = train_step(tuning, batch, schedule(step), max_grad_norm)
        seconds += time.perf_counter() - started
        tokens += sum(int(micro["attention_mask"].sum()) for micro in batch)
        for key, value in zip(curve, (step + 1, tokens, seconds, loss, schedule(step)), strict=True):
            curve[key].append(value)
        if states and (step + 1) % save_every == 0 and step + 1 < schedule.steps:
            checkpoint.save(states, step + 1, _state(tuning, curve))
        progress.update(step + 1, f"loss {loss:.3f}")
    return curve


def train_step(tuning: Tuning, batch: Batch, lr: float, max_grad_norm: float | None = None) -> float:
    """One optimizer step; returns the loss, a mean over the answer tokens of the whole batch."""
    for group in tuning.optimizer.param_groups:
        group["lr"] = lr
    answers = sum((micro["labels"][:, 1:] != -100).sum() for micro in batch)
    total = 0.0
    for micro in batch:
        loss = tuning.model(**micro, use_cache=False, num_items_in_batch=answers).loss
        total += loss.item()
        if not math.isfinite(total):
            raise Diverged(f"the loss is {total}")
        tuning.backward(loss)
    if not tuning.fused:
        _check_gradients(tuning, max_grad_norm)
    tuning.optimizer.step()
    tuning.optimizer.zero_grad()
    return total


def _check_gradients(tuning: Tuning, max_grad_norm: float | None) -> None:
    parameters = [p for group in tuning.optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    if not torch.isfinite(norm):
        raise Diverged(f"the gradient's norm is {norm.item()}")
    if max_grad_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_grad_norm, norm)


def _state(tuning: Tuning, curve: dict[str, list]) -> dict:
    state = {
        "parameters": [parameter.data for parameter in tuning.trainable],
        "optimizer": tuning.optimizer.state_dict(),
        "curve": curve,
        "random": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["random_cuda"] = torch.cuda.get_rng_state()
    return state


def _resume(tuning: Tuning, states: Path, device: str) -> tuple[dict[str, list], int]:
    state = checkpoint.load_latest(states, device)
    if state is None:
        return empty_curve(), 0
    for parameter, saved in zip(tuning.trainable, state["parameters"], strict=True):
        parameter.data.copy_(saved)
    tuning.optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"].cpu())
    if "random_cuda" in state:
        torch.cuda.set_rng_state(state["random_cuda"].cpu())
    return state["curve"], len(state["curve"]["step"])
