"""AdaLomo: LOMO with a factored second moment and updates normalised by tensor (lomo-optim)."""

from typing import Any

from baselines import Run, Tuning, checkpoint_activations, lomo

TITLE = "AdaLomo"
PAPER = "arXiv 2310.10195"
PARAMETERS: dict[str, Any] = {}
REQUIRES = lomo.REQUIRES
NOTES = (
    *lomo.NOTES,
    "Fixed: moments are placed beside the weights; the package needs a CUDA device for them.",
    "Fixed: moments and step count are saved, which the package leaves out of its state.",
)
RESUMES = True

supports = lomo.supports
export = lomo.export


def build(model: Any, run: Run) -> Tuning:
    from baselines._adalomo import PortableAdaLomo

    if run.checkpointing:
        checkpoint_activations(model)
    options = {"lr": run.lr, "clip_grad_norm": run.max_grad_norm, "weight_decay": run.weight_decay}
    return lomo.fused(model, run, PortableAdaLomo(model, **options))
