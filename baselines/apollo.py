"""APOLLO: SGD whose step lengths are those Adam has in a random low-rank projection (apollo-torch).

    R = P G, P random;  s_j = |Adam(R)_j| / |R_j| for each channel j;  W = W - lr sqrt(scale) s G

`scale_type: tensor` has one s for the whole matrix.
"""

from typing import Any

from baselines import Run, Tuning, checkpoint_activations

TITLE = "APOLLO"
PAPER = "arXiv 2412.05270"
PARAMETERS: dict[str, Any] = {"rank": 256, "gap": 200, "scale": 1.0, "scale_type": "channel"}
REQUIRES = ("apollo-torch",)
NOTES = (
    "Kept: moments, projections and updates are in the precision of the weights, without fp32 masters.",
    "Kept: projections are stored; the paper draws them again from their seeds, which saves that memory.",
    "Kept: each weight's projection is seeded by its place in the model, the same in every run.",
    "Fixed: the projectors are saved as tensors; the package's own state cannot be loaded safely.",
    "Fixed: weight decay reaches the optimizer, which the Trainer leaves out; epsilon is the package's 1e-6.",
)
RESUMES = True


def supports(run: Run) -> str | None:
    scale_type = run.parameters["scale_type"]
    if scale_type not in ("channel", "tensor"):
        return f"scale_type is {scale_type!r}; write channel or tensor"
    return None


def build(model: Any, run: Run) -> Tuning:
    from apollo_torch import APOLLOAdamW
    from apollo_torch.random_projector import GradientProjector

    from baselines._projectors import projected_groups, store_projectors_as_tensors

    if run.checkpointing:
        checkpoint_activations(model)
    own = run.parameters
    groups = projected_groups(
        model,
        run.weight_decay,
        rank=own["rank"],
        update_proj_gap=own["gap"],
        scale=own["scale"],
        scale_type=own["scale_type"],
        proj="random",
        proj_type="std",
    )
    optimizer = APOLLOAdamW(groups, lr=run.lr)
    store_projectors_as_tensors(optimizer, GradientProjector)
    return Tuning(model, optimizer)


def export(model: Any) -> Any:
    return model
