"""The cost config becomes cases; every case becomes a result, whatever happens to it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from jsonschema import Draft202012Validator

from chunkft.shapes import random_model
from workflow.steps import cost, costcase
from workflow.steps.files import InputError

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "workflow" / "config" / "cost.yaml"
SCHEMA = Draft202012Validator(json.loads((ROOT / "workflow/schemas/result.schema.json").read_text()))
TINY = """
device: cpu
precision: float32
lr: 1.0e-6
threads: 1
warmup: 1
steps: 2
turns: 2
limit: 60
models:
  tiny: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 3, vocab_size: 128,
    num_attention_heads: 2, num_key_value_heads: 2, max_position_embeddings: 16}
settings:
  shared: {loss: head, checkpointing: chunkft}
  usual: {loss: model, checkpointing: transformers}
methods:
  full: {}
  lora: {rank: 4}
  full-pure: {method: full, pure: true}
  galore: {rank: 4}
  chunkft-k4: {method: chunkft, chunks: 4, steps_per_chunk: 50, partition: contiguous}
grid:
  - {models: [tiny], lengths: [32], settings: [usual], methods: [chunkft-k4]}
  - {models: [tiny], batch_sizes: [2], lengths: [32], methods: all}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def case(config: Path, entry: str, **changes: object) -> costcase.Case:
    return replace(next(case for case in cost.load(config) if case.entry == entry), **changes)


def measured(config: Path, out: Path, *options: str) -> str:
    command = [sys.executable, "-m", "workflow.steps.cost", "--config", config, "--out", out, *options]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_shipped_config_has_what_the_papers_compare() -> None:
    cases = cost.load(SHIPPED)
    found = {(c.model, c.batch_size, c.length, c.entry) for c in cases}
    for model in ("llama2-7b", "llama3-8b"):
        for batch_size in (1, 2, 8, 16):
            for entry in ("full", "full-pure", "lora", "lora-r100", "galore", "lomo", "badam", "apollo"):
                assert (model, batch_size, 1024, entry) in found
    assert {length for model, _, length, entry in found if entry == "chunkft-k128"} >= {512, 728, 2048, 8192}
    assert any(c.model == "llama3-70b" for c in cases)
    assert len({c.place for c in cases}) == len(cases)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": "1e-6"}, "`lr` is '1e-6'"),
        ({"speed": 1}, "unknown key `speed`"),
        ({"grid": [{"models": ["tiny"], "methods": ["ful"]}]}, "no 'ful'; known here: chunkft-k4, full"),
        ({"grid": [{"models": ["tny"], "methods": "all"}]}, "no 'tny'"),
        ({"methods": {"lora": {"rnk": 4}}}, "unknown key `rnk`; known here: method, rank"),
        ({"settings": {"shared": {"loss": "head", "checkpointing": "some"}}}, "no 'some'"),
    ],
)
def test_what_is_wrong_in_a_config_is_named(config: Path, change: dict, message: str) -> None:
    config.write_text(yaml.safe_dump({**yaml.safe_load(TINY), **change}))
    with pytest.raises(InputError, match=message):
        cost.load(config)


def test_every_case_gets_a_result_and_none_is_measured_twice(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "cost"
    said = measured(config, out)
    assert "6 of 6 cases have a result" in said
    results = {path.relative_to(out).as_posix(): json.loads(path.read_text()) for path in out.rglob("*.json")}
    for made in results.values():
        SCHEMA.validate(made)
        assert made["provenance"]["command"].startswith("python -m workflow.steps.cost --config")
    shared = {
        name: made["status"] for name, made in results.items() if name.startswith("tiny/b2-l32-shared/")
    }
    assert shared.pop("tiny/b2-l32-shared/full-pure.json") == "not supported"  # in float32
    assert set(shared.values()) == {"ok"}
    full, chunkft = (results[f"tiny/b2-l32-shared/{name}.json"]["memory"] for name in ("full", "chunkft-k4"))
    assert full["weights"] == chunkft["weights"] and full["gradients"] > chunkft["gradients"]
    assert (out / "status.txt").read_text().count("ok\n") == 5

    crashed = out / "tiny/b2-l32-shared/lora.json"
    crashed.write_text(json.dumps({**results["tiny/b2-l32-shared/lora.json"], "status": "crashed"}))
    assert measured(config, out, "--list").split() == ["tiny/b2-l32-shared/lora"]


def test_cases_without_a_result_come_before_those_with_an_old_one(config: Path, tmp_path: Path) -> None:
    cases = cost.load(config)
    for number, made in (
        (0, {"run_id": "of other code", "status": "ok"}),
        (1, {"run_id": cases[1].run_id, "status": "ok"}),
    ):
        path = tmp_path / cases[number].place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made))
    assert cost.waiting(cases, tmp_path) == [*cases[2:], cases[0]]


