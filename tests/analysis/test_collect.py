"""Which result files are trusted, which are left out, and what is said of them."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic

from analysis import collect, listing
from analysis.files import ROOT, InputError

LORA = "runs/lora/seed-1/eval/gsm8k.json"


@pytest.fixture
def settings() -> dict:
    return synthetic.config(methods=("none", "lora", "chunkft"))


@pytest.fixture
def folder(tmp_path: Path, settings: dict) -> Path:
    return synthetic.tree(tmp_path, settings)


def change(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rows(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_complete_experiment_is_read_whole(folder: Path, settings: dict) -> None:
    results = collect.read(folder)
    assert not results.left_out
    assert len(results.files) == 2 + (1 + 3) + 2 * 2 * (
        1 + 3
    )  # measurements, no tuning, and two methods with two seeds
    assert {planned.outcome.status for planned in results.planned()} == {"ok"}


def test_results_csv_has_a_row_per_planned_result(folder: Path) -> None:
    (folder / LORA).unlink()
    listing.write(collect.read(folder))
    found = {row["file"]: row for row in rows(folder / "results.csv")}
    assert len(found) == 22
    assert found[LORA]["status"] == "not run"
    kept = json.loads((folder / "runs/lora/seed-0/eval/gsm8k.json").read_text())
    assert float(found["runs/lora/seed-0/eval/gsm8k.json"]["evaluation.score"]) == kept["evaluation"]["score"]
    assert found["runs/chunkft/measure.json"]["memory.reserved"] == ""  # null is empty, not 0


def truncate(path: Path) -> None:
    path.write_text(path.read_text()[:-20])


def poison(value: str):
    return lambda path: path.write_text(path.read_text().replace('"stderr": 0.01', f'"stderr": {value}'))


def other_origin(path: Path) -> None:
    content = json.loads(path.read_text())
    content["provenance"]["data"] = "e" * 64
    path.write_text(json.dumps(content))


def other_setting(path: Path) -> None:
    change(path, config={"train": {"steps": 999}})


def other_rate(path: Path) -> None:
    change(path, config={"settings": {"method": "lora", "lr": 0.5}})


def copy_of_other_seed(path: Path) -> None:
    shutil.copy(path.parents[2] / "seed-0/eval/gsm8k.json", path)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (truncate, "truncated"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not text"),
        (lambda path: path.write_text("[]"), "not a JSON object"),
        (poison("NaN"), "NaN"),
        (poison("-Infinity"), "-Infinity"),
        (poison("1e999"), "1e999"),
        (lambda path: change(path, schema=2), "schema version 2"),
        (lambda path: change(path, status="fine"), "status"),
        (lambda path: change(path, evaluation={"task": "gsm8k"}), "evaluation"),
        (lambda path: change(path, experiment="another"), "belongs to the experiment another"),
        (lambda path: change(path, method="dora"), "dora is not in config.json"),
        (copy_of_other_seed, "belongs in runs/lora/seed-0/eval/gsm8k.json"),
        (other_origin, "other data"),
        (other_setting, "train.steps was 999, and config.json has 100"),
        (other_rate, "settings.lr was 0.5"),
    ],
)
def test_a_bad_file_is_left_out_and_named(folder: Path, spoil, why: str) -> None:
    spoil(folder / LORA)
    results = collect.read(folder)
    assert list(results.left_out) == [LORA]
    assert why in results.left_out[LORA]
    assert results.evaluation("lora", 1, "gsm8k").status == "left out"
    assert results.evaluation("lora", 0, "gsm8k").status == "ok"
    listing.write(results)
    assert [row["file"] for row in rows(folder / "left_out.csv")] == [LORA]


def test_a_duplicate_under_another_name_is_left_out(folder: Path) -> None:
    shutil.copy(folder / LORA, folder / LORA.replace("gsm8k", "mmlu"))
    shutil.copytree(folder / "runs/lora/seed-0", folder / "runs/lora/seed-7")
    left_out = collect.read(folder).left_out
    assert f"belongs in {LORA}" in left_out[LORA.replace("gsm8k", "mmlu")]
    assert "belongs in runs/lora/seed-0/train.json" in left_out["runs/lora/seed-7/train.json"]


def test_results_that_are_no_longer_configured_are_left_out(folder: Path, settings: dict) -> None:
    settings["seeds"] = [0]
    del settings["tasks"]["mmlu"]
    synthetic.write(folder / "config.json", settings)
    left_out = collect.read(folder).left_out
    assert left_out["runs/lora/seed-1/train.json"] == "its seed 1 is not in config.json"
    assert left_out["runs/lora/seed-0/eval/mmlu.json"] == "its task mmlu is not in config.json"


@pytest.mark.parametrize(
    ("curve", "why"),
    [({"loss": [1.0]}, "differ in length"), ({"loss": ["a"], "step": [1]}, "other than numbers")],
)
def test_a_curve_must_be_columns_of_numbers(folder: Path, curve: dict, why: str) -> None:
    path = folder / "runs/lora/seed-0/train.json"
    content = json.loads(path.read_text())
    columns = content["training"]["curve"]
    if len(curve) > 1:
        columns = {key: column[:1] for key, column in columns.items()}
    content["training"]["curve"] = columns | curve
    path.write_text(json.dumps(content))
    assert why in collect.read(folder).left_out["runs/lora/seed-0/train.json"]


def test_a_crash_that_was_moved_aside_is_known_until_it_is_tried_again(folder: Path, settings: dict) -> None:
    synthetic.fail(folder, settings, "lora", "crashed", "KeyError: 'x'", seeds=[1])
    path = folder / "runs/lora/seed-1/train.json"
    path.rename(path.with_suffix(".crashed"))
    results = collect.read(folder)
    assert not results.left_out
    assert (results.train("lora", 1).status, results.train("lora", 1).reason) == ("crashed", "KeyError: 'x'")
    assert results.location("runs/lora/seed-1/train.json") == "runs/lora/seed-1/train.crashed"
    shutil.copy(folder / "runs/lora/seed-0/train.json", path)
    change(path, seed=1)
    assert collect.read(folder).train("lora", 1).status == "ok"


def test_an_evaluation_without_file_takes_the_word_of_its_training(folder: Path, settings: dict) -> None:
    synthetic.fail(folder, settings, "lora", "diverged", "loss is inf at step 31", seeds=[1])
    results = collect.read(folder)
    assert results.evaluation("lora", 1, "gsm8k").status == "diverged"
    assert results.evaluation("lora", 0, "gsm8k").status == "ok"


def test_no_tuning_has_one_seed_and_no_measurement(folder: Path) -> None:
    planned = [planned for planned in collect.read(folder).planned() if planned.method == "none"]
    assert {p.seed for p in planned} == {0}
    assert {p.kind for p in planned} == {"train", "evaluate"}


def test_no_tuning_may_have_another_name_and_a_refused_measurement(folder: Path, settings: dict) -> None:
    settings["methods"] = {"base": {"method": "none"}}
    synthetic.write(folder / "config.json", settings)
    refused = synthetic.result(
        settings | {"methods": {"none": {}}}, "measure", "none", None, "not supported", "x"
    )
    synthetic.write(folder / "runs/base/measure.json", refused | {"method": "base"})
    results = collect.read(folder)
    assert results.tuned == [] and results.seeds("base") == [0]
    assert {planned.outcome.status for planned in results.planned()} == {"not supported", "not run"}


def test_two_entries_of_one_method_are_told_apart(folder: Path, settings: dict) -> None:
    settings["methods"]["chunkft-k8"] = {"method": "chunkft", "lr": 0.002}
    synthetic.write(folder / "config.json", settings)
    content = synthetic.result(settings, "train", "chunkft", 0, "crashed", "x") | {
        "method": "chunkft-k8",
        "config": {},
    }
    synthetic.write(folder / "runs/chunkft-k8/seed-0/train.json", content)
    results = collect.read(folder)
    assert results.title("chunkft") == "ChunkFT (lr 0.001)"
    assert results.title("chunkft-k8") == "ChunkFT (lr 0.002)"
    assert (
        results.setting("chunkft") == results.setting("chunkft-k8") == results.family("chunkft") == "ChunkFT"
    )
    assert results.title("lora") == "LoRA"


@pytest.mark.parametrize(
    ("config", "words"),
    [(None, "missing"), ("{", "truncated"), ('{"name": "x"}', "lacks methods, seeds, tasks, measure")],
)
def test_a_folder_without_a_usable_config_is_refused(tmp_path: Path, config: str | None, words: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=words):
        collect.read(tmp_path)


def test_the_command_line_says_one_sentence(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "analysis.listing", tmp_path / "nowhere"],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: ") and ran.stderr.count("\n") == 1


def test_analysis_needs_neither_torch_nor_the_other_folders() -> None:
    modules = "analysis.listing, analysis.tables, analysis.figures, analysis.report"
    loads = f"import sys, {modules}; from analysis.figures import loss, radar; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", loads], cwd=ROOT, text=True, capture_output=True, check=True)
    assert not {"torch", "transformers", "chunkft", "baselines", "workflow"} & set(ran.stdout.split())
