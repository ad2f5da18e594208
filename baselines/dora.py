"""DoRA: LoRA on the direction of each weight, its column magnitudes trained apart (peft)."""

from typing import Any

from baselines import Run, Tuning, lora

TITLE = "DoRA"
PAPER = "arXiv 2402.09353"
PARAMETERS = lora.PARAMETERS
REQUIRES = lora.REQUIRES
NOTES = lora.NOTES
RESUMES = True

supports = lora.supports
export = lora.export


def build(model: Any, run: Run) -> Tuning:
    return lora.adapt(model, run, use_dora=True)
