"""Memory and time of one method's training step on one model shape with random weights."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from unittest.mock import patch

import baselines
from workflow.steps import host
from workflow.steps.files import InputError
from workflow.steps.fingerprint import code_fingerprint
from workflow.steps.provenance import provenance
from workflow.steps.result import SCHEMA_VERSION, title
from workflow.steps.train import status_of

SEED = 0
BUSY = (
    2 << 30
)  # bytes taken on a card before anything is made there; a CUDA context of one's own takes 0.5 GiB


@dataclass(frozen=True)
class Case:
    """One row of the cost tables: all that its numbers depend on, besides code and hardware."""

    model: str
    shape: dict[str, Any]  # keys of transformers' config
    batch_size: int  # sequences
    length: int  # tokens of each
    setting: str  # the name of what follows:
    loss: str  # head or model
    checkpointing: str  # chunkft, products, transformers or none
    entry: str  # the method's name in the tables
    settings: dict[str, Any]  # `method`, the file in baselines/, and all its parameters
    precision: str
    lr: float
    device: str
    threads: int
    warmup: int
    steps: int
    turns: int
    renewal: bool  # measure the matrix decompositions that some methods renew their projection by
    limit: float  # seconds

    @property
    def place(self) -> str:
        """Where the result is, below the output folder."""
        renewal = "-renewal" if self.renewal else ""
        where = f"b{self.batch_size}-l{self.length}-{self.setting}{renewal}"
        return f"{self.model}/{where}/{self.entry}.json"

    @property
    def run_id(self) -> str:
        modules = ["workflow.steps.costcase", f"baselines.{self.settings['method']}"]
        return code_fingerprint(modules, [{**asdict(self), "limit": None}])

    @property
    def run(self) -> baselines.Run:
        file = baselines.methods()[self.settings["method"]]
        return baselines.Run(
            method=self.entry,
            lr=self.lr,
            steps=self.warmup + self.steps,
            batch_size=self.batch_size,
            precision=self.precision,
            device=self.device,
            parameters={key: self.settings[key] for key in file.PARAMETERS},
        )


def record(case: Case, experiment: str, status: str, reason: str | None = None, **sections: Any) -> dict:
    """A result of kind `cost`, as `workflow/schemas/result.schema.json` describes it."""
    file = baselines.methods()[case.settings["method"]]
    return {
        "schema": SCHEMA_VERSION,
        "kind": "cost",
        "experiment": experiment,
        "method": case.entry,
        "title": title(case.entry, case.settings, file),
        "notes": list(file.NOTES),
        "seed": None,
        "status": status,
        "reason": reason,
        "run_id": case.run_id,
        "config": asdict(case),
        "provenance": provenance(None, None),
        **sections,
    }


def refusal(case: Case) -> tuple[str, str] | None:
    """(status, reason) where the case cannot be measured; known without a GPU."""
    file = baselines.methods()[case.settings["method"]]
    missing = baselines.missing_packages(file)
    if missing:
        return "not installed", f"pip install {' '.join(missing)}"
    reason = file.supports(case.run)
    return ("not supported", reason) if reason else None


def outcome(case: Case, experiment: str) -> dict:
    """The result of a case, whatever became of it.  InputError where the card is in use."""
    import torch

    refused = refusal(case)
    if refused:
        return record(case, experiment, *refused)
    torch.set_num_threads(case.threads)
    if case.device == "cuda":
        check_idle()
    try:
        sections = measure(case)
        reason = host.busy(sections["host"])
        if reason:
            sections["time"] = None
        return record(case, experiment, "ok", reason, **sections)
    except Exception as error:
        return record(case, experiment, *status_of(error))


def check_idle(patience: float = 5.0) -> None:
    """Raises InputError where others hold memory on the card, once `patience` seconds have passed."""
    import torch

    until = time.monotonic() + patience  # what a process held takes a moment to be free when it has ended
    while True:
        free, total = torch.cuda.mem_get_info()
        if total - free <= BUSY:
            return
        if time.monotonic() > until:
            raise InputError(
                f"{(total - free) / 2**30:.1f} GiB of the GPU are in use before anything was started on it; "
                "wait until it is idle, or choose another with CUDA_VISIBLE_DEVICES"
            )
        time.sleep(0.2)


@contextmanager
def prepared(case: Case) -> Iterator[tuple[baselines.Tuning, Callable[[Any], Any], "Decompositions"]]:
    """The tuning to take steps of, within the context, and the loss as a function of the model."""
    import torch

    from chunkft.shapes import random_model

    torch.manual_seed(SEED)
    model = random_model(case.shape, case.precision, case.device, case.length)
    ids = torch.randint(model.config.vocab_size, (case.batch_size, case.length), device=case.device)
    decompositions = Decompositions(case.device)
    with patch.object(torch.linalg, "svd", decompositions):
        tuning = baselines.methods()[case.settings["method"]].build(model, case.run)
        del model
        tuning.model.train()
        checkpoint(tuning.model, case.checkpointing)
        yield tuning, lambda model: loss(model, ids, case.loss), decompositions


def measure(case: Case) -> dict[str, dict]:
    """The `memory`, `time`, `host`, `batch` and `renewal` sections of a result."""
    from workflow.steps.profile import profile, step_seconds

    with prepared(case) as (tuning, loss, decompositions):
        watch = host.Watch()
        repeats = {"warmup": case.warmup, "steps": case.steps, "sampled": case.turns}
        sections: dict[str, Any] = profile(tuning, loss, case.lr, case.device, **repeats)
    sections["host"] = watch.seen()
    tokens = case.batch_size * case.length
    sections["time"]["tokens_per_second"] = tokens / step_seconds(sections["time"])
    sections["batch"] = {
        "batch_size": case.batch_size,
        "length": case.length,
        "precision": case.precision,
        "checkpointing": case.checkpointing != "none",
    }
    if case.renewal:
        del tuning, loss
        sections["renewal"] = decompositions.measured()
    return sections


def loss(model: Any, ids: Any, kind: str) -> Any:
    """The mean cross-entropy of predicting each of `ids` [sequences, tokens] from those before it."""
    from chunkft import head_loss

    if kind == "model":
        return model(input_ids=ids, labels=ids, use_cache=False).loss
    causal = model.get_base_model() if hasattr(model, "peft_config") else model
    body = getattr(causal, causal.base_model_prefix)
    hidden = body(input_ids=ids, use_cache=False).last_hidden_state
    return head_loss(hidden[:, :-1], causal.get_output_embeddings(), ids[:, 1:])


def checkpoint(model: Any, kind: str) -> None:
    import chunkft

    if kind == "transformers":
        baselines.checkpoint_activations(model)
    elif kind != "none":
        chunkft.checkpoint(model, keep_products=kind == "products")


class Decompositions:
    """Stands in for `torch.linalg.svd`: gives random factors at once, and measures the real ones afterwards.

    A projection is renewed every few hundred steps and takes far longer than they do, so it is left
    out of the step's time and of its peak, and its own cost is stated beside them.
    """

    def __init__(self, device: str) -> None:
        import torch

        self.device, self.svd = device, torch.linalg.svd
        self.calls: Counter[tuple[int, ...]] = Counter()
        self.levels: dict[tuple[int, ...], int] = {}  # the most allocated when a matrix of a shape came

    def __call__(self, matrix: Any, full_matrices: bool = True) -> tuple[Any, Any, Any]:
        import torch

        if full_matrices or matrix.dim() != 2:
            raise ValueError("only thin decompositions of matrices are stood in for")
        shape = tuple(matrix.shape)
        self.calls[shape] += 1
        if self.device == "cuda":
            self.levels[shape] = max(self.levels.get(shape, 0), torch.cuda.memory_allocated())
        (rows, columns), rank = shape, min(shape)
        left = torch.randn(rows, rank, device=matrix.device, dtype=matrix.dtype) / math.sqrt(rows)
        right = torch.randn(rank, columns, device=matrix.device, dtype=matrix.dtype) / math.sqrt(columns)
        return left, torch.ones(rank, device=matrix.device, dtype=matrix.dtype), right

    def measured(self) -> dict[str, Any]:
        """Seconds of one renewal, each shape of matrix being decomposed once, and its peak in bytes."""
        import torch

        rows, cuda = [], self.device == "cuda"
        for shape, count in self.calls.items():
            matrix = torch.randn(shape, device=self.device)
            before = torch.cuda.memory_allocated() if cuda else 0
            if cuda:
                torch.cuda.reset_peak_memory_stats()
                torch.cuda.synchronize()
            started = time.perf_counter()
            self.svd(matrix, full_matrices=False)
            if cuda:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - started
            peak = self.levels[shape] + torch.cuda.max_memory_allocated() - before if cuda else None
            rows.append({"shape": list(shape), "count": count, "seconds": seconds, "peak": peak})
        return {
            "seconds": sum(row["count"] * row["seconds"] for row in rows),
            "peak": max((row["peak"] for row in rows), default=0) if cuda else None,
            "decompositions": rows,
        }
