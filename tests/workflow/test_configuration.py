"""A config is either complete and sound, or refused in one sentence that names the key."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import baselines
from workflow.steps.configuration import check_machine, check_results, load, overrides_from
from workflow.steps.files import InputError

CONFIGS = Path(__file__).parents[2] / "workflow" / "config"
MINI = CONFIGS / "mini.yaml"


@pytest.mark.parametrize(
    "path", sorted({*CONFIGS.glob("*.yaml")} - {CONFIGS / "cost.yaml"}), ids=lambda path: path.stem
)
def test_every_shipped_config_is_valid(path: Path) -> None:
    if path.stem == "defaults":
        assert set(yaml.safe_load(path.read_text())) >= set(yaml.safe_load(MINI.read_text()))
    else:
        assert load([path])["name"] == path.stem


def test_every_key_has_a_comment_above_it() -> None:
    lines = (CONFIGS / "defaults.yaml").read_text().splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        is_key = line and not line.lstrip().startswith("#") and ":" in line
        # a key may share the comment of the key above it, or open a section whose keys have their own
        if is_key and not line.endswith(":") and not line.startswith("    "):
            indented_key = before and not before.lstrip().startswith("#")
            assert before.lstrip().startswith("#") or indented_key, f"no comment above: {line}"


def test_later_files_and_overrides_win(tmp_path: Path) -> None:
    other = tmp_path / "mine.yaml"
    other.write_text("name: mine\ntrain: {steps: 7}\n")
    config = load([MINI, other], overrides_from(["train.batch_size=4", "methods=[full]"]))
    assert (config["name"], config["train"]["steps"], config["train"]["batch_size"]) == ("mine", 7, 4)
    assert list(config["methods"]) == ["full"]


def test_a_config_extends_another(tmp_path: Path) -> None:
    below = tmp_path / "folder" / "below.yaml"
    below.parent.mkdir()
    below.write_text(f"extends: {MINI}\nseeds: [3]\n")
    above = tmp_path / "above.yaml"
    above.write_text("extends: folder/below.yaml\ntrain: {steps: 7}\n")
    config = load([above])
    assert (config["name"], config["seeds"], config["train"]["steps"]) == ("above", [3], 7)
    assert config["train"]["batch_size"] == load([MINI])["train"]["batch_size"]
    below.write_text("extends: ../above.yaml\n")
    with pytest.raises(InputError, match="it extends itself"):
        load([above])
    below.write_text("extends: none.yaml\n")
    with pytest.raises(InputError, match="none.yaml does not exist"):
        load([above])


def test_varied_parameters_are_entries_of_their_own() -> None:
    vary = {"lr": [0.1, 0.2], "chunks": [2, 4]}
    config = load([MINI], {"methods": ["v"], "settings": {"v": {"method": "chunkft", "vary": vary}}})
    assert list(config["methods"]) == [f"v-lr-{lr}-chunks-{k}" for lr in vary["lr"] for k in vary["chunks"]]
    entry = config["methods"]["v-lr-0.2-chunks-2"]
    assert (entry["lr"], entry["chunks"], entry["method"]) == (0.2, 2, "chunkft")
    assert "vary" not in entry


def test_all_methods_are_those_with_settings() -> None:
    everything = set(yaml.safe_load(MINI.read_text())["settings"])
    assert set(load([MINI], {"methods": "all"})["methods"]) == everything


def test_parameters_get_their_methods_defaults() -> None:
    full = load([MINI])["methods"]["full"]
    assert full["method"] == "full"
    assert full.items() >= baselines.methods()["full"].PARAMETERS.items()


BAD = {
    "a varied key that has a value": ("settings.full.vary={lr: [0.1]}", "`settings.full.vary.lr`"),
    "a varied key the method lacks": ("settings.none.vary={chunk: [1]}", "unknown key `settings.none.chunk`"),
    "nothing to vary over": ("settings.none.vary={seed: []}", "settings.none.vary.seed"),
    "misspelt key": ("train.stesp=3", "did you mean `steps`"),
    "unknown key at the top": ("methds=all", "did you mean `methods`"),
    "unknown key of a source": ("data.sources.gsm8k.row=3", "did you mean `rows`"),
    "learning rate as text": ("settings.full.lr=1e-5", "write 1.0e-5"),
    "learning rate negative": ("settings.full.lr=-0.1", "must be above 0"),
    "learning rate zero": ("settings.full.lr=0", "must be above 0"),
    "learning rate missing": ("settings.extra={method: full}", "give `lr`"),
    "unknown method file": ("settings.extra={method: fll, lr: 0.1}", "did you mean `full`"),
    "method without settings": ("methods=[lorra]", "did you mean `lora`"),
    "unknown parameter": ("settings.lora.rnak=3", "did you mean `rank`"),
    "parameter as text": ("settings.lora.rank=many", "must be a number"),
    "unknown task": ("tasks.gsm9k={}", "did you mean `gsm8k`"),
    "unknown training task": ("train.data.alpacca=3", "did you mean `alpaca`"),
    "training task without a source": ("train.data.alpaca=3", "data.sources.alpaca"),
    "no model": ("model.architecture=null", "model"),
    "steps and epochs": ("train.epochs=1", "exactly one"),
    "neither steps nor epochs": ("train.steps=null", "exactly one"),
    "batch not divisible": ("train.micro_batch_size=5", "does not divide"),
    "unknown device": ("device=tpu", "must be one of: cpu, cuda"),
    "unknown schedule": ("train.schedule=cosin", "must be one of"),
    "seeds written twice": ("seeds=[1, 1]", "seeds"),
}


@pytest.mark.parametrize(("override", "expected"), BAD.values(), ids=BAD)
def test_bad_values_are_refused_by_name(override: str, expected: str) -> None:
    overrides = overrides_from([override])
    if "settings" in overrides and "extra" in overrides["settings"]:
        overrides["methods"] = "all"
    with pytest.raises(InputError) as refusal:
        load([MINI], overrides)
    message = str(refusal.value)
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train: [", "not YAML"),
        ("seeds: [0]\nseeds: [1]\n", "`seeds` is written twice"),
        ("- a\n", "a mapping"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=expected):
        load([path])


def test_missing_file() -> None:
    with pytest.raises(InputError, match="does not exist"):
        load([Path("nowhere.yaml")])


def test_command_line_says_one_sentence_and_fails() -> None:
    command = [
        sys.executable,
        "-m",
        "workflow.steps.configuration",
        "--config",
        str(MINI),
        "--set",
        "train.stesp=3",
    ]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 2
    assert finished.stderr == "error: unknown key `train.stesp`; did you mean `steps`?\n"


def test_results_of_another_config_are_refused(tmp_path: Path) -> None:
    config = load([MINI])
    made_by = tmp_path / "config.json"
    made_by.write_text(json.dumps(config))
    check_results(config, made_by)
    check_results(
        load([MINI], {"settings": {"full": {"lr": 0.5}}}), made_by
    )  # another rate is not another experiment
    with pytest.raises(InputError, match=r"data\.seed.*was 0, is now 5"):
        check_results(load([MINI], {"data": {"seed": 5}}), made_by)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no GPU"):
        check_machine(load([MINI], {"device": "cuda"}))


def test_recorded_grids_are_fair_and_their_best_point_is_used() -> None:
    entries = load([MINI], {"methods": "all"})["methods"]
    grids = {name: entry["grid"] for name, entry in entries.items() if "grid" in entry}
    assert grids.keys() >= {name for name, entry in load([MINI])["methods"].items() if "lr" in entry}
    assert len({len(grid) for grid in grids.values()}) == 1
    for name, grid in grids.items():
        best = min((point for point in grid if point["loss"] is not None), key=lambda point: point["loss"])
        assert entries[name].items() >= {key: best[key] for key in best.keys() - {"loss"}}.items(), name
