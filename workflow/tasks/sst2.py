"""Is a film review positive: SST-2, as in GLUE (arXiv 1804.07461)."""

from workflow.steps import understanding

COLUMNS = {"sentence": str, "label": int}
CHOICES = ("negative", "positive")


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """As lm-eval's stock `sst2` words it; the template is not used."""
    return understanding.example(
        f"{row['sentence']}\nQuestion: Is this sentence positive or negative?\nAnswer:", CHOICES[row["label"]]
    )


def sentences(row: dict) -> tuple[str]:
    """What a classifier reads."""
    return (row["sentence"],)
