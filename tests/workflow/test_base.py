"""The base model is found, or refused in one sentence before anything is trained."""

from pathlib import Path

import huggingface_hub
import pytest

from workflow.steps.base import find, model_folder
from workflow.steps.files import InputError, sha256, write_json


def test_a_local_model_has_the_hash_of_its_weights(tiny_model: Path) -> None:
    found = find(str(tiny_model), None)
    assert found == {
        "path": str(tiny_model),
        "revision": "sha256:" + sha256(tiny_model / "model.safetensors"),
    }


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no config.json"):
        find(str(tmp_path), None)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="no \\*.safetensors weights"):
        find(str(tmp_path), None)


def test_an_unreachable_hub_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(InputError, match="could not be fetched from the hub") as refusal:
        find("someone/some-model", "main")
    assert "\n" not in str(refusal.value)


def test_a_model_made_here_lies_beside_its_description(tmp_path: Path) -> None:
    write_json(tmp_path / "base.json", {"path": "model"})
    assert model_folder(tmp_path / "base.json") == tmp_path / "model"
