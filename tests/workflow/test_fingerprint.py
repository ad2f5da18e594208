"""A fingerprint changes with what changes the numbers, and with nothing else."""

import ast
from pathlib import Path

import pytest

from workflow.steps import fingerprint as module
from workflow.steps.configuration import load
from workflow.steps.fingerprint import closure, fingerprint

MINI = Path(__file__).parents[2] / "workflow" / "config" / "mini.yaml"


def of(stage: str, method: str | None, overrides: dict | None = None) -> str:
    return fingerprint(load([MINI], overrides), stage, method, 0)


def test_a_methods_settings_change_that_method_only() -> None:
    changed = {"settings": {"lora": {"rank": 2}}}
    assert of("train", "lora") != of("train", "lora", changed)
    assert of("evaluate", "lora") != of("evaluate", "lora", changed)
    assert of("measure", "lora") != of("measure", "lora", changed)
    for stage, method in (("train", "full"), ("evaluate", "full"), ("data", None), ("base", None)):
        assert of(stage, method) == of(stage, method, changed)


def test_seeds_have_their_own() -> None:
    config = load([MINI])
    assert fingerprint(config, "train", "full", 0) != fingerprint(config, "train", "full", 1)


@pytest.mark.parametrize(
    ("changed", "stages"),
    [
        ({"tasks": {"gsm8k": {"limit": 3}}}, {"evaluate"}),
        ({"measure": {"steps": 99}}, {"measure"}),
        ({"train": {"steps": 7}}, {"train", "measure", "evaluate"}),
        ({"settings": {"full": {"grid": [{"lr": 0.1, "loss": 1.0}]}}}, set()),
        ({"seeds": [5]}, set()),
    ],
)
def test_each_part_of_the_config_reaches_its_stages(changed: dict, stages: set[str]) -> None:
    for stage in ("data", "base", "train", "measure", "evaluate"):
        method = None if stage in ("data", "base") else "full"
        assert (of(stage, method) != of(stage, method, changed)) == (stage in stages), stage


def test_code_is_followed_through_imports() -> None:
    followed = closure(frozenset({"workflow.steps.train", "baselines.chunkft"}))
    assert {
        "workflow.steps.loop",
        "workflow.steps.examples",
        "baselines.chunkft",
        "chunkft.optimizer",
    } <= followed
    assert "workflow.steps.progress" not in followed
    assert not any(
        name.startswith("chunkft") for name in closure(frozenset({"workflow.steps.train", "baselines.full"}))
    )


@pytest.mark.parametrize(
    ("edited", "same"),
    [
        ('"""Other words."""\ndef f(x):  # a remark\n    return x + 1\n', True),
        ('"""Words."""\ndef f(x):\n    return x + 2\n', False),
    ],
)
def test_comments_and_docstrings_do_not_count(
    edited: str, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = '"""Words."""\ndef f(x):\n    return x + 1\n'
    hashes = []
    for text in (original, edited):
        path = tmp_path / "code.py"
        path.write_text(text)
        monkeypatch.setattr(module, "_file", lambda _, path=path: path)
        hashes.append(module._code_hash.__wrapped__("code"))
    assert (hashes[0] == hashes[1]) == same
    ast.parse(edited)
