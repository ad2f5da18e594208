"""Training rows as batches of tokens: the same samples in the same order for every method."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from workflow.steps.files import InputError, read_jsonl
from workflow.steps.loop import Batch

IGNORED = -100  # the label that cross-entropy leaves out
Encode = Callable[[Any, dict, int], tuple[list[int], list[int]]]


class Examples:
    """Tokenised rows of `train.jsonl` or `validation.jsonl`.

    encode: `encode(tokenizer, row, max_length)` gives a row's ids and labels.
    ids, labels: one list of tokens a row; a prompt's labels are IGNORED.
    cut: how many rows were longer than `max_length`; those without an answer before the cut are left out.
    """

    def __init__(self, path: Path, tokenizer, max_length: int, encode: Encode | None = None) -> None:
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        encode = encode or encode_row
        encoded = [encode(tokenizer, row, max_length) for row in read_jsonl(path)]
        self.cut = sum(len(ids) > max_length for ids, _ in encoded)
        rows = [(ids[:max_length], labels[:max_length]) for ids, labels in encoded]
        rows = [(ids, labels) for ids, labels in rows if any(label != IGNORED for label in labels[1:])]
        if not rows:
            raise InputError(f"{path}: no row has an answer within `train.max_length`, {max_length} tokens")
        self.ids, self.labels = map(list, zip(*rows, strict=True))

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: list[int], micro_batch_size: int) -> Batch:
        """`rows` as micro-batches, each padded on the right to its longest row."""
        return [self._padded(rows[i : i + micro_batch_size]) for i in range(0, len(rows), micro_batch_size)]

    def _padded(self, rows: list[int]) -> dict[str, torch.Tensor]:
        length = max(len(self.ids[row]) for row in rows)

        def padded(lists: list[list[int]], value: int) -> torch.Tensor:
            return torch.tensor([lists[row] + [value] * (length - len(lists[row])) for row in rows])

        ones = [[1] * len(ids) for ids in self.ids]
        return {
            "input_ids": padded(self.ids, self.pad),
            "attention_mask": padded(ones, 0),
            "labels": padded(self.labels, IGNORED),
        }  # each [sequences, tokens]

    def order(self, seed: int):
        """`rows(step, batch_size)` of a run: a new permutation each epoch, no row left out or repeated."""

        @cache
        def epoch(number: int) -> list[int]:
            draw = torch.Generator().manual_seed(1_000_003 * seed + number)
            return torch.randperm(len(self), generator=draw).tolist()

        def rows(step: int, batch_size: int) -> list[int]:
            positions = range(step * batch_size, (step + 1) * batch_size)
            return [epoch(position // len(self))[position % len(self)] for position in positions]

        return rows


def encode_row(tokenizer, row: dict, max_length: int) -> tuple[list[int], list[int]]:
    """A row for a language model, whole: `Examples` cuts it and counts that."""
    return encode(tokenizer, row["pieces"])


def encode(tokenizer, pieces: list[tuple[str, bool]]) -> tuple[list[int], list[int]]:
    """Token ids and labels of one row; the row ends with the end-of-text token.

    The text is tokenised whole, as the evaluation does, and a token counts as an
    answer's when its last character does.
    """
    answers, position = [], 0
    for text, is_answer in pieces:
        if is_answer:
            answers.append((position, position + len(text)))
        position += len(text)
    encoded = tokenizer("".join(text for text, _ in pieces), return_offsets_mapping=True)
    ids, labels = encoded["input_ids"], []
    for token, (_, end) in zip(ids, encoded["offset_mapping"], strict=True):
        labels.append(token if any(first < end <= last for first, last in answers) else IGNORED)
    if ids[-1] != tokenizer.eos_token_id:
        ids, labels = [*ids, tokenizer.eos_token_id], [*labels, tokenizer.eos_token_id]
    return ids, labels
