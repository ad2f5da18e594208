"""Hugging Face's Trainer and TRL's SFTTrainer, through their public arguments alone."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from chunkft import ChunkFT, checkpoint


def model() -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=40
    )
    return LlamaForCausalLM(config)


ROWS = [
    {"input_ids": row, "labels": row} for row in torch.randint(40, (64, 8), generator=torch.manual_seed(0))
]


def arguments(folder: Path, **given: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2,
        "max_steps": 12,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "linear",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        **given,
    }


def optimizer_of(model: nn.Module, **given: Any) -> ChunkFT:
    options = {"lr": 1e-2, "chunks": 3, "steps_per_chunk": 2, "partition": "strided"}
    return ChunkFT(model, **{**options, **given})


def trained(
    model: nn.Module, optimizer: ChunkFT, folder: Path, resume: str | None = None, **given: Any
) -> Trainer:
    args = TrainingArguments(**arguments(folder, **given))
    trainer = Trainer(model, args, train_dataset=ROWS, optimizers=(optimizer, None))
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_trains_every_parameter_and_accumulates(tmp_path: Path) -> None:
    before = model()
    tuned = model()
    optimizer = optimizer_of(tuned)
    trainer = trained(tuned, optimizer, tmp_path, gradient_accumulation_steps=2)
    assert optimizer.steps == 12
    assert all(
        not torch.equal(a, b) for a, b in zip(before.parameters(), tuned.state_dict().values(), strict=False)
    )
    rates = [row["learning_rate"] for row in trainer.state.log_history if "learning_rate" in row]
    assert rates == pytest.approx([1e-2 * (1 - step / 12) for step in range(12)])


def test_max_grad_norm_clips_the_active_chunk(tmp_path: Path) -> None:
    tuned, before = model(), model()
    optimizer = optimizer_of(tuned, base=torch.optim.SGD, lr=1.0, steps_per_chunk=1)
    trainer = trained(
        tuned, optimizer, tmp_path, max_steps=1, max_grad_norm=0.01, lr_scheduler_type="constant"
    )
    (norm,) = (row["grad_norm"] for row in trainer.state.log_history if "grad_norm" in row)
    moved = [a - b for a, b in zip(tuned.state_dict().values(), before.state_dict().values(), strict=True)]
    assert norm > 0.01
    assert torch.stack([m.norm() for m in moved]).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_resumes_exactly_in_mid_chunk(tmp_path: Path) -> None:
    whole = model()
    trained(whole, optimizer_of(whole), tmp_path / "whole", save_strategy="steps", save_steps=5)
    rest = model()
    trained(rest, optimizer_of(rest), tmp_path / "rest", str(tmp_path / "whole" / "checkpoint-5"))
    assert same(whole, rest)


def test_saved_model_is_a_plain_one(tmp_path: Path) -> None:
    tuned = model()
    trained(tuned, optimizer_of(tuned), tmp_path, max_steps=3).save_model(str(tmp_path / "model"))
    assert same(tuned, LlamaForCausalLM.from_pretrained(tmp_path / "model"))


def test_checkpointing_changes_nothing(tmp_path: Path) -> None:
    plain, checkpointed = model(), model()
    trained(plain, optimizer_of(plain), tmp_path)
    checkpoint(checkpointed)
    trained(checkpointed, optimizer_of(checkpointed), tmp_path)
    assert same(plain, checkpointed)


def test_sft_trainer(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="trl is not installed; the library alone does not need it")
    datasets = pytest.importorskip("datasets", reason="SFTTrainer takes its data as a `datasets.Dataset`")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.models.WordLevel({str(i): i for i in range(40)}, unk_token="0")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(words), eos_token="1", pad_token="2"
    )
    rows = datasets.Dataset.from_list([{"input_ids": row["input_ids"].tolist()} for row in ROWS])
    tuned = model()
    before = copy.deepcopy(tuned)
    optimizer = optimizer_of(tuned)
    config = trl.SFTConfig(**arguments(tmp_path, gradient_checkpointing=False, bf16=False))
    trainer = trl.SFTTrainer(
        tuned, config, train_dataset=rows, processing_class=tokenizer, optimizers=(optimizer, None)
    )
    trainer.train()
    assert optimizer.steps == 12
    after = tuned.state_dict()
    # The loss that SFTTrainer puts in reads the head's weight itself, not through its module.
    assert not [name for name, weight in before.state_dict().items() if torch.equal(weight, after[name])]
