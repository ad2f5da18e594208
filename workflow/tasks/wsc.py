"""Whom does a pronoun stand for: the Winograd schemas of SuperGLUE, WSC (arXiv 1905.00537)."""

from workflow.steps import understanding

COLUMNS = {"text": str, "span1_text": str, "span2_text": str, "span2_index": int, "label": int}
CHOICES = ("no", "yes")
rows = understanding.hub_form


def marked(row: dict) -> str:
    """The text with stars about the pronoun, which is given by its place among the words."""
    from lm_eval.utils import general_detokenize

    before = " ".join(row["text"].split()[: row["span2_index"]])
    behind = row["text"][len(before) + 1 + len(row["span2_text"]) :]
    return general_detokenize(f"{before} *{row['span2_text']}*{behind}")


def example(row: dict, template: str) -> list[tuple[str, bool]]:
    """As lm-eval's stock `wsc` words it; the template is not used."""
    asked = f'does the pronoun "*{row["span2_text"]}*" refer to "*{row["span1_text"]}*"?'
    return understanding.example(
        f"Passage: {marked(row)}\nQuestion: In the passage above, {asked}\nAnswer:", CHOICES[row["label"]]
    )


def sentences(row: dict) -> tuple[str, str]:
    """What a classifier reads."""
    return marked(row), f"{row['span2_text']} is {row['span1_text']}"
