"""Training state on disk: written beside and renamed, so that what is there is whole."""

import os
from pathlib import Path
from typing import Any

import torch

KEEP = 2  # a newer state replaces the one before the last, never the last


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Keeps `state` (tensors, numbers and plain containers) as the state after `step` steps."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.pt"
    beside = path.with_suffix(".partial")
    with open(beside, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    for old in sorted(folder.glob("step-*.pt"))[:-KEEP]:
        old.unlink()


def load_latest(folder: Path, device: str) -> dict[str, Any] | None:
    """The newest state in `folder`, or None where there is none."""
    states = sorted(folder.glob("step-*.pt"))
    return torch.load(states[-1], map_location=device, weights_only=True) if states else None


def remove(folder: Path) -> None:
    """Removes every state; the results that were made from them are written."""
    for path in folder.glob("step-*"):
        path.unlink()
    if folder.is_dir():
        folder.rmdir()
