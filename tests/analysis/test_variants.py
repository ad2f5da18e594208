"""Entries of one method that differ in parameters: the ablation and rate tables, and the heat maps."""

import itertools
import json
from pathlib import Path

import pytest
import synthetic

from analysis import collect, figures, tables
from analysis.figures import heatmaps
from analysis.table import Table, to_latex
from analysis.variants import MOST, best_line, best_rates, families, shown, trials


def study(tmp_path: Path, loss=None) -> Path:
    """ChunkFT over K, T, partition and learning rate, beside full fine-tuning; `loss` by settings."""
    settings = synthetic.config("study", methods=("full",), seeds=(0,)) | {"tasks": {}, "measure": None}
    axes = {
        "chunks": (2, 4, 8),
        "steps_per_chunk": (1, 5),
        "partition": ("contiguous", "strided"),
        "lr": (0.001, 0.002),
    }
    for values in itertools.product(*axes.values()):
        entry = dict(zip(axes, values, strict=True))
        name = "-".join(map(str, values))
        settings["methods"][name] = {"method": "chunkft", "state": "fp32", "order": "cyclic"} | entry
    folder = synthetic.tree(tmp_path, settings)
    for path in folder.glob("runs/*-*/seed-0/train.json"):
        content = json.loads(path.read_text())
        content["training"]["validation_loss"] = (loss or plain)(content["config"]["settings"])
        path.write_text(json.dumps(content))
    return folder


def plain(entry: dict) -> float:
    """Rises with K, falls with T and the rate; strided is better."""
    loss = entry["chunks"] / entry["steps_per_chunk"] + 0.001 / entry["lr"]
    return loss + (entry["partition"] == "contiguous")


def read(folder: Path) -> collect.Results:
    return collect.read(folder)


def table(results: collect.Results, name: str) -> Table:
    return next(table for table in tables.tables(results) if table.name == name)


def test_entries_differ_in_what_the_configuration_varies(tmp_path: Path) -> None:
    frames = families(read(study(tmp_path)))
    assert list(frames) == ["chunkft"]
    assert list(frames["chunkft"]) == ["chunks", "steps_per_chunk", "partition", "lr", "loss"]
    assert len(frames["chunkft"]) == 24 and len(best_rates(frames["chunkft"])) == 12


def test_the_ablation_table_has_a_row_for_each_setting_at_its_best_rate(tmp_path: Path) -> None:
    ablations = table(read(study(tmp_path)), "ablations")
    keys = [column.key for column in ablations.columns]
    assert keys == [
        "chunks",
        "steps_per_chunk",
        "partition",
        "lr",
        "rates",
        "validation_loss",
        "training_seconds",
    ]
    assert len(ablations.rows) == 1 + 12
    assert [cell.mean for cell in ablations.rows[0].cells[:2]] == [None, None]  # full has no chunks
    assert {row.cells[3].mean for row in ablations.rows[1:]} == {0.002}
    assert {row.cells[4].mean for row in ablations.rows[1:]} == {2}
    assert "the best of 12 settings, is number 2 of 2 by held-out loss" in ablations.remarks[0]
    one = ablations.rows[1]
    assert (one.title, one.cells[0].mean, one.cells[2].word) == ("ChunkFT", 2, "contiguous")
    assert one.cells[5].mean == pytest.approx(2 / 1 + 0.5 + 1)


def test_entries_of_other_lengths_say_how_long_all_are(tmp_path: Path) -> None:
    settings = synthetic.config(methods=("full", "chunkft"), seeds=(0,))
    settings["methods"]["longer"] = {"method": "chunkft", "lr": 0.001, "steps": 130}
    ablations = table(read(synthetic.tree(tmp_path, settings)), "ablations")
    assert ablations.columns[0].key == "steps"
    assert {row.method: row.cells[0].mean for row in ablations.rows} == {
        "full": 100,
        "chunkft": 100,
        "longer": 130,
    }


