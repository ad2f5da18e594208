"""Yes/no questions about a passage: BoolQ (arXiv 1905.10044), as in SuperGLUE."""

from workflow.steps import understanding

COLUMNS = {"question": str, "passage": str, "label": int}
CHOICES = ("no", "yes")
rows = understanding.hub_form


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """As lm-eval's stock `boolq` words it; the template is not used."""
    return understanding.example(
        f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:", CHOICES[row["label"]]
    )


def sentences(row: dict) -> tuple[str, str]:
    """What a classifier reads."""
    return row["passage"], row["question"]
