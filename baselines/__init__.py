"""The methods the suite compares: one file each, found by scanning this folder.

Listing them imports neither torch nor any method's package.  What a method file
defines is written in `docs/architecture.md`; `methods()` checks that it does.
Files whose names begin with an underscore are shared by several methods.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

REQUIRED = ("TITLE", "PAPER", "PARAMETERS", "REQUIRES", "NOTES", "RESUMES", "supports", "build", "export")


@dataclass(frozen=True)
class Run:
    """What a method is told about the run it is built for."""

    method: str
    lr: float
    steps: int  # optimizer steps in the whole run
    batch_size: int  # sequences per optimizer step
    accumulation: int = 1  # micro-batches per optimizer step
    weight_decay: float = 0.0
    max_grad_norm: float | None = None
    precision: str = "float32"  # of the weights: float32, bfloat16, float16
    checkpointing: bool = False  # recompute activations in backward
    device: str = "cpu"
    seed: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)  # the method's own, defaults filled in


def trains(method: ModuleType) -> bool:
    """Whether the method trains at all; a file with `TRAINS = False` is evaluated as the base model is."""
    return getattr(method, "TRAINS", True)


def plain_backward(loss: Any) -> None:
    loss.backward()


@dataclass
class Tuning:
    """A model made ready for training by one method.

    The loop writes the scheduled rate into every `optimizer.param_groups[i]["lr"]`
    before the forward pass, calls `backward(loss)` once per micro-batch, then
    `optimizer.step()` and `optimizer.zero_grad()`.
    """

    model: Any
    optimizer: Any
    backward: Callable[[Any], None] = plain_backward
    fused: bool = False  # the update happens inside backward; no gradient is left
    trainable: list[Any] | None = None  # all that the run trains: what a checkpoint holds
    cycle: int = 1  # optimizer steps in which every parameter has had its turn
    turns: int = 1  # of equal length in a cycle, each training parameters of its own
    jump: Callable[[int], None] | None = None  # end the turn with the coming step, and go on with turn n
    schedule: dict[str, Any] | None = None  # what is trained when, as the result schema has it

    def __post_init__(self) -> None:
        if self.trainable is None:  # right unless the method freezes parameters for a while
            self.trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]


def decay_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters that require gradients as optimizer groups: decay for matrices, none for the rest."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def checkpoint_activations(model: Any) -> None:
    """Recompute each layer's activations in backward, only as far down as a gradient is needed."""
    # transformers 5.23 renamed the switch and warns at the old name; 5.17 has only the old one
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    # the switch also makes the embedding's output require grad: backward would always run to the bottom
    model.disable_input_require_grads()


@cache
def methods() -> dict[str, ModuleType]:
    """Every method by name, sorted.  Raises AttributeError naming what a file lacks."""
    found = {}
    for entry in sorted(pkgutil.iter_modules(__path__), key=lambda e: e.name):
        if entry.name.startswith("_"):
            continue
        module = importlib.import_module(f"{__name__}.{entry.name}")
        lacking = [name for name in REQUIRED if not hasattr(module, name)]
        if lacking:
            raise AttributeError(f"baselines/{entry.name}.py does not define {', '.join(lacking)}")
        found[entry.name] = module
    return found


def missing_packages(method: ModuleType) -> list[str]:
    """The packages of `method.REQUIRES` that are not installed, looked up without importing them."""
    from importlib.metadata import PackageNotFoundError, distribution

    missing = []
    for package in method.REQUIRES:
        try:
            distribution(package)
        except PackageNotFoundError:
            missing.append(package)
    return missing
