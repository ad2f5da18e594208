"""The tables of the GPU benchmark."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import TINY, alone
from benchmarks.report import TARGETS, markdown

KEPT = sorted((Path(__file__).parents[2] / "results" / "reference" / "gpu").glob("*.json"))


@pytest.mark.parametrize("source", KEPT, ids=lambda path: path.name)
def test_kept_tables_are_those_of_the_results(source: Path) -> None:
    made = markdown(json.loads(source.read_text())) + "\n"
    assert source.with_suffix(".md").read_text() == made, f"stale; run: python -m benchmarks.report {source}"


def row(method: str, step: float | None, **given: Any) -> dict[str, Any]:
    ran = {} if step is None else {"peak": 13 << 30, "peak_min": 12 << 30, "step": step, "switch_share": 0.03}
    plain = {"options": {}, "checkpointing": True, "keep_products": False}
    status = "out of memory" if step is None else "ok"
    return {"model": "7B", "batch": 1, "method": method, "status": status, **plain, **ran, **given}


def test_tables_compare_with_other_methods_and_with_the_targets() -> None:
    streamed = {"chunks": 128, "resident": False}
    rows = [row("ChunkFT", 0.5, options=streamed), row("AdamW", 2.0), row("LoRA", None), row("LOMO", 0.8)]
    made = {"versions": {"torch": "1", "transformers": "2"}, "hardware": {"gpus": []}, "commit": None}
    lines = markdown({"rows": rows, "provenance": made}).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    measured = ["13.00", "7.7%", "0.500", "3.0%", "0.25", "", "0.62"]
    assert ["7B", "1", "ChunkFT, K = 128, state streamed", *measured] in cells
    assert ["7B", "1", "LoRA", "out of memory", *[""] * 6] in cells
    verdicts = {tuple(c[2:4]): c[-1] for c in cells if len(c) == 7}
    assert verdicts["K = 128, state streamed", "step / AdamW"] == "met"
    assert verdicts["K = 128, state streamed", "peak GiB"] == "missed"
    assert verdicts["K = 32", "peak GiB"] == "not measured"
    assert sum(c[-1] in ("met", "missed", "not measured") for c in cells) == len(TARGETS)


@pytest.mark.parametrize("case", [TINY[0], TINY[2]], ids=lambda case: case.method)
def test_a_case_is_measured_in_a_process_of_its_own(case: Any) -> None:
    result = alone(case, "cpu", 32)
    assert result["status"] == "ok" and result["peak"] is None and result["step"] > 0
