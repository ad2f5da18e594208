"""The loop's arithmetic, its refusals, and going on exactly where a run stopped."""

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from baselines import Tuning
from workflow.steps import checkpoint, loop
from workflow.steps.examples import IGNORED, Examples, encode
from workflow.steps.files import InputError, write_jsonl


def tuning(folder: Path, lr: float = 1e-2) -> Tuning:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    return Tuning(model, torch.optim.AdamW(model.parameters(), lr=lr))


def batch(step: int, sequences: int = 4, micro: int = 4) -> loop.Batch:
    ids = torch.randint(5, 200, (sequences, 12), generator=torch.Generator().manual_seed(step))
    labels = ids.clone()
    labels[0, :7] = IGNORED
    labels[1, :3] = IGNORED
    whole = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    return [{key: value[i : i + micro] for key, value in whole.items()} for i in range(0, sequences, micro)]


def test_loss_is_the_mean_over_answer_tokens(tiny_model: Path) -> None:
    run = tuning(tiny_model)
    (micro,) = batch(0)
    with torch.no_grad():
        logits = run.model(micro["input_ids"]).logits[:, :-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(
        logits, micro["labels"][:, 1:].flatten(), ignore_index=IGNORED
    )
    assert loop.train_step(run, [micro], 1e-2) == pytest.approx(expected.item(), rel=1e-6)


def test_accumulation_is_the_same_step(tiny_model: Path) -> None:
    whole, parts = tuning(tiny_model), tuning(tiny_model)
    whole.optimizer = torch.optim.SGD(whole.model.parameters())
    parts.optimizer = torch.optim.SGD(parts.model.parameters())
    losses = [loop.train_step(whole, batch(0), 0.1), loop.train_step(parts, batch(0, micro=1), 0.1)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_clipping_bounds_the_update(tiny_model: Path) -> None:
    run = tuning(tiny_model)
    run.optimizer = torch.optim.SGD(run.model.parameters())
    before = [p.detach().clone() for p in run.model.parameters()]
    loop.train_step(run, batch(0), 1.0, max_grad_norm=0.01)
    moved = torch.nn.utils.get_total_norm(
        [p.detach() - b for p, b in zip(run.model.parameters(), before, strict=True)]
    )
    assert moved.item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_schedules(kind: str) -> None:
    schedule = loop.Schedule(2.0, 100, kind, warmup=0.1)
    rates = [schedule(step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(2.0 if kind == "constant" else 1.0)
    assert rates[99] == 2.0 if kind == "constant" else rates[99] < 0.05
    assert loop.Schedule(1.0, 10)(0) == 1.0


def test_a_loss_that_is_not_finite_stops_before_the_update(tiny_model: Path) -> None:
    run = tuning(tiny_model)
    with torch.no_grad():
        run.model.lm_head.weight[7] = math.inf
    before = [p.detach().clone() for p in run.model.parameters()]
    with pytest.raises(loop.Diverged, match="the loss is nan"):
        loop.train_step(run, batch(0), 0.1)
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


def test_a_gradient_that_is_not_finite_stops_before_the_update(tiny_model: Path) -> None:
    run = tuning(tiny_model)
    run.model.lm_head.weight.register_hook(lambda grad: grad * math.inf)
    before = [p.detach().clone() for p in run.model.parameters()]
    with pytest.raises(loop.Diverged, match="gradient"):
        loop.train_step(run, batch(0), 0.1)
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


class Interrupted(Exception):
    pass


def test_going_on_is_exact(tiny_model: Path, tmp_path: Path) -> None:
    plan = {"states": tmp_path, "save_every": 4}
    schedule = loop.Schedule(1e-2, 10)
    whole = tuning(tiny_model)
    curve = loop.fit(whole, batch, schedule)

    def interrupted(step: int) -> loop.Batch:
        if step == 6:
            raise Interrupted
        return batch(step)

    with pytest.raises(Interrupted):
        loop.fit(tuning(tiny_model), interrupted, schedule, **plan)
    resumed = tuning(tiny_model, lr=123.0)
    seen: list[int] = []

    def watched(step: int) -> loop.Batch:
        seen.append(step)
        return batch(step)

    again = loop.fit(resumed, watched, schedule, **plan)
    assert seen == [4, 5, 6, 7, 8, 9]
    assert again["loss"] == curve["loss"]
    assert again["tokens"] == curve["tokens"]
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_half_written_state_is_not_a_state(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, {"n": 1})
    checkpoint.save(tmp_path, 2, {"n": 2})
    checkpoint.save(tmp_path, 3, {"n": 3})
    (tmp_path / "step-00000004.partial").write_bytes(b"half")
    assert checkpoint.load_latest(tmp_path, "cpu") == {"n": 3}
    assert len(list(tmp_path.glob("*.pt"))) == checkpoint.KEEP
    checkpoint.remove(tmp_path)
    assert not tmp_path.exists()


def test_only_answers_are_learnt(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    pieces = [("Question: 2 + 2\nAnswer:", False), (" 4\n#### 4", True), (" Next:", False), (" 5", True)]
    ids, labels = encode(tokenizer, pieces)
    learnt = tokenizer.decode([label for label in labels if label != IGNORED])
    assert learnt == " 4\n#### 4 5<|endoftext|>"
    assert all(label in (IGNORED, token) for token, label in zip(ids, labels, strict=True))
    assert encode(tokenizer, [("a", False), ("b<|endoftext|>", True)])[0].count(tokenizer.eos_token_id) == 1


def test_every_row_is_seen_once_an_epoch_in_an_order_of_the_seed(tiny_model: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [{"pieces": [[f"{n}", True]]} for n in range(10)])
    examples = Examples(tmp_path / "rows.jsonl", AutoTokenizer.from_pretrained(tiny_model), 64)
    rows = examples.order(3)
    first, second = rows(0, 4) + rows(1, 4) + rows(2, 4)[:2], rows(2, 4)[2:] + rows(3, 4) + rows(4, 4)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert rows(1, 4) == examples.order(3)(1, 4) != examples.order(4)(1, 4)


def test_rows_without_an_answer_left_are_left_out(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rows = [{"pieces": [["x" * 50, False], ["y", True]]}, {"pieces": [["x", False], ["yyy", True]]}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    examples = Examples(tmp_path / "rows.jsonl", tokenizer, 8)
    assert (len(examples), examples.cut) == (1, 1)
    write_jsonl(tmp_path / "rows.jsonl", rows[:1])
    with pytest.raises(InputError, match="no row has an answer"):
        Examples(tmp_path / "rows.jsonl", tokenizer, 8)


def test_long_rows_are_cut_and_counted(tiny_model: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [{"pieces": [["x" * 5, True]]}, {"pieces": [["y" * 50, True]]}])
    examples = Examples(tmp_path / "rows.jsonl", AutoTokenizer.from_pretrained(tiny_model), 8)
    assert examples.cut == 1
    (micro,) = examples.batch([0, 1], 2)
    assert micro["input_ids"].shape == (2, 8)
    assert micro["labels"][0].tolist().count(IGNORED) == 8 - len(examples.ids[0])
