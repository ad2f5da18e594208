"""Two result sets side by side."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic

from analysis import collect, compare
from analysis.files import ROOT
from analysis.table import Table


@pytest.fixture
def sets(tmp_path: Path) -> tuple[collect.Results, collect.Results]:
    """A, and B made at another commit, with more seeds, less memory, a method more and one less."""
    one = synthetic.config(methods=("none", "lora", "chunkft"))
    other = synthetic.config(methods=("none", "galore", "chunkft"), seeds=(0, 1, 2))
    folders = synthetic.tree(tmp_path / "a", one), synthetic.tree(tmp_path / "b", other)
    path = folders[1] / "runs/chunkft/measure.json"
    content = json.loads(path.read_text())
    content["memory"]["peak"] //= 2
    content["provenance"]["commit"] = "f" * 40
    path.write_text(json.dumps(content))
    (folders[1] / "runs/chunkft/seed-2/eval/mmlu.json").write_text("{")
    return collect.read(folders[0]), collect.read(folders[1])


def table(sets: tuple[collect.Results, collect.Results], name: str) -> Table:
    return next(table for table in compare.compared(*sets) if table.name == name)


def test_a_row_for_each_method_of_either_with_the_difference(sets) -> None:
    peak = table(sets, "memory_peak_bytes")
    rows = {row.method: row.cells for row in peak.rows}
    assert list(rows) == ["lora", "chunkft", "galore"]
    whole = sum(int(part * 2**20) for part in synthetic.MEMORY["chunkft"])
    assert [cell.mean for cell in rows["chunkft"]] == [whole, whole // 2, whole // 2 - whole, -0.5]
    assert rows["lora"][1].word == rows["galore"][0].word == "not there"
    assert [cell.mean for cell in rows["galore"][2:]] == [None, None]


def test_all_numbers_of_a_row_are_in_one_unit(sets) -> None:
    headings = table(sets, "memory_peak_bytes").headings()
    assert headings == ["A, MiB", "B, MiB", "B - A, MiB", "change, %"]


def test_scores_made_otherwise_are_not_set_side_by_side(sets) -> None:
    for path in sets[1].folder.glob("runs/*/seed-*/eval/mt_bench.json"):
        content = json.loads(path.read_text())
        content["evaluation"]["judge"] = "gpt-4"
        path.write_text(json.dumps(content))
    names = {table.name for table in compare.compared(sets[0], collect.read(sets[1].folder))}
    assert "accuracy_gsm8k" in names and not any("mt_bench" in name for name in names)


def test_what_was_made_differently_is_said_first(sets) -> None:
    said = compare.made_differently(*sets)
    assert f"commit: {'0123456789abcdef' * 2}01234567 | {'0123456789abcdef' * 2}01234567, {'f' * 40}" in said
    assert "config.seeds: [0, 1] | [0, 1, 2]" in said
    assert "in A alone: LoRA" in said
    assert not any(line.startswith("config.train") for line in said)
    assert compare.made_differently(sets[0], sets[0]) == []


def test_the_command_line(sets) -> None:
    command = [sys.executable, "-m", "analysis.compare", sets[0].folder, sets[1].folder]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "- B: left out runs/chunkft/seed-2/eval/mmlu.json: it is truncated" in ran.stdout
    assert "**Accuracy, GSM8K.**" in ran.stdout
    refused = subprocess.run([*command[:-1], "nowhere"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2 and refused.stderr.startswith("error: nowhere/config.json is missing")
