"""Word problems of one or two steps with worked answers, in the shape of GSM8K."""

import random
from collections.abc import Iterator

from workflow.synthetic import distinct

NAMES = ("Ann", "Ben", "Cora", "Dan", "Eva", "Finn", "Gus", "Hana")
ITEMS = ("apples", "books", "coins", "eggs", "pens", "shells")
GAIN = ("buys", "finds", "gets")
LOSE = ("sells", "loses", "drops")
LIMIT = 12  # every number in a story lies between 0 and here


def _story(rng: random.Random) -> tuple[str, str, list[tuple[str, int, int, int]]]:
    """A name, an item, and the steps as (operator, verb's number, before, after)."""
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    amount = rng.randint(1, LIMIT)
    steps = []
    for _ in range(rng.randint(1, 2)):
        if amount == 0 or (amount < LIMIT and rng.random() < 0.5):
            change = rng.randint(1, LIMIT - amount)
            steps.append(("+", change, amount, amount + change))
        else:
            change = rng.randint(1, amount)
            steps.append(("-", change, amount, amount - change))
        amount = steps[-1][3]
    return name, item, steps


def _happenings(rng: random.Random, name: str, steps: list[tuple[str, int, int, int]]) -> str:
    verbs = [rng.choice(GAIN if operator == "+" else LOSE) for operator, *_ in steps]
    return " ".join(f"{name} {verb} {step[1]}." for verb, step in zip(verbs, steps, strict=True))


def _problem(rng: random.Random) -> tuple[str, dict]:
    name, item, steps = _story(rng)
    question = (
        f"{name} has {steps[0][2]} {item}. {_happenings(rng, name, steps)} How many {item} does {name} have?"
    )
    worked = "\n".join(f"{before} {operator} {change} = {after}" for operator, change, before, after in steps)
    return question, {"question": question, "answer": f"{worked}\n#### {steps[-1][3]}"}


def generate(split: str, size: int, seed: int) -> list[dict]:
    return list(distinct(_problem, split, size, seed))


def corpus(size: int, seed: int) -> Iterator[str]:
    """Sums in words, and stories told with their sums; no question is asked."""
    rng = random.Random(f"gsm8k corpus {seed}")
    for _ in range(size):
        name, item, steps = _story(rng)
        happenings = f"{name} has {steps[0][2]} {item}. {_happenings(rng, name, steps)}"
        if rng.random() < 0.3:
            operator, change, before, after = steps[0]
            yield (
                f"{before} plus {change} makes {after}."
                if operator == "+"
                else f"{before} minus {change} leaves {after}."
            )
        else:
            sums = ", ".join(
                f"{before} {operator} {change} = {after}" for operator, change, before, after in steps
            )
            yield f"{happenings} That is {sums}."
