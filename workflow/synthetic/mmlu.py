"""Four-choice questions over several subjects, in the shape of MMLU.

The facts are invented but fixed: one of four values for each of many names.  All
are told in the pre-training corpus; fine-tuning asks for some and so teaches how
questions are answered; the test asks for others, which only the corpus told.
"""

import random
from collections.abc import Iterator
from itertools import islice, product

from workflow.synthetic import distinct

FIRST = ("Ba", "Ce", "Di", "Fo", "Gu", "Ha", "Je", "Ki", "Lo", "Mu", "Na", "Pe", "Ri", "So", "Tu", "Va")
SECOND = (
    *("bor", "dan", "fel", "gin", "hom", "kas", "lud", "mer", "nis", "pol", "rak", "sev", "tim", "vun"),
    *("wex", "zal", "bik", "dor", "fan", "gom", "hul", "kip", "lan", "mos", "nur", "pad", "ret", "sil"),
    *("tog", "vam", "wen", "zub"),
)

# subject: (question, statement in the corpus, choices in their fixed order)
SUBJECTS = {
    "geography": ("Where does {} lie?", "{} is a town in the {}.", ("north", "east", "south", "west")),
    "zoology": ("What does a {} eat?", "Every {} feeds on {}.", ("grass", "fish", "seeds", "worms")),
    "chemistry": ("Which colour has {}?", "The salt {} looks {}.", ("red", "green", "blue", "white")),
    "history": ("When did {} rule?", "King {} reigned in {}.", ("spring", "summer", "autumn", "winter")),
}


def _facts() -> dict[str, dict[str, str]]:
    """subject -> name -> value; a quarter of all names to each subject."""
    rng = random.Random("facts")
    names = ("".join(syllables) for syllables in product(FIRST, SECOND))
    each = len(FIRST) * len(SECOND) // len(SUBJECTS)
    return {
        subject: {name: rng.choice(choices) for name in islice(names, each)}
        for subject, (_, _, choices) in SUBJECTS.items()
    }


FACTS = _facts()


def _question(rng: random.Random) -> tuple[str, dict]:
    subject = rng.choice(list(SUBJECTS))
    question, _, choices = SUBJECTS[subject]
    name = rng.choice(list(FACTS[subject]))
    answer = choices.index(FACTS[subject][name])
    return name, {
        "question": question.format(name),
        "subject": subject,
        "choices": list(choices),
        "answer": answer,
    }


def generate(split: str, size: int, seed: int) -> list[dict]:
    return list(distinct(_question, split, size, seed))


def corpus(size: int, seed: int) -> Iterator[str]:
    """The facts as statements."""
    rng = random.Random(f"mmlu corpus {seed}")
    for _ in range(size):
        subject = rng.choice(list(SUBJECTS))
        name, value = rng.choice(list(FACTS[subject].items()))
        yield SUBJECTS[subject][1].format(name, value)
