"""Which of two is the cause or the effect: COPA, as in SuperGLUE (arXiv 1905.00537)."""

from workflow.steps import understanding

COLUMNS = {"premise": str, "choice1": str, "choice2": str, "question": str, "label": int}
CONNECTORS = {"cause": "because", "effect": "therefore"}
rows = understanding.hub_form


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """As lm-eval's stock `copa` words it, with its two spaces before the choice; the template is not used."""
    choice = row[f"choice{row['label'] + 1}"]
    prompt = f"{row['premise'].strip()[:-1]} {CONNECTORS[row['question']]}"
    return understanding.example(prompt, f" {choice[0].lower()}{choice[1:]}")


def sentences(row: dict) -> tuple[str, str]:
    """What a classifier reads: it learns which of the two is meant by their order."""
    asked = f"{row['premise']} What is the {row['question']}?"
    return asked, f"First: {row['choice1']} Second: {row['choice2']}"
