import pytest
from fastchat.conversation import conv_templates, get_conv_template

from workflow.steps.conversation import blank, conversation
from workflow.steps.files import InputError

TURNS = [("Name a star.", "The sun."), ("Another?", "Vega.")]
TEMPLATES = sorted(name for name, known in conv_templates.items() if known.sep_style and name != "yuan2")


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_stands_before_an_answer_is_fastchats_prompt(template: str) -> None:
    pieces = conversation(template, TURNS)
    assert [is_answer for _, is_answer in pieces] == [False, True, False, True]
    dialogue = get_conv_template(template)
    for turn, (question, answer) in enumerate(TURNS):
        dialogue.append_message(dialogue.roles[0], question)
        dialogue.append_message(dialogue.roles[1], None)
        assert "".join(text for text, _ in pieces[: 2 * turn + 1]) == dialogue.get_prompt()
        dialogue.update_last_message(answer)
        assert answer in pieces[2 * turn + 1][0]
    assert "".join(text for text, _ in pieces) == dialogue.get_prompt()


def test_an_answer_ends_with_the_templates_separator() -> None:
    assert conversation("oasst_pythia", TURNS)[1] == ("The sun.<|endoftext|>", True)
    assert conversation("vicuna_v1.1", TURNS)[3] == (" Vega.</s>", True)


@pytest.mark.parametrize("name", ["llama-3", "gemini"])  # unknown; known to FastChat, but a remote service
def test_a_template_without_text_is_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=f"no text template '{name}'; it has "):
        blank(name)


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    with pytest.raises(InputError, match="'yuan2' rewrites earlier turns"):
        conversation("yuan2", TURNS)
