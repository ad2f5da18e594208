"""FastChat's conversation templates, for training rows and for MT-Bench questions alike."""

from collections.abc import Iterable
from difflib import get_close_matches

from fastchat.conversation import Conversation, conv_templates, get_conv_template

from workflow.steps.files import InputError


def blank(template: str) -> Conversation:
    """A new conversation in FastChat's template of that name.

    FastChat itself falls back to `one_shot` without a word where it does not know
    a name; here that is an InputError.
    """
    usable = {
        name for name, known in conv_templates.items() if known.sep_style
    }  # the others are remote services
    if template not in usable:
        near = get_close_matches(template, usable) or sorted(usable)
        raise InputError(f"template: FastChat has no text template {template!r}; it has {', '.join(near)}")
    return get_conv_template(template)


def conversation(template: str, turns: Iterable[tuple[str, str]]) -> list[tuple[str, bool]]:
    """A dialogue as pieces `(text, is_answer)`, cut where a model under evaluation takes over.

    `turns` holds (question, answer) pairs.  The pieces before an answer, joined,
    are what FastChat's `get_prompt()` gives for that turn; an answer ends with
    whatever the template puts after it (separator or end-of-sequence text), which
    is how a trained model learns to stop.
    """
    dialogue = blank(template)
    asking, answering, *_ = dialogue.roles
    pieces, so_far = [], ""
    for question, answer in turns:
        dialogue.append_message(asking, question)
        dialogue.append_message(answering, None)
        prompt = dialogue.get_prompt()
        dialogue.update_last_message(answer)
        whole = dialogue.get_prompt()
        if not (prompt.startswith(so_far) and whole.startswith(prompt)):
            raise InputError(f"template: {template!r} rewrites earlier turns; choose another one")
        pieces += [(prompt[len(so_far) :], False), (whole[len(prompt) :], True)]
        so_far = whole
    return pieces
