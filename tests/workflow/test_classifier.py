"""A classification head: every method trains it, batches change nothing, its scores are the textbook's."""

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

import baselines
from baselines import Run
from workflow.steps import classifier
from workflow.steps.configuration import load
from workflow.steps.examples import Examples
from workflow.steps.files import InputError, write_jsonl
from workflow.steps.loop import Schedule, fit

ROBERTA = Path(classifier.__file__).parents[1] / "config" / "superglue" / "roberta-large-rte.yaml"
ROWS = [
    {"sentences": ["sun moon", "star"], "label": 1},
    {"sentences": ["rain " * 40, "snow"], "label": 0},
    {"sentences": ["moon", "sun " * 9], "label": 1},
    {"sentences": ["snow rain", "rain"], "label": 0},
]


@pytest.fixture
def examples(tiny_roberta: Path, tmp_path: Path) -> Examples:
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    return Examples(
        tmp_path / "rows.jsonl", AutoTokenizer.from_pretrained(tiny_roberta), 24, classifier.encode
    )


@pytest.mark.parametrize("method", load([ROBERTA])["methods"])
def test_every_method_of_the_config_trains_the_head(method: str, tiny_roberta, examples) -> None:
    settings = load([ROBERTA])["methods"][method]
    file = baselines.methods()[settings["method"]]
    parameters = {key: settings[key] for key in file.PARAMETERS}
    torch.manual_seed(1)
    model = classifier.load_model(tiny_roberta, torch.float32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run = Run(
        method, 1e-2, 8, 4, parameters={**parameters, **({"period": 1} if "period" in parameters else {})}
    )
    if "steps_per_chunk" in parameters:
        run.parameters["steps_per_chunk"] = run.parameters["chunks"] = 2
    tuning = file.build(model, run)
    curve = fit(tuning, lambda step: examples.batch([0, 1, 2, 3], 2), Schedule(1e-2, 8, "constant"))
    after = file.export(tuning.model).state_dict()
    assert set(after) == set(before)
    for name in ("classifier.dense.weight", "classifier.out_proj.weight"):
        assert not torch.equal(after[name], before[name]), name
    assert all(math.isfinite(loss) for loss in curve["loss"])


def test_the_loss_is_the_mean_over_rows_however_they_are_batched(tiny_roberta, examples) -> None:
    model = classifier.load_model(tiny_roberta, torch.float32).eval()
    (whole,) = examples.batch([0, 1, 2, 3], 4)
    halves = examples.batch([0, 1, 2, 3], 2)
    with torch.no_grad():
        together = model(**whole).loss
        parts = sum(model(**half, num_items_in_batch=torch.tensor(4)).loss for half in halves)
        logits = model(whole["input_ids"], whole["attention_mask"]).logits
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([1, 0, 1, 0]))
    torch.testing.assert_close(together, expected)
    torch.testing.assert_close(parts, expected)


def test_a_long_row_keeps_both_texts_and_its_label(tiny_roberta, examples) -> None:
    assert [labels[-1] for labels in examples.labels] == [1, 0, 1, 0]
    assert len(examples.ids[1]) == 24
    assert "snow" in AutoTokenizer.from_pretrained(tiny_roberta).decode(examples.ids[1])


def test_a_saved_classifier_is_read_again_and_answers_alike(tiny_roberta, examples, tmp_path: Path) -> None:
    model = classifier.load_model(tiny_roberta, torch.float32).eval()
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny_roberta).save_pretrained(tmp_path / "model")
    again, _ = classifier.load_tuned(tmp_path / "model")
    (batch,) = examples.batch([0, 1, 2, 3], 4)
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, again(**batch).logits)


def test_a_model_without_a_trained_head_is_refused(tiny_roberta: Path) -> None:
    with pytest.raises(InputError, match="has no trained classification head: leave `none` out"):
        classifier.load_tuned(tiny_roberta)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(1, 1), (0, 0), (1, 0), (1, 1)], {"acc": 0.75, "f1": 0.8, "mcc": 2 / math.sqrt(2 * 3 * 1 * 2)}),
        ([(1, 1), (0, 0)], {"acc": 1.0, "f1": 1.0, "mcc": 1.0}),
        ([(1, 0), (0, 1)], {"acc": 0.0, "f1": 0.0, "mcc": -1.0}),
        ([(1, 1), (0, 1)], {"acc": 0.5, "f1": 2 / 3, "mcc": 0.0}),
        ([(0, 0), (0, 0)], {"acc": 1.0, "f1": 0.0, "mcc": 0.0}),
    ],
)
def test_metrics(pairs: list[tuple[int, int]], expected: dict[str, float]) -> None:
    found = classifier.metrics(pairs)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            {"tasks": {"math": {"batch_size": 1, "max_new_tokens": 1}}},
            "`tasks.math` is no task for a classifier",
        ),
        ({"measure": {"steps": 1}}, "`measure` times language models"),
    ],
)
def test_what_a_classifier_cannot_do_is_refused(override: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load([ROBERTA], {"data": {"sources": {"math": {"path": "./math"}}}, **override})
