"""What the figures are drawn from, how they look, and what happens when there is nothing to draw."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import synthetic
from matplotlib.colors import to_rgb

from analysis import collect, figures
from analysis.figures import loss, pareto, radar
from analysis.files import ROOT
from analysis.style import FURTHER, LOOKS, PARTS, SPARE, looks

NAMES = {
    "loss_steps",
    "loss_tokens",
    "loss_time",
    "memory",
    "pareto_gsm8k",
    "pareto_mmlu",
    "pareto_mt_bench",
    "radar",
    "time",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete experiment with its figures; not to be changed."""
    folder = synthetic.tree(tmp_path_factory.mktemp("written"), synthetic.config())
    figures.write(collect.read(folder))
    return folder


def test_every_figure_is_a_vector_a_picture_and_a_caption(written: Path) -> None:
    listed = {
        figure["name"]: figure for figure in json.loads((written / "figures/captions.json").read_text())
    }
    assert set(listed) == NAMES
    for name, figure in listed.items():
        assert figure["drawn"] and figure["title"] and figure["caption"]
        assert ElementTree.parse(written / f"figures/{name}.svg").getroot().tag.endswith("svg")
        assert (written / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_results_give_the_same_bytes(written: Path, tmp_path: Path) -> None:
    again = shutil.copytree(written, tmp_path / "again", ignore=shutil.ignore_patterns("figures"))
    drawing = next(d for d in figures.drawings(collect.read(again)) if d.name == "memory")
    figures.save(drawing.figure, again / "memory")
    for suffix in ("svg", "png"):
        assert (again / f"memory.{suffix}").read_bytes() == (
            written / f"figures/memory.{suffix}"
        ).read_bytes()


def test_nothing_to_draw_is_said_and_an_old_figure_goes(tmp_path: Path) -> None:
    settings = synthetic.config(methods=("none", "chunkft"))
    folder = synthetic.tree(tmp_path, settings)
    shutil.rmtree(folder / "runs")
    (folder / "figures").mkdir()
    (folder / "figures/memory.svg").write_text("old")
    figures.write(collect.read(folder))
    listed = json.loads((folder / "figures/captions.json").read_text())
    assert {figure["name"] for figure in listed} == NAMES
    assert all(not figure["drawn"] and figure["caption"].startswith("Not drawn: ") for figure in listed)
    assert [path.name for path in (folder / "figures").iterdir()] == ["captions.json"]


def test_a_failed_method_is_named_in_the_captions(tmp_path: Path) -> None:
    settings = synthetic.config(methods=("full", "chunkft"))
    folder = synthetic.tree(tmp_path, settings)
    synthetic.fail(folder, settings, "full", "out of memory", "the machine ran out of memory")
    captions = {drawing.name: drawing.caption for drawing in figures.drawings(collect.read(folder))}
    assert "Without a bar: Full fine-tuning (out of memory)." in captions["memory"]
    assert "Without a bar: Full fine-tuning (out of memory)." in captions["time"]
    assert "Without a curve: Full fine-tuning." in captions["loss_steps"]
    assert "Without a point: Full fine-tuning." in captions["pareto_gsm8k"]
    assert "Without a line: Full fine-tuning." in captions["radar"]


def test_the_pareto_front_holds_what_nothing_dominates() -> None:
    points = {
        "small": (1.0, 0.2),
        "good": (2.0, 0.9),
        "worse": (2.0, 0.8),
        "large": (3.0, 0.9),
        "twin": (2.0, 0.9),
    }
    assert pareto.undominated(points) == ["small", "good", "twin"]
    assert pareto.dominates(points["good"], points["large"]) and not pareto.dominates(
        points["good"], points["twin"]
    )


def test_curves_are_a_running_mean_cut_to_the_shortest_seed(tmp_path: Path) -> None:
    folder = synthetic.tree(tmp_path, synthetic.config(methods=("lora",)))
    path = folder / "runs/lora/seed-1/train.json"
    content = json.loads(path.read_text())
    content["training"]["curve"] = {key: column[:60] for key, column in content["training"]["curve"].items()}
    path.write_text(json.dumps(content))
    columns = loss.smoothed(collect.read(folder), "lora")
    window = 60 // 20
    assert {column.shape for column in columns.values()} == {(2, 60 - window + 1)}
    whole = json.loads((folder / "runs/lora/seed-0/train.json").read_text())["training"]["curve"]
    assert columns["loss"][0, 0] == pytest.approx(np.mean(whole["loss"][:window]))
    assert columns["step"][0, 0] == pytest.approx(np.mean(whole["step"][:window]))


def test_the_radar_shows_categories_and_not_turns(written: Path) -> None:
    results = collect.read(written)
    setting = next(iter(radar.settings_of(results, "mt_bench")))
    means = radar.category_means(results, "chunkft", setting)
    assert tuple(means) == synthetic.CATEGORIES
    seeds = [
        results.evaluation("chunkft", s, "mt_bench").content["evaluation"]["scores"]["copy"] for s in (0, 1)
    ]
    assert means["copy"] == pytest.approx(sum(seeds) / 2)


def test_a_method_looks_the_same_in_every_experiment_and_like_no_other(tmp_path: Path) -> None:
    many = synthetic.config(methods=tuple(LOOKS))
    many["methods"] |= {f"new-{n}": {"method": f"new_{n}"} for n in range(len(SPARE))}
    many["methods"] |= {f"chunkft-{n}": {"method": "chunkft"} for n in range(len(FURTHER))}
    few = synthetic.config("few", methods=("lora", "chunkft"))
    chosen = [
        looks(collect.Results(tmp_path, config, {}, {}), list(config["methods"])) for config in (many, few)
    ]
    assert chosen[0]["chunkft"] == chosen[1]["chunkft"] and chosen[0]["lora"] == chosen[1]["lora"]
    assert {chosen[0][f"chunkft-{n}"].colour for n in range(len(FURTHER))} == {LOOKS["chunkft"].colour}
    told = {(look.colour, look.marker) for look in chosen[0].values()}
    assert len(told) == len({(look.marker, str(look.line)) for look in chosen[0].values()}) == len(chosen[0])


def test_every_method_of_the_suite_has_a_look_of_its_own() -> None:
    shipped = {path.stem for path in (ROOT / "baselines").glob("[!_]*.py")}
    assert shipped <= set(LOOKS)


def test_colours_are_far_apart() -> None:
    colours = {look.colour for look in (*LOOKS.values(), *SPARE)}
    rgb = [np.array(to_rgb(colour)) for colour in sorted(colours)]
    apart = [np.abs(one - other).max() for i, one in enumerate(rgb) for other in rgb[:i]]
    assert min(apart) > 0.1


def test_what_a_figure_was_made_from_is_known(written: Path) -> None:
    made = {
        figure["name"]: figure["files"]
        for figure in json.loads((written / "figures/captions.json").read_text())
    }
    paths = [path.relative_to(written).as_posix() for path in written.glob("runs/**/*.json")]
    assert set(made["memory"]) == {path for path in paths if path.endswith("measure.json")}
    trained = {path for path in paths if path.endswith("train.json") and "none" not in path}
    assert set(made["loss_steps"]) == set(made["loss_time"]) == trained
    scored = {path for path in paths if path.endswith(("eval/mmlu.json", "measure.json"))}
    assert set(made["pareto_mmlu"]) == scored


def test_parts_of_a_bar_differ_in_grey() -> None:
    grey = [float(np.dot(to_rgb(part["color"]), (0.299, 0.587, 0.114))) for part in PARTS]
    assert all(later - earlier > 0.1 for earlier, later in zip(grey, grey[1:], strict=False))


def test_the_schedule_is_drawn_of_the_methods_that_have_one(tmp_path: Path) -> None:
    folder = synthetic.tree(tmp_path, synthetic.config(methods=("full", "chunkft")))
    for path in folder.glob("runs/chunkft/seed-*/train.json"):
        content = json.loads(path.read_text())
        parts = [[[0, 2**20]], [[2**20, 3 * 2**20], [5 * 2**20, 6 * 2**20]], [[3 * 2**20, 5 * 2**20]]]
        content["training"]["schedule"] = {"steps": 10, "order": [2, 1, 0, 0, 1, 2, 0, 1], "parts": parts}
        path.write_text(json.dumps(content))
    drawn = {drawing.name: drawing for drawing in figures.drawings(collect.read(folder))}
    assert [name for name in drawn if name.startswith("schedule")] == ["schedule_chunkft"]
    schedule = drawn["schedule_chunkft"]
    assert "3 parts, 10 steps each, the first 6 of 8 turns" in schedule.caption
    axes = schedule.figure.axes[0]
    boxes = [path.get_extents().bounds for path in axes.collections[0].get_paths()]
    assert boxes[:3] == [(0, 3, 10, 2), (10, 1, 10, 2), (10, 5, 10, 1)]  # left, top, width, height
    assert axes.get_xlim() == (0, 60) and axes.get_ylim() == (6, 0)
