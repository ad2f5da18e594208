"""ChunkFT: every parameter trained, one chunk of them at a time; this project's own library, `chunkft/`."""

from typing import Any

from baselines import Run, Tuning, decay_groups

TITLE = "ChunkFT"
PAPER = "arXiv 2605.21177"
PARAMETERS: dict[str, Any] = {
    "chunks": 4,
    "steps_per_chunk": 5,
    "partition": "strided",
    "order": "cyclic",
    "state": "fp32",
}
REQUIRES: tuple[str, ...] = ()
NOTES = (
    "Clipping by norm takes the norm of the active chunk's gradient: the other chunks have none.",
    "Idle chunks' state waits on the host: on a GPU it takes none of its memory, on a CPU it counts.",
)
RESUMES = True


def supports(run: Run) -> str | None:
    if run.parameters["state"] == "disk":
        return "runs keep idle state in memory; set state to fp32, bf16 or reset"
    return None


def build(model: Any, run: Run) -> Tuning:
    from chunkft import ChunkFT, checkpoint

    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if run.checkpointing:
        checkpoint(model)
    groups = decay_groups(model, run.weight_decay)
    optimizer = ChunkFT(model, lr=run.lr, groups=groups, seed=run.seed, **run.parameters)
    cycle = len(optimizer.chunks) * optimizer.steps_per_chunk
    return Tuning(model, optimizer, trainable=trainable, cycle=cycle)


def export(model: Any) -> Any:
    from chunkft import release

    return release(model)
