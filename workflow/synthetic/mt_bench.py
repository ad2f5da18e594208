"""Two-turn instructions whose answers a program can check, in the shape of MT-Bench.

The second turn refers to the first answer.  Rows have FastChat's columns, with the
right answer of each turn as `reference`.
"""

import random
from collections.abc import Callable, Iterator

from workflow.synthetic import distinct

WORDS = ("sun", "moon", "star", "tree", "lake", "hill", "rain", "snow", "bird", "leaf", "rose", "stone")


def _repeat(rng: random.Random, words: list[str]) -> tuple[str, list[str]]:
    times = rng.randint(2, 4)
    return f"Write {words[0]} {times} times.", [words[0]] * times


def _copy(rng: random.Random, words: list[str]) -> tuple[str, list[str]]:
    return f"Write {' '.join(words)}.", words


def _reverse(rng: random.Random, words: list[str]) -> tuple[str, list[str]]:
    return f"Write {' '.join(words)} backwards.", words[::-1]


def _first(rng: random.Random, words: list[str]) -> tuple[str, list[str]]:
    return f"Write the first word of {' '.join(words)}.", words[:1]


def _last(rng: random.Random, words: list[str]) -> tuple[str, list[str]]:
    return f"Write the last word of {' '.join(words)}.", words[-1:]


def _append(rng: random.Random, words: list[str]) -> tuple[str, list[str]]:
    return f"Add {words[-1]} to {' '.join(words[:-1])}.", words


CATEGORIES: dict[str, Callable[[random.Random, list[str]], tuple[str, list[str]]]] = {
    "repeat": _repeat,
    "copy": _copy,
    "reverse": _reverse,
    "first": _first,
    "last": _last,
    "append": _append,
}
FOLLOW_UPS: dict[str, Callable[[list[str]], list[str]]] = {
    "Say it again.": lambda words: words,
    "Now write it twice.": lambda words: words * 2,
    "Now in capitals.": lambda words: [word.upper() for word in words],
    "How many words is that?": lambda words: [str(len(words))],
}


def _dialogue(rng: random.Random) -> tuple[str, dict]:
    category = rng.choice(list(CATEGORIES))
    request, first = CATEGORIES[category](rng, rng.sample(WORDS, rng.randint(2, 3)))
    follow_up = rng.choice(list(FOLLOW_UPS))
    row = {
        "category": category,
        "required_temperature": 0.0,  # FastChat samples in categories it does not know
        "turns": [request, follow_up],
        "reference": [" ".join(first), " ".join(FOLLOW_UPS[follow_up](first))],
    }
    return request, row


def generate(split: str, size: int, seed: int) -> list[dict]:
    return [
        {"question_id": number, **row}
        for number, row in enumerate(distinct(_dialogue, split, size, seed), start=1)
    ]


def corpus(size: int, seed: int) -> Iterator[str]:
    """Word lists with what can be said of them, in other words than the instructions use."""
    rng = random.Random(f"mt_bench corpus {seed}")
    for _ in range(size):
        words = rng.sample(WORDS, rng.randint(2, 3))
        listed = " ".join(words)
        yield rng.choice(
            (
                f"{listed}: {listed}.",
                f"{listed}, turned round: {' '.join(words[::-1])}.",
                f"{listed} starts with {words[0]} and ends with {words[-1]}.",
                f"{listed} has {len(words)} words.",
                f"{words[0]} in large letters is {words[0].upper()}.",
            )
        )
