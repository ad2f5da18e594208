"""The Python of docs/chunkft.md runs, in its order."""

import re
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments


def test_examples_run(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "chunkft.md").read_text()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=40
        )
    )
    ids = torch.randint(40, (2, 8))
    given: dict[str, Any] = {
        "model": model,
        "batches": [{"input_ids": ids, "labels": ids}] * 6,
        "input_ids": ids,
        "labels": ids,
        "rows": [{"input_ids": row, "labels": row} for row in ids],
        "args": TrainingArguments(str(tmp_path), max_steps=2, use_cpu=True, report_to=[], save_strategy="no"),
    }
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, given)
    assert given["loss"].isfinite() and given["optimizer"].steps == 2