def test_where_rates_fail_the_best_of_the_others_stands(tmp_path: Path) -> None:
    folder = study(tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    for lr in (0.001, 0.002):
        synthetic.fail(folder, settings | {"seeds": [0]}, f"2-1-strided-{lr}", "diverged", "loss is inf")
    synthetic.fail(folder, settings | {"seeds": [0]}, "2-5-strided-0.002", "diverged", "loss is inf")
    results = read(folder)
    best = best_rates(families(results)["chunkft"])
    assert "2-5-strided-0.001" in best.index and len(best) == 12
    rows = {row.method: row for row in table(results, "ablations").rows}
    assert rows["2-1-strided-0.001"].cells[5].word == "diverged"


def test_without_variants_there_is_no_ablation(tmp_path: Path) -> None:
    results = read(synthetic.tree(tmp_path, synthetic.config()))
    assert not families(results) and shown(results) == results.methods
    assert not {"ablations", "rates"} & {table.name for table in tables.tables(results)}


def test_heat_maps_hold_the_least_loss_of_what_they_do_not_show(tmp_path: Path) -> None:
    frame = families(read(study(tmp_path)))["chunkft"]
    grids = heatmaps._grids(frame, "chunks", "steps_per_chunk", ["partition"])
    assert list(grids) == [("contiguous",), ("strided",)]
    grid = grids[("strided",)]
    assert list(grid.index) == [2, 4, 8] and list(grid.columns) == [1, 5]
    assert grid.loc[8, 5] == pytest.approx(8 / 5 + 0.5)
    settings = heatmaps._settings(frame, "partition")
    assert settings.index.names == ["chunks", "steps_per_chunk"]
    assert (settings["contiguous"] - settings["strided"]).to_numpy() == pytest.approx(1)


def test_there_is_a_heat_map_for_each_pair_of_numbers_and_each_choice(tmp_path: Path) -> None:
    drawn = {drawing.name: drawing for drawing in figures.drawings(read(study(tmp_path)))}
    assert {name for name in drawn if name.startswith("ablation")} == {
        "ablation_chunkft_chunks_steps_per_chunk",
        "ablation_chunkft_chunks_lr",
        "ablation_chunkft_partition",
    }  # T and rate, at two values each, have too few cells
    assert all(len(drawn[name].files) == 25 - 1 for name in drawn if name.startswith("ablation"))
    assert "memory" not in drawn  # nothing was to be measured


def test_of_many_entries_figures_and_tables_of_all_methods_show_the_best(tmp_path: Path) -> None:
    results = read(study(tmp_path))
    assert shown(results) == ["full", "2-5-strided-0.002"]
    drawn = {drawing.name: drawing for drawing in figures.drawings(results)}
    assert f"Of more than {MOST} entries of a method" in drawn["loss_steps"].caption
    accuracy = table(results, "accuracy")
    assert [row.method for row in accuracy.rows] == ["full", "2-5-strided-0.002"]
    assert (
        "ChunkFT (K = 2, T = 5, strided, lr 0.002) is number 2 of 2 by held-out loss" in accuracy.remarks[0]
    )


def test_rates_come_from_the_recorded_grid_or_from_the_entries(tmp_path: Path) -> None:
    settings = synthetic.config(methods=("lora", "chunkft"))
    points = [{"lr": 0.01, "loss": None}, {"lr": 0.001, "loss": 0.5}, {"lr": 0.0001, "loss": 0.75}]
    settings["methods"]["lora"]["grid"] = points
    results = read(synthetic.tree(tmp_path / "grid", settings))
    assert [trial[:3] for trial in trials(results)["lora"]] == [
        (0.0001, 0.75, ""),
        (0.001, 0.5, ""),
        (0.01, None, ""),
    ]
    rates = table(results, "rates")
    assert [row.cells[1].mean or row.cells[1].word for row in rates.rows] == [0.75, 0.5, None]
    assert [row.cells[2].word for row in rates.rows] == ["no", "yes", "no"]
    assert rates.remarks == ["Each best rate lies between others that were tried."]
    drawing = next(d for d in figures.drawings(results) if d.name == "rates")
    assert "Without a loss: LoRA at 0.01." in drawing.caption
    found = trials(read(study(tmp_path)))
    assert {method: [trial.lr for trial in tried] for method, tried in found.items()} == {
        "2-5-strided-0.002": [0.001, 0.002]
    }


def test_what_was_not_run_is_never_counted_as_tried_nor_said_to_have_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heatmaps, "FEWEST", 4)
    folder = study(tmp_path, lambda entry: plain(entry) + 2 * (entry["lr"] == 0.002))
    for name in ("2-5-strided-0.002", "2-1-strided-0.001", "2-1-strided-0.002"):
        (folder / f"runs/{name}/seed-0/train.json").unlink()
    results = read(folder)
    ablations = table(results, "ablations")
    assert "3 of 25 entries were not run" in ablations.caption
    rows = {row.method: row.cells for row in ablations.rows}
    assert (rows["2-5-strided-0.001"][4].mean, rows["4-5-strided-0.001"][4].mean) == (1, 2)
    assert (rows["2-1-strided-0.001"][4].mean, rows["2-1-strided-0.001"][5].word) == (0, "not run")
    rates = table(results, "rates")
    assert [(row.title, row.cells[1].word) for row in rates.rows] == [
        ("ChunkFT (K = 2, T = 5, strided)", None),
        ("ChunkFT (K = 2, T = 5, strided)", "not run"),
    ]
    assert "smallest or largest tried for ChunkFT (K = 2, T = 5, strided):" in rates.remarks[0]
    drawn = {drawing.name: drawing for drawing in figures.drawings(results)}
    assert "at 0.002 (not run)." in drawn["rates"].caption
    assert "Empty: not run. " in drawn["ablation_chunkft_chunks_steps_per_chunk"].caption
    settings = json.loads((folder / "config.json").read_text()) | {"seeds": [0]}
    for lr in (0.001, 0.002):
        synthetic.fail(folder, settings, f"8-5-strided-{lr}", "diverged", "loss is inf")
    drawn = {drawing.name: drawing for drawing in figures.drawings(read(folder))}
    caption = drawn["ablation_chunkft_chunks_steps_per_chunk"].caption
    assert "Empty: not run, or failed (2 diverged)." in caption


