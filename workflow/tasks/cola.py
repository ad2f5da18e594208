"""Is a sentence acceptable English: CoLA, as in GLUE (arXiv 1804.07461)."""

from workflow.steps import understanding

COLUMNS = {"sentence": str, "label": int}
CHOICES = ("no", "yes")


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """As lm-eval's stock `cola` words it; the template is not used."""
    return understanding.example(
        f"{row['sentence']}\nQuestion: Does this sentence make sense?\nAnswer:", CHOICES[row["label"]]
    )


def sentences(row: dict) -> tuple[str]:
    """What a classifier reads."""
    return (row["sentence"],)
