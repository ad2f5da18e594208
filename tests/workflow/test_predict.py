"""What is predicted without a GPU is what was measured on one."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_cost import TINY, case

import baselines
from chunkft.watch import Watch
from workflow.steps import cost, costcase, predict
from workflow.steps.memory import MemoryTracker
from workflow.steps.profile import label_what_is_there, tracked_steps

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.mark.parametrize(("entry", "heads"), [("full", 1), ("lora", 2), ("galore", 2)])
def test_a_prediction_is_what_the_step_holds(config: Path, entry: str, heads: int) -> None:
    """Without what a GPU alone does: recomputation that keeps inputs on the host."""
    small = case(config, entry, checkpointing="none")
    small = replace(small, shape={**small.shape, "num_key_value_heads": heads})
    with costcase.prepared(small) as (tuning, loss, _):
        real = MemoryTracker("cpu")
        label_what_is_there(real, tuning)
        with Watch(real):
            tracked_steps(tuning, loss, small.lr, real, [0])
    found = predict.predict(replace(small, device="cuda"))
    assert found["status"] == "ok", found["reason"]
    for part in ("weights", "gradients", "optimizer"):
        assert found[part] == pytest.approx(real.breakdown()[part], rel=0.01)
    assert found["peak"] - predict.WORKSPACES == pytest.approx(real.peak["cpu"], rel=0.03)


def test_idle_state_counts_on_the_host_for_every_chunk(config: Path) -> None:
    given = case(config, "chunkft-k4", device="cuda", precision="bfloat16")
    shape = {**given.shape, "num_hidden_layers": 8}
    settings = {**given.settings, "chunks": 16, "state": "fp32"}
    found = predict.predict(replace(given, shape=shape, settings=settings))
    assert found["status"] == "ok", found["reason"]
    # two fp32 moments and sixteen low bits of the master for each 16-bit weight, but those on the device
    assert found["host"] == pytest.approx(found["weights"] / 2 * 10 * 15 / 16, rel=0.1)
    reset = predict.predict(replace(given, shape=shape, settings={**settings, "state": "reset"}))
    assert reset["host"] < 0.4 * found["host"]
    assert reset["peak"] == found["peak"]


def test_a_turn_of_one_step_is_visited_again_with_the_state_it_made(config: Path) -> None:
    given = case(config, "chunkft-k4", device="cuda", precision="bfloat16")
    peaks = {
        length: predict.predict(replace(given, settings={**given.settings, "steps_per_chunk": length}))[
            "peak"
        ]
        for length in (1, 5)
    }
    assert peaks[1] == peaks[5]


def test_what_cannot_be_predicted_says_why(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = predict.predict(case(config, "full-pure", device="cuda"))
    assert refused["status"] == "not supported"

    def fails(*_: object) -> None:
        raise NotImplementedError("no kernel for this\nand more")

    monkeypatch.setattr(costcase, "loss", fails)
    made = predict.predict(case(config, "full", device="cuda"))
    assert made == {"status": "not predicted", "reason": "NotImplementedError: no kernel for this"}


def test_nothing_of_the_pretence_is_left(config: Path) -> None:
    predict.predict(case(config, "full", device="cuda"))
    assert torch.zeros(1, device="meta").is_meta and not torch.zeros(1, device="meta").is_cuda
    assert torch.Generator is torch._C.Generator
    assert torch.zeros(2).device.type == "cpu"


@pytest.mark.parametrize("json_too", [True, False])
def test_the_command_shows_every_method(config: Path, json_too: bool) -> None:
    command = [
        sys.executable,
        "-m",
        "workflow.steps.predict",
        "--model",
        "tiny",
        "--seq",
        "32",
        "--batch",
        "2",
    ]
    command += ["--config", config, "--memory", "1MiB", "--methods", "full", "chunkft-k4"]
    done = subprocess.run(
        [*command, *(["--json"] if json_too else [])], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if not json_too:
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["method", "full", "chunkft-k4"]
        return
    full, chunkft = json.loads(done.stdout)
    assert full["method"] == "full" and full["fits"] is False and full["peak_gib"] > 0
    assert (chunkft["chunks"], chunkft["partition"], chunkft["checkpointing"]) == (4, "contiguous", "chunkft")
    assert full["formula"] is None and full["formula_gib"] is None  # these are fp32 weights
    assert 0 < full["roofline_seconds"]["H200"] < full["roofline_seconds"]["RTX 3090"]


def test_of_chunkft_the_fewest_chunks_that_fit_are_shown(config: Path) -> None:
    given = case(config, "chunkft-k4", device="cuda", precision="bfloat16")
    shape = {**given.shape, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 4}
    given = replace(given, entry=predict.PLANNED, shape=shape)
    few, many = (predict.row(replace(given, settings={**given.settings, "chunks": k}), 0) for k in (2, 8))
    memory = int((few["peak_gib"] + many["peak_gib"]) / 2 * 2**30)
    found = predict.planned_row(given, memory)
    assert found["fits"] and found["peak_gib"] * 2**30 <= memory
    assert 2 < found["chunks"] <= 8 and found["chunks"] == found["turns"]
    assert predict.formula(given, found, predict.sizes(given))[0].endswith("M / K")
    plain = predict.row(
        replace(given, settings={**given.settings, "chunks": found["chunks"]}, checkpointing="none"), memory
    )
    assert found["checkpointing"] == ("none" if plain["fits"] else "chunkft")
    ample = predict.planned_row(given, 2**40)
    assert ample["fits"] and (ample["chunks"], ample["checkpointing"]) == (1, "none")
    hopeless = predict.planned_row(given, 1000)
    assert hopeless["fits"] is False and "is too little: the weights take" in hopeless["reason"]
    shown = predict.table([{**found, "formula": None}, hopeless], "H200")
    assert hopeless["reason"] in shown and f"chunkft (K = {found['chunks']})" in shown


def test_every_rival_is_shown_and_chunkft_by_the_memory_there_is() -> None:
    methods = cost.read(predict.CONFIG)["methods"]
    with_memory, without = predict.shown_entries(methods, 2**30), predict.shown_entries(methods, None)
    assert [name for name in with_memory if name.startswith("chunkft")] == ["chunkft"]
    assert [name for name in without if name.startswith("chunkft")] == [
        "chunkft-k8",
        "chunkft-k32",
        "chunkft-k128",
    ]
    assert {methods[name]["method"] for name in without} == set(baselines.methods()) - {"none"}


def test_a_formula_is_of_the_sizes_of_the_model(config: Path) -> None:
    model = predict.sizes(case(config, "full"))
    assert model["M"] == predict.predict(case(config, "full", device="cuda"))["trained"]
    for entry, expected in (
        ("full", lambda a: 18 * model["M"]),
        ("lora", lambda a: 2 * model["M"] + 18 * a),
        ("chunkft-k4", lambda a: 2 * model["M"] + 12 * model["M"] / 4),
    ):
        given = case(config, entry, device="cuda", precision="bfloat16")
        found = predict.predict(given)
        text, size = predict.formula(given, found, model)
        assert size == pytest.approx(expected(found["trained"])), text
    assert predict.formula(replace(given, precision="float32"), found, model) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "tiny", "--methods", "chunkft"], "give its `--memory`"),
        (["--model", "no-such-thing"], "`--model`: no-such-thing is neither a known shape"),
    ],
)
def test_mistakes_are_one_sentence(
    config: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["predict", *arguments, "--config", str(config)])
    with pytest.raises(cost.InputError, match=message):
        predict.main()
