"""AdaLomo: LOMO with a factored second moment and updates normalised by tensor (lomo-optim)."""

from typing import Any

from baselines import Run, Tuning, checkpoint_activations, lomo

TITLE = "AdaLomo"
PAPER = "arXiv 2310.10195"
PARAMETERS: dict[str, Any] = {}
REQUIRES = lomo.REQUIRES
NOTES = (
    *lomo.NOTES,
    "Kept: needs a CUDA device, on which the package places its moments.",
    "Fixed: moments and step count are saved, which the package leaves out of its state.",
)
RESUMES = True

export = lomo.export


def supports(run: Run) -> str | None:
    if run.device != "cuda":
        return "lomo-optim places AdaLomo's moments on a CUDA device; set the device to cuda, or leave it out"
    return lomo.supports(run)


def build(model: Any, run: Run) -> Tuning:
    from baselines._adalomo import SavedAdaLomo

    if run.checkpointing:
        checkpoint_activations(model)
    options = {"lr": run.lr, "clip_grad_norm": run.max_grad_norm, "weight_decay": run.weight_decay}
    return lomo.fused(model, run, SavedAdaLomo(model, **options))
