"""Instructions and answers: Alpaca, and the sets that took over its columns, such as Alpaca-GPT4."""

from workflow.steps.conversation import conversation

COLUMNS = {"instruction": str, "input": str, "output": str}


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """One turn of FastChat's `template`, as MT-Bench is asked in it; the input follows the instruction."""
    question = f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"]
    return conversation(template, [(question, row["output"])])
