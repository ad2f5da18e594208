"""The tracker's bytes are those that can be worked out by hand."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from baselines import Tuning
from chunkft.watch import Watch
from workflow.steps.memory import MemoryTracker, state_tensors
from workflow.steps.profile import profile

KIB = 1024


def test_peak_and_parts_of_a_known_sequence() -> None:
    weight = torch.zeros(KIB, dtype=torch.uint8)
    tracker = MemoryTracker("cpu")
    tracker.label([weight], "weights")
    with Watch(tracker):
        a = torch.zeros(4 * KIB, dtype=torch.uint8)
        b = torch.zeros(2 * KIB, dtype=torch.uint8)
        tracker.label([b], "gradients")
        view = b[:10]  # a view is not new memory
        del a
        c = torch.zeros(3 * KIB, dtype=torch.uint8)
        del b, view, c
    assert tracker.peak["cpu"] == 7 * KIB
    assert tracker.breakdown() == {
        "weights": KIB,
        "gradients": 2 * KIB,
        "optimizer": 0,
        "activations": 4 * KIB,
    }
    assert tracker.live["cpu"] == KIB


def test_a_label_given_after_the_peak_counts() -> None:
    tracker = MemoryTracker("cpu")
    with Watch(tracker):
        state = torch.zeros(KIB, dtype=torch.uint8)
        torch.zeros(KIB, dtype=torch.uint8)
    tracker.label([state], "optimizer")
    assert tracker.breakdown()["optimizer"] == KIB


def test_state_is_found_inside_objects() -> None:
    class Projector:
        def __init__(self) -> None:
            self.matrix = torch.zeros(3)

    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter])
    optimizer.state[parameter] = {"step": 1, "projector": Projector(), "moments": [torch.zeros(4)]}
    assert sorted(len(tensor) for tensor in state_tensors(optimizer)) == [3, 4]


@pytest.mark.parametrize(
    ("optimizer", "moments"), [(torch.optim.AdamW, 2), (torch.optim.SGD, 0)], ids=["AdamW", "SGD"]
)
def test_a_training_step_has_its_weights_gradients_and_moments(
    tiny_model: Path, optimizer, moments: int
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    tuning = Tuning(model, optimizer(model.parameters(), lr=0.1, foreach=False))
    ids = torch.randint(5, 200, (8, 128))
    loss = lambda model: model(input_ids=ids, labels=ids).loss  # noqa: E731
    memory = profile(tuning, loss, 0.1, "cpu", warmup=0, steps=1, sampled=1)["memory"]
    parts = {key: memory[key] for key in ("weights", "gradients", "optimizer", "activations")}
    assert sum(parts.values()) == memory["peak"]
    assert size <= parts["weights"] < 1.1 * size  # buffers, such as rotary frequencies
    assert parts["optimizer"] == pytest.approx(moments * size, rel=0.01)
    assert parts["activations"] > 8 * 128 * model.config.vocab_size * 4  # the logits alone
