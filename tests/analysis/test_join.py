"""A table over experiments that train on one task each."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import synthetic

from analysis import collect
from analysis.files import ROOT, InputError
from analysis.join import join
from analysis.tables import superglue


def experiment(tmp_path: Path, task: str, **changes) -> Path:
    settings = synthetic.config(
        f"roberta-large-{task}", methods=("none", "lora", "chunkft"), model="roberta-large"
    )
    settings |= {"tasks": {task: {"batch_size": 32}}, "data": {"sources": {task: {"path": "aps/super_glue"}}}}
    settings["train"] = {"steps": None, "epochs": 32, "data": {task: None}} | changes
    folder = synthetic.tree(tmp_path, settings | {"train": settings["train"] | {"steps": 5}})
    synthetic.write(folder / "config.json", settings)
    for path in folder.glob("runs/**/*.json"):
        forget_config(path)
    return folder


def forget_config(path: Path) -> None:
    """Synthetic results name steps, these experiments epochs: a file that names neither fits both."""
    synthetic.write(path, json.loads(path.read_text()) | {"config": {}})


def test_each_experiment_is_a_column_and_the_average_is_over_them(tmp_path: Path) -> None:
    folders = [experiment(tmp_path, task) for task in ("rte", "boolq")]
    settings = synthetic.config("roberta-large-rte", methods=("none", "lora", "chunkft"))
    synthetic.fail(folders[0], settings, "lora", "diverged", "loss is inf", seeds=[1])
    forget_config(folders[0] / "runs/lora/seed-1/train.json")
    joined = join(tmp_path / "superglue", [collect.read(folder) for folder in folders])
    shown = superglue.table(joined)
    keys = [column.key for column in shown.columns]
    assert [key for key in keys if key in ("boolq", "rte", "average")] == ["boolq", "rte", "average"]
    cells = {row.method: dict(zip(keys, row.cells, strict=True)) for row in shown.rows}
    assert [cells["lora"][key].n for key in ("boolq", "rte", "average")] == [2, 1, 1]
    assert cells["lora"]["rte"].notes == ("seed 1: diverged: loss is inf",)
    assert {row.title for row in shown.rows} == {"No tuning", "LoRA", "ChunkFT"}
    assert cells["lora"]["boolq_published"].mean == 0.81
    assert cells["lora"]["boolq_verdict"].word in ("match", "differs")


def test_other_runs_are_not_joined(tmp_path: Path) -> None:
    one, other = (collect.read(experiment(tmp_path, task, epochs=n)) for task, n in (("rte", 32), ("wic", 3)))
    with pytest.raises(InputError, match="train.epochs was 3, and config.json has 32"):
        join(tmp_path, [one, other])
    with pytest.raises(InputError, match="rte is in"):
        join(tmp_path, [one, one])


def test_the_command_line_writes_the_tables(tmp_path: Path) -> None:
    folders = [experiment(tmp_path, task) for task in ("rte", "boolq", "sst2")]
    command = [sys.executable, "-m", "analysis.join", tmp_path / "out", *folders]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(tmp_path / f"out/tables/{name}.md") for name in ("superglue", "glue")]
    table = pd.read_csv(tmp_path / "out/tables/superglue.csv")
    assert list(table["method"]) == ["none", "lora", "chunkft"] and table["average"].notna().all()
