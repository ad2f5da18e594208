"""Has a word one sense in two sentences: WiC (arXiv 1808.09121), as in SuperGLUE."""

from workflow.steps import understanding

COLUMNS = {"word": str, "sentence1": str, "sentence2": str, "start1": int, "end1": int, "label": int}
CHOICES = ("no", "yes")
rows = understanding.hub_form


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """As lm-eval's stock `wic` words it; the template is not used."""
    word = row["sentence1"][row["start1"] : row["end1"]]
    asked = f"Question: Is the word '{word}' used in the same way in the two sentences above?\nAnswer:"
    return understanding.example(
        f"Sentence 1: {row['sentence1']}\nSentence 2: {row['sentence2']}\n{asked}", CHOICES[row["label"]]
    )


def sentences(row: dict) -> tuple[str, str]:
    """What a classifier reads."""
    return f"{row['word']}: {row['sentence1']}", row["sentence2"]
