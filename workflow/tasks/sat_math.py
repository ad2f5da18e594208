"""Four-choice mathematics questions of the SAT, from AGIEval (arXiv 2304.06364), as MAmmoTH has them."""

from workflow.steps import mammoth

COLUMNS = {"question": str, "answer": str}


def question(row: dict) -> str:
    return row["question"]


def right(row: dict) -> str:
    return row["answer"]


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """The question as it is asked, and the letter; the template is not used."""
    return mammoth.example(question(row), f"The answer is {right(row)}")
