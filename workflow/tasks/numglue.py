"""Questions of several kinds that need arithmetic: NumGLUE (arXiv 2204.05660), as MAmmoTH has it."""

from workflow.steps import mammoth

COLUMNS = {"question": str, "answer": str}


def rows(source: list[dict]) -> list[dict]:
    """Answers as text: MAmmoTH's file holds numbers and words."""
    return [{**row, "answer": str(row.get("answer"))} for row in source]


def question(row: dict) -> str:
    return row["question"]


def right(row: dict) -> str:
    return row["answer"]


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """The question as it is asked, and the answer; the template is not used."""
    return mammoth.example(question(row), f"The answer is {right(row)}")