def test_a_title_tells_entries_apart_by_what_is_not_usual(tmp_path: Path) -> None:
    settings = synthetic.config(methods=("full",), seeds=(0,))
    common = {"method": "chunkft", "chunks": 4, "state": "fp32", "resident": True, "lr": 0.001}
    settings["methods"] |= {
        "usual": common,
        "more": common | {"chunks": 8},
        "reset": common | {"state": "reset"},
        "away": common | {"resident": False, "lr": 0.002},
        "away-too": common | {"resident": False, "lr": 0.004},
    }
    folder = synthetic.tree(tmp_path, settings)
    (folder / "runs/more/seed-0/train.json").unlink()  # a result that is missing changes no name
    results = read(folder)
    assert {method: results.title(method) for method in results.methods} == {
        "full": "Full fine-tuning",
        "usual": "ChunkFT (resident)",
        "more": "ChunkFT (K = 8, resident)",
        "reset": "ChunkFT (state reset, resident)",
        "away": "ChunkFT (not resident, lr 0.002)",
        "away-too": "ChunkFT (not resident, lr 0.004)",
    }


def test_a_search_of_a_second_parameter_is_told_and_drawn_at_its_best(tmp_path: Path) -> None:
    settings = synthetic.config(methods=("full", "galore"))
    settings["methods"]["full"]["grid"] = [{"lr": 0.001, "loss": 0.5}, {"lr": 0.002, "loss": 0.6}]
    losses = {(200, 0.01): 0.9, (200, 0.02): 0.8, (50, 0.01): 0.7, (50, 0.02): 0.75}
    grid = [{"gap": gap, "lr": lr, "loss": loss} for (gap, lr), loss in losses.items()]
    settings["methods"]["galore"]["grid"] = grid
    results = read(synthetic.tree(tmp_path, settings))
    rates = table(results, "rates")
    assert [column.key for column in rates.columns] == ["lr", "beside", "loss", "best"]
    assert [row.cells[1].word for row in rates.rows] == [None, None, *["gap = 200"] * 2, *["gap = 50"] * 2]
    assert [row.cells[3].word for row in rates.rows] == ["yes", "no", "no", "no", "yes", "no"]
    assert [trial.loss for trial in best_line(trials(results)["galore"])] == [0.7, 0.75]
    drawing = next(d for d in figures.drawings(results) if d.name == "rates")
    assert "another parameter was searched too" in drawing.caption


def test_a_best_rate_at_the_end_of_its_grid_is_said(tmp_path: Path) -> None:
    settings = synthetic.config(methods=("lora",))
    settings["methods"]["lora"]["grid"] = [{"lr": 0.01, "loss": 0.4}, {"lr": 0.001, "loss": 0.5}]
    rates = table(read(synthetic.tree(tmp_path, settings)), "rates")
    assert "smallest or largest tried for LoRA" in rates.remarks[0]


def test_a_long_table_is_broken_over_pages(tmp_path: Path) -> None:
    ablations = table(read(study(tmp_path)), "ablations")
    assert r"\begin{longtable}" not in to_latex(ablations)
    longer = Table(**{**vars(ablations), "rows": ablations.rows * 4})
    assert r"\begin{longtable}" in to_latex(longer) and r"\begin{table}" not in to_latex(longer)
