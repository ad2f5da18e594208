"""What a config's varied entries found, printed in the form that a config keeps."""

from pathlib import Path

import pytest
import yaml

from workflow.steps.configuration import load
from workflow.steps.files import InputError, write_json
from workflow.steps.tune import grid, lines

CONFIGS = Path(__file__).parents[2] / "workflow" / "config"
MINE = """
extends: {mini}
seeds: [7, 8]
methods: [mine]
settings:
  mine: {{method: galore, rank: 24, vary: {{gap: [5, 50], lr: [1.0e-5, 2.0e-3]}}}}
  plain: {{method: full, lr: 1.0e-3}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE.format(mini=CONFIGS / "mini.yaml"))
    losses = {"gap-5-lr-1e-05": [0.5, 0.7], "gap-5-lr-0.002": [0.3, 0.31], "gap-50-lr-1e-05": [0.9, None]}
    for name, of_seeds in {**losses, "gap-50-lr-0.002": [0.4, 0.4]}.items():
        for seed, loss in zip((7, 8), of_seeds, strict=True):
            record = {"status": "diverged"} if loss is None else {"training": {"validation_loss": loss}}
            write_json(tmp_path / "runs" / f"mine-{name}" / f"seed-{seed}" / "train.json", record)
    return path


def test_the_grid_is_what_the_runs_found_and_reads_back_as_settings(config: Path) -> None:
    points = grid(config, config.parent, "mine")
    assert points == [
        {"gap": 5, "lr": 1e-5, "loss": 0.6},
        {"gap": 5, "lr": 2e-3, "loss": 0.305},
        {"gap": 50, "lr": 1e-5, "loss": None},
        {"gap": 50, "lr": 2e-3, "loss": 0.4},
    ]
    printed = yaml.safe_load("\n".join(lines("galore", points)))
    assert printed == {"galore": {"gap": 5, "lr": 2e-3, "grid": points}}
    assert load([CONFIGS / "mini.yaml"], {"settings": printed})["methods"]["galore"]["gap"] == 5


def test_what_is_missing_is_named(config: Path) -> None:
    with pytest.raises(InputError, match="settings.plain.*no `vary`"):
        grid(config, config.parent, "plain")
    (config.parent / "runs" / "mine-gap-5-lr-1e-05" / "seed-8" / "train.json").unlink()
    with pytest.raises(InputError, match="seed-8/train.json is missing"):
        grid(config, config.parent, "mine")


def test_every_method_is_tuned_with_as_many_runs_and_no_setting_that_is_not_the_experiments() -> None:
    tuning = CONFIGS / "tuning.yaml"
    mini = load([CONFIGS / "mini.yaml"], {"methods": "all"})["methods"]
    tuned = {}
    for name in yaml.safe_load(tuning.read_text())["methods"]:
        entries = load([tuning], {"methods": [name]})["methods"]
        assert len(entries) == 10, name
        tuned[name.removeprefix("tune-")] = entries.values()
    # nothing to tune, and another way to compute what galore does
    assert mini.keys() - tuned.keys() == {"none", "galore-layerwise"}
    for name, entries in tuned.items():
        vary = yaml.safe_load(tuning.read_text())["settings"][f"tune-{name}"]["vary"]
        fixed = {key: value for key, value in mini[name].items() if key not in {*vary, "grid"}}
        assert all(entry.items() >= fixed.items() for entry in entries), name
