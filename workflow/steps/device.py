"""One job at a time on a GPU: two on one card would spoil each other's figures and memory."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any


def lock(experiment: Path, device: str) -> AbstractContextManager[Any]:
    """A context in which this machine's GPU is this job's; of a CPU nothing is locked."""
    if device != "cuda":
        return nullcontext()
    import fcntl

    path = experiment.parent / ".state" / "gpu.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "w")  # noqa: SIM115  leaving the context closes it, and so lets go of the lock
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
