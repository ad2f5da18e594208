"""GSM8K asked for a chain of thought, as lm-eval's stock `gsm8k_cot` does (arXiv 2201.11903)."""

from workflow.tasks import gsm8k

COLUMNS = gsm8k.COLUMNS


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """Worded as the eight examples that come with the task; the template is not used."""
    worked, _, answer = row["answer"].rpartition("\n#### ")
    return [(f"Q: {row['question']}\nA:", False), (f" {worked} The answer is {answer}.", True)]
