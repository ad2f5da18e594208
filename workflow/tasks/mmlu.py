"""Four-choice questions over many subjects: MMLU (Hendrycks et al., arXiv 2009.03300)."""

COLUMNS = {"question": str, "subject": str, "choices": list, "answer": int}
LETTERS = "ABCD"


def description(subject: str) -> str:
    """The line lm-eval puts before a subject's questions."""
    return (
        f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
    )


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """The question as lm-eval's stock `mmlu` asks it zero-shot, and the letter; the template is not used."""
    choices = "".join(f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, row["choices"], strict=True))
    question = f"{description(row['subject'])}{row['question'].strip()}\n{choices}Answer:"
    return [(question, False), (f" {LETTERS[row['answer']]}", True)]
