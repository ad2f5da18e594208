"""What ran where: commit, versions, hardware.  No host name, no address, no token."""

import datetime
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from workflow.steps.files import sha256

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "torch", "transformers", "tokenizers", "datasets", "peft", "lm_eval", "fschat", "galore-torch",
    "lomo-optim", "badam", "apollo-torch", "bitsandbytes", "numpy", "pandas", "matplotlib", "snakemake",
)  # fmt: skip


def provenance(data: str | None, model: str | None) -> dict:
    """The `provenance` object of a result file.

    `data` is the sha256 of the data manifest and `model` the revision or hash of
    the base model; None where a result depends on neither.
    """
    return {
        **_commit(),
        "versions": {"python": platform.python_version(), **_versions()},
        "lock": sha256(ROOT / "requirements.txt"),
        "hardware": hardware(),
        "command": shlex.join(["python", "-m", *_module_command()]),
        "data": data,
        "model": model,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def hardware() -> dict:
    """Processor, cores, memory in bytes, and the GPUs torch sees with their driver."""
    found = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "gpus": [],
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        found["cuda"] = torch.version.cuda
        found["driver"] = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split(
            "\n"
        )[0]
    return found


def _commit() -> dict:
    try:
        status = _output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
        return {"commit": _output("git", "-C", str(ROOT), "rev-parse", "HEAD"), "dirty": bool(status)}
    except (OSError, subprocess.CalledProcessError):  # not a checkout, or no git
        return {"commit": None, "dirty": None}


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _versions() -> dict:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def _module_command() -> list[str]:
    main = sys.modules["__main__"].__spec__
    return [main.name if main else Path(sys.argv[0]).name, *sys.argv[1:]]


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
