"""Does one sentence follow from another: RTE, as in GLUE (arXiv 1804.07461).  Label 0: it does."""

from workflow.steps import understanding

COLUMNS = {"sentence1": str, "sentence2": str, "label": int}
CHOICES = ("True", "False")


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """As lm-eval's stock `rte` words it; the template is not used."""
    return understanding.example(
        f"{row['sentence1']}\nQuestion: {row['sentence2']} True or False?\nAnswer:", CHOICES[row["label"]]
    )


def sentences(row: dict) -> tuple[str, str]:
    """What a classifier reads."""
    return row["sentence1"], row["sentence2"]
