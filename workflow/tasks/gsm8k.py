"""Grade-school word problems with worked answers: GSM8K (Cobbe et al., arXiv 2110.14168)."""

from workflow.steps import mammoth

COLUMNS = {"question": str, "answer": str}


def question(row: dict) -> str:
    """The problem as MAmmoTH's evaluation asks it."""
    return row["question"].strip()


def right(row: dict) -> str:
    return mammoth.number(row["answer"].rpartition("#### ")[2].replace(",", ""))


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """As lm-eval's stock `gsm8k` words it zero-shot; with the template `mammoth`, as MAmmoTH does."""
    if template == mammoth.TEMPLATE:
        worked, _, answer = row["answer"].rpartition("\n#### ")
        return mammoth.example(question(row), f"{worked}\nThe answer is {answer}")
    return [(f"Question: {row['question']}\nAnswer:", False), (f" {row['answer']}", True)]
