"""Grade-school word problems with worked answers: GSM8K (Cobbe et al., arXiv 2110.14168)."""

COLUMNS = {"question": str, "answer": str}


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """The problem as lm-eval's stock `gsm8k` asks it zero-shot, and its answer; the template is not used."""
    return [(f"Question: {row['question']}\nAnswer:", False), (f" {row['answer']}", True)]
