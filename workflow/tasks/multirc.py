"""Is an answer to a question about a paragraph right: MultiRC, as in SuperGLUE (arXiv 1905.00537)."""

from workflow.steps import understanding

COLUMNS = {"paragraph": str, "question": str, "answer": str, "label": int}


def choices(row: dict) -> list[str]:
    """By label: 1 is a right answer."""
    return [f"{row['answer']}\nIs the answer correct? {word}" for word in ("no", "yes")]


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """As lm-eval's stock `multirc` words it; the template is not used."""
    return understanding.example(
        f"{row['paragraph']}\nQuestion: {row['question']}\nAnswer:", choices(row)[row["label"]]
    )


def sentences(row: dict) -> tuple[str, str]:
    """What a classifier reads."""
    return row["paragraph"], f"{row['question']} {row['answer']}"
