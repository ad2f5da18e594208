"""MT-Bench: two-turn questions in FastChat's format (arXiv 2306.05685)."""

from workflow.steps.conversation import conversation

COLUMNS = {"question_id": int, "category": str, "turns": list}


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """The dialogue with its `reference` answers, in FastChat's template."""
    return conversation(template, list(zip(row["turns"], row["reference"], strict=True)))
