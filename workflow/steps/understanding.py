"""What the task files of SuperGLUE and GLUE share."""

TRUTH = {"false": 0, "true": 1}


def hub_form(rows: list[dict]) -> list[dict]:
    """Rows of SuperGLUE's own release as the hub has them: labels 0 and 1, WSC's target beside its text."""
    return [
        {**row.pop("target", {}), **row, "label": TRUTH.get(str(row.get("label")).lower(), row.get("label"))}
        for row in map(dict, rows)
    ]


def example(prompt: str, choice: str) -> list[tuple[str, bool]]:
    """A training row: the prompt as lm-eval's stock task has it, and the choice that is right."""
    return [(prompt, False), (f" {choice}", True)]