def test_a_case_over_its_limit_is_ended_and_the_time_is_kept(config: Path, tmp_path: Path) -> None:
    config.write_text(TINY.replace("limit: 60", "limit: 0.01"))
    cases = cost.load(config)[:1]
    cost.Workers(cases, tmp_path, 60.0, commit=None).work_off([None])
    made = json.loads((tmp_path / cases[0].place).read_text())
    assert (made["status"], made["reason"]) == ("crashed", "ended after its limit of 0.01 s")
    workers = cost.Workers(cases, tmp_path, 0.0, commit=None)
    workers.work_off([None])
    assert len(workers.queue) == 0 and workers.done == 0


def test_out_of_memory_is_a_result(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(case: costcase.Case) -> dict:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nand more")

    monkeypatch.setattr(costcase, "measure", measure)
    made = costcase.outcome(case(config, "full"), "cost")
    assert (made["status"], made["reason"]) == (
        "out of memory",
        "CUDA out of memory. Tried to allocate 9 GiB",
    )
    SCHEMA.validate(made)


def test_a_card_in_use_is_refused(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (100 << 30, 139 << 30))
    with pytest.raises(InputError, match="39.0 GiB of the GPU are in use"):
        costcase.check_idle(patience=0.0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (138 << 30, 139 << 30))
    costcase.check_idle(patience=0.0)


def test_a_process_sees_the_card_it_is_given_alone(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert cost.cards("cuda", None) == ["0", "1", "2", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,6,7")
    assert cost.cards("cuda", 2) == ["2", "5"]
    with pytest.raises(InputError, match="asks for 5, and torch sees 4"):
        cost.cards("cuda", 5)
    assert cost.cards("cpu", None) == [None]

    seen = []
    monkeypatch.setattr(
        cost, "outcome", lambda case, _: seen.append(os.environ["CUDA_VISIBLE_DEVICES"]) or {"provenance": {}}
    )
    given = case(config, "full")
    cost.write_result(given, tmp_path, "5", {"commit": "abc"}, None)
    assert seen == ["5"]
    assert json.loads((tmp_path / given.place).read_text()) == {"provenance": {"commit": "abc"}}


def test_what_is_imported_beforehand_leaves_cuda_alone() -> None:
    code = (
        "import importlib, sys, torch\n"
        "def started(*_): raise SystemExit('CUDA was asked for')\n"
        "torch.cuda.is_available = torch.cuda.device_count = torch.cuda._lazy_init = started\n"
        f"for name in {cost.IMPORTED}: importlib.import_module(name)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("checkpointing", ["none", "transformers", "chunkft", "products"])
def test_the_loss_is_the_same_in_every_setting(config: Path, checkpointing: str) -> None:
    shape = case(config, "full").shape
    torch.manual_seed(0)
    model = random_model(shape, "float32", "cpu", 32).train()
    ids = torch.randint(128, (2, 32))
    costcase.loss(model, ids, "model").backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    costcase.checkpoint(model, checkpointing)
    costcase.loss(model, ids, "head").backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-4, atol=1e-6)


def test_decompositions_are_left_out_of_the_step_and_measured_apart(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = []

    def svd(matrix: torch.Tensor, full_matrices: bool = True) -> None:
        real.append(tuple(matrix.shape))

    monkeypatch.setattr(torch.linalg, "svd", svd)
    sections = costcase.measure(case(config, "galore", renewal=True))
    assert torch.linalg.svd is svd
    rows = {tuple(row["shape"]): row["count"] for row in sections["renewal"]["decompositions"]}
    assert rows == {(32, 32): 3 * 4, (64, 32): 3 * 2, (32, 64): 3}
    assert sorted(real) == sorted(rows)  # each shape once, and none while stepping
