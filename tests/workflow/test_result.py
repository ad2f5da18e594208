"""What every result file carries: a title of its own, and a refusal before anything is loaded."""

from pathlib import Path

import pytest

import baselines
from workflow.steps.configuration import load
from workflow.steps.result import titles
from workflow.steps.train import outcome

MINI = Path(__file__).parents[2] / "workflow" / "config" / "mini.yaml"
NO_EXPERIMENTS = {"defaults", "cost"}
EXPERIMENTS = sorted(path for path in MINI.parent.glob("*.yaml") if path.stem not in NO_EXPERIMENTS)


def test_titles_tell_entries_of_one_method_apart() -> None:
    settings = {
        "lora-r100": {"method": "lora", "lr": 1e-3, "rank": 100},
        "layerwise": {"method": "galore", "lr": 1e-3, "layerwise": True},
        "slow": {"method": "lora", "lr": 1e-4, "rank": 4},
        "fast": {"method": "lora", "lr": 1e-2, "rank": 4},
        "again": {"method": "full", "lr": 1e-3},
    }
    found = titles(load([MINI], {"methods": ["lora", "full", *settings], "settings": settings}))
    assert found == {
        "lora": "LoRA",
        "full": "Full fine-tuning",
        "lora-r100": "LoRA (rank 100)",
        "layerwise": "GaLore (layerwise)",
        "slow": "LoRA (rank 4, lr 0.0001)",
        "fast": "LoRA (rank 4, lr 0.01)",
        "again": "Full fine-tuning (again)",
    }


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_no_shipped_config_has_one_title_twice(path: Path) -> None:
    found = titles(load([path], {"methods": "all"} if path == MINI else {}))
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize(
    ("method", "changes", "word"),
    [
        ("lomo", {"train": {"micro_batch_size": 4}}, "micro-batch"),
        ("galore-layerwise", {"train": {"max_grad_norm": 1.0}}, "max_grad_norm"),
        ("full", {"settings": {"full": {"pure": True}}}, "bfloat16"),
        ("adalomo", {"train": {"micro_batch_size": 8}}, "micro-batch"),
    ],
)
def test_a_refused_run_is_a_row_before_a_model_is_loaded(
    tmp_path: Path, method: str, changes: dict, word: str
) -> None:
    """The experiment's folder is empty: there is neither a model nor data to load."""
    record = outcome(tmp_path, load([MINI], {"methods": [method], **changes}), method, 0, tmp_path / "run")
    assert record["status"] == "not supported" and word in record["reason"]


def test_a_missing_package_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines.methods()["lomo"], "REQUIRES", ("no-such-package",))
    record = outcome(tmp_path, load([MINI], {"methods": ["lomo"]}), "lomo", 0, tmp_path / "run")
    assert (record["status"], record["reason"]) == ("not installed", "pip install no-such-package")
