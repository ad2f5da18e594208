"""Four-choice questions over several subjects, in the shape of MMLU.

The facts are invented but fixed: they are told in the pre-training corpus, and
asked for here.
"""

import random
from collections.abc import Iterator

from workflow.synthetic import distinct

LETTERS = "ABCD"
PLACES = ("Avor", "Brin", "Calda", "Dorn", "Elva", "Fenn", "Gorm", "Hest")
CITIES = ("Mora", "Nist", "Orla", "Pend", "Quill", "Rask", "Sorn", "Tarn")
BEASTS = ("ant", "bear", "cat", "dog", "eel", "fox", "goat", "hen")
FOODS = ("moss", "honey", "fish", "bones", "worms", "berries", "grass", "seeds")
PAIRS = (
    ("hot", "cold"),
    ("big", "small"),
    ("fast", "slow"),
    ("wet", "dry"),
    ("old", "young"),
    ("hard", "soft"),
)

# subject: (question, statement in the corpus, fact -> answer)
SUBJECTS = {
    "geography": (
        "What is the capital of {}?",
        "The capital of {} is {}.",
        dict(zip(PLACES, CITIES, strict=True)),
    ),
    "zoology": ("What does the {} eat?", "The {} eats {}.", dict(zip(BEASTS, FOODS, strict=True))),
    "language": (
        "What is the opposite of {}?",
        "The opposite of {} is {}.",
        dict([*PAIRS, *(p[::-1] for p in PAIRS)]),
    ),
    "arithmetic": ("What comes after {}?", "After {} comes {}.", {str(n): str(n + 1) for n in range(1, 11)}),
}


def _question(rng: random.Random) -> tuple[str, dict]:
    subject = rng.choice(list(SUBJECTS))
    question, _, facts = SUBJECTS[subject]
    asked = rng.choice(list(facts))
    others = [answer for answer in facts.values() if answer not in (facts[asked], asked)]
    choices = [facts[asked], *rng.sample(others, 3)]
    rng.shuffle(choices)
    row = {
        "question": question.format(asked),
        "subject": subject,
        "choices": choices,
        "answer": choices.index(facts[asked]),
    }
    return f"{row['question']} {choices}", row


def generate(split: str, size: int, seed: int) -> list[dict]:
    return list(distinct(_question, split, size, seed))


def corpus(size: int, seed: int) -> Iterator[str]:
    """The facts as statements, and lists whose entries are looked up by their number."""
    rng = random.Random(f"mmlu corpus {seed}")
    for _ in range(size):
        subject = rng.choice(list(SUBJECTS))
        _, statement, facts = SUBJECTS[subject]
        fact = rng.choice(list(facts))
        if rng.random() < 0.5:
            yield statement.format(fact, facts[fact])
        else:
            listed = dict(zip(LETTERS, rng.sample(list(facts.values()), 4), strict=True))
            entries = " ".join(f"{letter}. {entry}" for letter, entry in listed.items())
            found = ", ".join(f"{listed[letter]} is {letter}" for letter in rng.sample(LETTERS, 4))
            yield f"{entries} So {found}."
