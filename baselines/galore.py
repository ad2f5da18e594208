"""GaLore: Adam on gradients projected to low rank (galore-torch).

    R = P^T G (P from an SVD of G, renewed every `gap` steps);  W = W - lr scale P Adam(R)

`layerwise: true` updates each weight as soon as backward has its gradient, and drops the gradient.
"""

from typing import Any

from baselines import Run, Tuning, checkpoint_activations

TITLE = "GaLore"
PAPER = "arXiv 2403.03507"
# rank, gap and scale of the fine-tuning comparison in arXiv 2404.02827
PARAMETERS: dict[str, Any] = {"rank": 256, "gap": 256, "scale": 0.25, "layerwise": False}
REQUIRES = ("galore-torch",)
NOTES = (
    "Kept: moments, projections and updates are in the precision of the weights, without fp32 masters.",
    "Kept: moments are carried over unchanged when the projection is renewed.",
    "Kept: layer-wise, a non-finite gradient is seen only in the next loss, after the update.",
    "Fixed: the projectors are saved as tensors; the package's own state cannot be loaded safely.",
    "Fixed: weight decay reaches the optimizer, which the Trainer leaves out; epsilon is the package's 1e-6.",
)
RESUMES = True


def supports(run: Run) -> str | None:
    if run.parameters["layerwise"] and run.accumulation > 1:
        return "layer-wise GaLore updates inside backward: no gradients can accumulate; use one micro-batch"
    if run.parameters["layerwise"] and run.max_grad_norm is not None:
        return "layer-wise GaLore never has all gradients at once to clip; set max_grad_norm to null"
    return None


def build(model: Any, run: Run) -> Tuning:
    from galore_torch import GaLoreAdamW
    from galore_torch.galore_projector import GaLoreProjector

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
        proj_type="std",
    )
    optimizer = GaLoreAdamW(groups, lr=run.lr, no_deprecation_warning=True)
    store_projectors_as_tensors(optimizer, GaLoreProjector)
    if not own["layerwise"]:
        return Tuning(model, optimizer)

    update = optimizer.step

    def update_now(parameter: Any) -> None:
        update()  # only this parameter has a gradient: the others' are not there yet, or gone
        parameter.grad = None

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(update_now)
    optimizer.step = lambda closure=None: None  # the loop's call comes when every update is done
    return Tuning(model, optimizer, fused=True)


def export(model: Any) -> Any:
    return model
