"""Instructions with reasoning in words or programs: MathInstruct (arXiv 2309.05653).  For training only."""

from workflow.steps import mammoth

COLUMNS = {"instruction": str, "output": str}


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """The instruction in Alpaca's prompt and its output; the template is not used."""
    return mammoth.example(row["instruction"], row["output"])
