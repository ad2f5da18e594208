"""Cost results become tables and figures; the kept ones are as their files say."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import costs, keep
from analysis.costs import figures, tables
from analysis.costs.targets import TARGETS
from analysis.files import ROOT, InputError
from analysis.table import to_csv, to_latex, to_markdown

KEPT = ROOT / "results/reference/cost"
TIME = {
    "steps": 5, "step": 0.5, "step_min": 0.4, "step_max": 0.6, "forward": 0.1, "backward": 0.3,
    "update": None, "tokens_per_second": 2048.0, "turns": 1, "turn_steps": 1, "switch": None, "by_turn": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def kept() -> costs.Costs:
    return costs.read(KEPT)


def case(kept: costs.Costs, place: str) -> costs.Cost:
    return next(cost for cost in kept.costs if cost.place == f"{place}.json")


def changed(cost: costs.Cost, **sections: object) -> costs.Cost:
    return costs.Cost(cost.place, {**copy.deepcopy(cost.content), **sections}, cost.predicted)


def test_every_kept_peak_was_predicted_within_three_percent(kept: costs.Costs) -> None:
    assert len(kept.costs) == 180
    for cost in kept.costs:
        if not cost.ok:  # predicted to need more than the card has
            assert cost.content["status"] == "out of memory" and cost.predicted["peak"] > 135 * 2**30
            continue
        assert cost.predicted is not None, cost.place
        assert cost.predicted["status"] == "ok", (cost.place, cost.predicted["reason"])
        assert cost.predicted["peak"] == pytest.approx(cost.peak, rel=0.03), cost.place


def test_the_kept_tables_are_those_of_the_kept_files(kept: costs.Costs) -> None:
    made = {
        f"{table.name}.{suffix}": form(table)
        for table in tables.tables(kept)
        for suffix, form in (("csv", to_csv), ("md", to_markdown), ("tex", to_latex))
    }
    found = {path.name: path.read_text() for path in (KEPT / "tables").iterdir()}
    assert found == made, f"stale; run: python -m analysis {KEPT.relative_to(ROOT)}"


def test_the_kept_captions_are_those_of_the_kept_files(kept: costs.Costs) -> None:
    captions = json.loads((KEPT / "figures/captions.json").read_text())
    made = [(d.name, d.caption, list(d.files)) for d in figures.drawings(kept)]
    assert [(c["name"], c["caption"], c["files"]) for c in captions] == made
    assert {path.stem for path in (KEPT / "figures").glob("*.png")} == {name for name, _, _ in made}


def test_every_kept_step_took_longer_than_the_roofline_has_it(kept: costs.Costs) -> None:
    for cost in kept.costs:
        if cost.ok:
            assert 0 < cost.predicted["seconds"]["H200"] < cost.time["step"], cost.place


def test_what_was_measured_under_load_has_memory_and_no_times(kept: costs.Costs) -> None:
    found = case(kept, "llama2-7b/b1-l1024-shared/full")
    busy = costs.Costs(Path(), [changed(found, time=None, reason="the host was busy")])
    assert [table.name for table in tables.tables(busy)] == ["prediction", "memory_llama2-7b_b1_l1024"]


def test_targets_are_compared_with_what_was_measured(kept: costs.Costs) -> None:
    table = next(table for table in tables.tables(kept) if table.name == "targets")
    rows = [[cell.word for cell in row.cells] for row in table.rows]
    assert len(rows) == len(TARGETS)
    for _, _, most, value, verdict in rows:
        assert verdict == ("met" if float(value) <= float(most) else "missed")
    assert {row[-1] for row in rows} == {"met", "missed"}
    without = [cost for cost in kept.costs if "lomo" not in cost.place]
    (fewer,) = [table for table in tables.tables(costs.Costs(Path(), without)) if table.name == "targets"]
    assert len(fewer.rows) == len(TARGETS) - 1


def test_times_make_a_table_and_their_figures(kept: costs.Costs) -> None:
    timed = [
        changed(case(kept, f"llama2-7b/b1-l1024-shared/{name}"), time=TIME)
        for name in ("lomo", "badam", "chunkft-k8", "chunkft-k32", "chunkft-k128")
    ]
    made = costs.Costs(Path(), timed)
    (table,) = [table for table in tables.tables(made) if table.name.startswith("time")]
    row = dict(zip([column.key for column in table.columns], table.rows[0].cells, strict=True))
    assert row["update_seconds"].mean is None and row["step_seconds"].mean == 0.5
    assert row["epoch_seconds"].mean == pytest.approx(52002 * 1024 / 2048)
    assert row["verdict"].word == "not comparable" and "RTX 3090 there" in row["verdict"].notes[0]
    names = {drawing.name for drawing in figures.drawings(made)}
    assert {"pareto_llama2-7b_b1_l1024", "chunks_llama2-7b_b1_l1024"} <= names


def test_verdicts(kept: costs.Costs) -> None:
    table = next(t for t in tables.tables(kept) if t.name == "memory_llama2-7b_b1_l1024")
    verdict = [column.key for column in table.columns].index("verdict")
    words = {row.method: row.cells[verdict] for row in table.rows}
    assert words["chunkft-k128"].word == "match"
    assert words["chunkft-k32"].word == "differs"
    assert words["hift"].word == "not comparable" and "float32" in words["hift"].notes[0]
    assert words["galore-layerwise"].word is None  # nobody printed a number for that


def test_what_did_not_run_is_a_row_with_its_reason(kept: costs.Costs) -> None:
    gone = changed(case(kept, "llama2-7b/b1-l1024-shared/full"), status="out of memory", reason="80 GiB")
    table = tables.memory(costs.Group([gone]))
    assert table.rows[0].cells[4].word == "out of memory"
    assert "80 GiB" in table.footnotes()
    assert not [c for c in costs.Costs(Path(), [gone]).costs if c.peak]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tiny/b1-l8-shared/full.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert costs.is_cost_folder(tmp_path)
    with pytest.raises(InputError, match="full.json is not JSON"):
        costs.read(tmp_path)
    path.write_text("{}")
    with pytest.raises(InputError, match="is a required property"):
        costs.read(tmp_path)


def test_a_grid_that_is_not_finished_can_be_kept(tmp_path: Path) -> None:
    place = "tiny/b1-l8-shared/full.json"
    for name in (place, "predicted.json", "cost.log"):
        path = tmp_path / "cost" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    target = keep.keep(tmp_path / "cost", tmp_path / "reference")
    files = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert files == {place, "predicted.json"}


def test_nothing_of_this_needs_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import analysis.costs.tables, analysis.costs.figures"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
