"""Four-choice questions over several subjects, in the shape of MMLU.

Each question comes with a passage of two facts and asks for one of them; the
choices of a subject are always the same four, in the same order.
"""

import random
from collections.abc import Iterator

from workflow.synthetic import distinct

FIRST = ("Ba", "Ce", "Di", "Fo", "Gu", "Ha", "Je", "Ki")
SECOND = ("bor", "dan", "fel", "gin", "hom", "kas", "lud", "mer")

# subject: (a fact, the question, the choices)
SUBJECTS = {
    "geography": ("{} lies in the {}.", "Where does {} lie?", ("north", "east", "south", "west")),
    "zoology": ("{} feeds on {}.", "What does {} eat?", ("grass", "fish", "seeds", "worms")),
    "chemistry": ("{} looks {}.", "Which colour has {}?", ("red", "green", "blue", "white")),
    "history": ("{} ruled in {}.", "When did {} rule?", ("spring", "summer", "autumn", "winter")),
}


def _passage(rng: random.Random) -> tuple[str, dict[str, str], str]:
    """A subject, two names with their values, and the sentences that say so."""
    subject = rng.choice(list(SUBJECTS))
    fact, _, choices = SUBJECTS[subject]
    facts: dict[str, str] = {}
    while len(facts) < 2:
        facts[rng.choice(FIRST) + rng.choice(SECOND)] = rng.choice(choices)
    return subject, facts, " ".join(fact.format(name, value) for name, value in facts.items())


def _question(rng: random.Random) -> tuple[str, dict]:
    subject, facts, passage = _passage(rng)
    _, question, choices = SUBJECTS[subject]
    name = rng.choice(list(facts))
    text = f"{passage} {question.format(name)}"
    row = {
        "question": text,
        "subject": subject,
        "choices": list(choices),
        "answer": choices.index(facts[name]),
    }
    return text, row


def generate(split: str, size: int, seed: int) -> list[dict]:
    return list(distinct(_question, split, size, seed))


def corpus(size: int, seed: int) -> Iterator[str]:
    """Passages with their facts in short."""
    rng = random.Random(f"mmlu corpus {seed}")
    for _ in range(size):
        _, facts, passage = _passage(rng)
        listed = ", ".join(f"{name} {facts[name]}" for name in rng.sample(list(facts), 2))
        yield f"{passage} In short: {listed}."
