"""The mathematical subjects of MMLU, of which MAmmoTH's evaluation makes a set of its own (974 questions)."""

from workflow.steps import mammoth
from workflow.tasks.mmlu import COLUMNS, LETTERS

__all__ = ["COLUMNS", "example", "question", "right", "rows"]

SUBJECTS = {
    "abstract_algebra",
    "college_mathematics",
    "elementary_mathematics",
    "formal_logic",
    "high_school_mathematics",
}


def rows(source: list[dict]) -> list[dict]:
    """Those of the subjects; the source may hold all 57."""
    return [row for row in source if row.get("subject") in SUBJECTS]


def question(row: dict) -> str:
    return f"{row['question']}\n{mammoth.options(row['choices'])}"


def right(row: dict) -> str:
    return LETTERS[row["answer"]]


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """The question as it is asked, and the letter; the template is not used."""
    return mammoth.example(question(row), f"The answer is {right(row)}")
