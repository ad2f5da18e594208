"""Algebra word problems with five choices: AQuA (arXiv 1705.04146)."""

from workflow.steps import mammoth

COLUMNS = {"question": str, "options": list, "rationale": str, "correct": str}


def question(row: dict) -> str:
    """The options are written `A)5` in the data."""
    choices = [option.partition(")")[2].strip() for option in row["options"]]
    return f"{row['question'].strip()}\n{mammoth.options(choices)}"


def right(row: dict) -> str:
    return row["correct"]


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """The question as it is asked, its rationale and the letter; the template is not used."""
    return mammoth.example(question(row), f"{row['rationale']}\nThe answer is {row['correct']}")
