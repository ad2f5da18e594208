"""What a run's result says is trained when, is what is trained then."""

import pytest
from tiny import VOCABULARY, WIDTH
from transformers import LlamaConfig, LlamaForCausalLM

from baselines import Run, chunkft

STEPS = 14
CONFIG = LlamaConfig(
    vocab_size=VOCABULARY,
    hidden_size=WIDTH,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
)
NAMES = [name for name, _ in LlamaForCausalLM(CONFIG).named_parameters()]


def build(**parameters):
    model = LlamaForCausalLM(CONFIG)
    defaults = {"chunks": 3, "steps_per_chunk": 4}
    run = Run("chunkft", 1e-3, STEPS, 4, parameters={**chunkft.PARAMETERS, **defaults, **parameters})
    return chunkft.build(model, run)


@pytest.mark.parametrize("partition", ["contiguous", "strided"])
def test_the_parts_are_all_bytes_once(partition: str) -> None:
    tuning = build(partition=partition)
    parts = tuning.schedule["parts"]
    assert len(parts) == 3
    ranges = sorted(tuple(one) for part in parts for one in part)
    assert ranges[0][0] == 0
    assert all(before[1] == after[0] for before, after in zip(ranges, ranges[1:], strict=False))
    assert ranges[-1][1] == sum(parameter.nbytes for parameter in tuning.trainable)
    assert (max(map(len, parts)) == 1) == (partition == "contiguous")
    parameters = dict(zip(NAMES, tuning.trainable, strict=True))
    for part, chunk in zip(parts, tuning.optimizer.chunks, strict=True):
        rows = [(s.rows or (0, len(parameters[s.name])), parameters[s.name]) for s in chunk]
        bytes_of_chunk = sum((last - first) * p.nbytes // len(p) for (first, last), p in rows)
        assert sum(stop - start for start, stop in part) == bytes_of_chunk


@pytest.mark.parametrize("order", ["cyclic", "reversed", "shuffled"])
def test_the_order_is_the_optimizers(order: str) -> None:
    tuning = build(order=order)
    schedule, optimizer = tuning.schedule, tuning.optimizer
    assert schedule["steps"] == 4 and len(schedule["order"]) == 4  # the last turn is cut short
    for step in range(STEPS):
        optimizer.steps = step
        assert schedule["order"][step // schedule["steps"]] == optimizer.chunk
