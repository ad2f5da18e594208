"""The tables of `benchmarks.gpu`'s results: every case, and the targets.

    python -m benchmarks.report results/reference/gpu/chunkft-h200.json

writes them as Markdown beside the JSON file, and `python -m analysis.readme docs/chunkft.md` copies them.
"""

import json
import sys
from pathlib import Path
from typing import Any

GIB = 2**30
OTHERS = ("AdamW", "LoRA", "LOMO")
Row = dict[str, Any]

# What ChunkFT should reach: model, batch, case, quantity (ratios are to a step of that method with
# checkpointing), and the most it may be.
TARGETS = [
    ("7B", 1, "K = 128, state streamed", "peak GiB", 12.95),
    ("7B", 1, "K = 128, state streamed", "step / AdamW", 0.5),
    ("7B", 1, "K = 32", "peak GiB", 15.4),
    ("7B", 8, "K = 128, products kept", "peak GiB", 15.5),
    ("7B", 8, "K = 128, products kept", "step / AdamW", 0.45),
    ("7B", 8, "K = 128, products kept", "step / LoRA", 0.4),
    ("7B", 8, "K = 128, products kept", "step / LOMO", 0.55),
    ("7B", 8, "K = 128, no checkpointing", "step / AdamW", 0.4),
    ("7B", 1, "K = 128, state streamed", "peak varies", 0.01),
    ("7B", 8, "K = 128, products kept", "peak varies", 0.01),
    ("7B", 1, "K = 32", "switching", 0.02),
    ("7B", 1, "K = 128", "switching", 0.02),
    ("7B", 8, "K = 128, products kept", "switching", 0.02),
    ("70B", 1, "K = 512, state streamed", "peak GiB", 134.0),
]


def title(row: Row) -> str:
    """Such as "ChunkFT, K = 128, state streamed"."""
    options = row["options"]
    parts = [row["method"]]
    if options:
        parts.append(f"K = {options['chunks']}")
    if "partition" in options:
        parts.append(options["partition"])
    if options.get("resident") is False:
        parts.append("state streamed")
    if not row["checkpointing"]:
        parts.append("no checkpointing")
    if row["keep_products"]:
        parts.append("products kept")
    return ", ".join(parts)


def quantities(row: Row, rows: list[Row]) -> dict[str, float]:
    """What the tables show of a case that ran."""
    found = {"step s": row["step"]}
    if row["peak"] is not None:
        found["peak GiB"] = row["peak"] / GIB
    if row["method"] == "ChunkFT":
        found["switching"] = row["switch_share"]
        if row["peak"] is not None:
            found["peak varies"] = 1 - row["peak_min"] / row["peak"]
    for other in rows:
        like = all(other[key] == row[key] for key in ("model", "batch")) and other["checkpointing"]
        if like and other["method"] in OTHERS and other["status"] == "ok":
            found[f"step / {other['method']}"] = row["step"] / other["step"]
    return found


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name in ("peak varies", "switching"):
        return f"{max(value, 0):.1%}"  # below zero is noise
    return f"{value:.3f}" if name == "step s" else f"{value:.2f}"


def _table(head: list[str], lines: list[list[str]]) -> list[str]:
    rules = ["---" if i < 3 else "---:" for i in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in [head, rules, *lines]]


def markdown(results: dict[str, Any]) -> str:
    rows = results["rows"]
    names = ["peak GiB", "peak varies", "step s", "switching", *(f"step / {other}" for other in OTHERS)]
    lines = []
    for row in rows:
        found = quantities(row, rows) if row["status"] == "ok" else {}
        cells = [_shown(name, found.get(name)) for name in names] if found else [row["status"], *[""] * 6]
        lines.append([row["model"], str(row["batch"]), title(row), *cells])
    made = results["provenance"]
    gpus = made["hardware"]["gpus"]
    versions = [f"{name} {made['versions'][name]}" for name in ("torch", "transformers")]
    where = [*gpus, f"driver {made['hardware']['driver']}"] if gpus else ["CPU"]
    commit = (made["commit"] or "unknown")[:12]
    by_title = {(row["model"], row["batch"], title(row).removeprefix("ChunkFT, ")): row for row in rows}
    verdicts = []
    for model, batch, case, name, most in TARGETS:
        row = by_title.get((model, batch, case))
        value = quantities(row, rows).get(name) if row and row["status"] == "ok" else None
        verdict = "not measured" if value is None else "met" if value <= most else "missed"
        verdicts.append([model, str(batch), case, name, _shown(name, most), _shown(name, value), verdict])
    return "\n".join(
        [
            f"{', '.join([*where, *versions])}, commit {commit}:",
            "",
            *_table(["model", "batch", "method", *names], lines),
            "",
            "Targets:",
            "",
            *_table(["model", "batch", "ChunkFT with", "quantity", "at most", "measured", ""], verdicts),
        ]
    )


if __name__ == "__main__":
    source = Path(sys.argv[1])
    source.with_suffix(".md").write_text(markdown(json.loads(source.read_text())) + "\n")
