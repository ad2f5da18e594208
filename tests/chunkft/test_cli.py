"""`chunkft plan` fills the memory it is given, and no more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import LlamaConfig

from chunkft import cli

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "vocab_size": 512}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    LlamaConfig(**SIZES, num_attention_heads=4, num_key_value_heads=2).save_pretrained(folder)
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from chunkft.cli import main; main()", "plan", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def rows(model: Path, *options: object) -> list[dict]:
    done = run(model, "--seq", 32, "--batch", 2, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_the_plan_fills_the_memory(model: Path) -> None:
    full, first, *_ = rows(model, "--loss", "head")
    assert (full["method"], full["chunks"], full["fits"]) == ("AdamW", 1, None)
    assert first["peak_gib"] < full["peak_gib"]
    middle = int((full["peak_gib"] + first["peak_gib"]) / 2 * 2**30)
    tight, planned = rows(model, "--loss", "head", "--memory", f"{middle}B")
    assert not tight["fits"]
    assert planned["fits"] and planned["peak_gib"] * 2**30 <= middle
    assert 1 < planned["chunks"] < first["chunks"] and planned["partition"] == "contiguous"
    assert planned["checkpointing"] in (True, False)


def test_the_models_own_loss_takes_all_logits(model: Path) -> None:
    own, head = (rows(model, "--loss", loss)[-1]["peak_gib"] for loss in ("model", "head"))
    assert own > head


def test_what_does_not_fit_says_what_would(model: Path) -> None:
    done = run(model, "--seq", 32, "--batch", 2, "--memory", "100KiB")
    assert "is too little: the weights take" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-model"], "error: no-such-model is neither a known shape"),
        (["llama2-7b", "--memory", "much"], "--memory='much' must be a number of bytes"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], message: str) -> None:
    done = run(*arguments, "--seq", 8, "--batch", 1)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_without_transformers_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["chunkft", "plan", "llama2-7b", "--seq", "8", "--batch", "1"])
    with pytest.raises(SystemExit, match=r"pip install chunkft\[plan\]"):
        cli.main()
