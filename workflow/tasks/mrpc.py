"""Do two sentences mean the same: MRPC, as in GLUE (arXiv 1804.07461)."""

from workflow.steps import understanding

COLUMNS = {"sentence1": str, "sentence2": str, "label": int}
CHOICES = ("no", "yes")


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """As lm-eval's stock `mrpc` words it; the template is not used."""
    asked = "Question: Do both sentences mean the same thing?\nAnswer:"
    return understanding.example(
        f"Sentence 1: {row['sentence1']}\nSentence 2: {row['sentence2']}\n{asked}", CHOICES[row["label"]]
    )


def sentences(row: dict) -> tuple[str, str]:
    """What a classifier reads."""
    return row["sentence1"], row["sentence2"]
