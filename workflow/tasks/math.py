"""Competition problems with worked solutions: MATH (arXiv 2103.03874)."""

from workflow.steps import mammoth

COLUMNS = {"problem": str, "solution": str}


def question(row: dict) -> str:
    return row["problem"]


def right(row: dict) -> str:
    return mammoth.boxed(row["solution"])


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """The problem as it is asked, and its solution, which boxes the answer; the template is not used."""
    return mammoth.example(question(row), row["solution"])
