"""Zero-shot mathematical reasoning, asked and scored as MAmmoTH's evaluation does (arXiv 2309.05653).

A question is an instruction in Alpaca's prompt; the answer is read out of the
reply's text.  Programs, which a model trained on MathInstruct writes where it is
asked to, are not run: a reply with a call of `print` is counted in `program`.
"""

import re

VERSION = 1  # raise it with any change that can alter a prompt or a score
TEMPLATE = "mammoth"  # the name of this wording in a config, beside FastChat's templates
PROMPT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{}\n\n### Response:"
)
END = "### Instruction"  # a model that goes on asks itself the next question
OPTIONS = "ABCDE"
TRIGGERS = ("The answer is:", "The answer is", "the answer is")

# How a task's answer is written, and what may announce it.
FREE = {"gsm8k": (*TRIGGERS, "####"), "numglue": TRIGGERS}  # a number; for NumGLUE perhaps a letter
CHOICE = dict.fromkeys(("aqua", "sat_math", "mmlu_math"), ("####", "The answer is"))  # a letter
LATEX = "math"  # an expression
METRICS = ("exact_match", "answered", "program")
TASKS = (*FREE, *CHOICE, LATEX)


def example(question: str, answer: str) -> list[tuple[str, bool]]:
    """A training row: the prompt and, right behind it, the answer."""
    return [(PROMPT.format(question), False), (answer, True)]


def options(choices: list[str]) -> str:
    """Choices as MAmmoTH lists them behind a question: `Answer Choices: (A) 2 (B) 4`."""
    listed = " ".join(f"({letter}) {choice}" for letter, choice in zip(OPTIONS, choices, strict=False))
    return f"Answer Choices: {listed}"


def scores(task: str, reply: str, right: str) -> dict[str, bool]:
    """Whether the reply is right, whether an answer could be read at all, and whether it is a program.

    A choice that cannot be read counts as A, as in MAmmoTH.
    """
    reply = reply.split(END)[0]
    found = extract(task, reply)
    if task == LATEX:
        answered, correct = found != "", same_expression(found, right)
    elif task in CHOICE:
        answered = found in tuple(OPTIONS)
        correct = (found if answered else OPTIONS[0]) == right
    else:
        answered, correct = found != "", found == right
    return dict(zip(METRICS, (correct, answered, "print(" in reply), strict=True))


def extract(task: str, reply: str) -> str:
    """The answer in a reply: a number in plain digits, a letter, LaTeX in MATH's normal form; "" for none."""
    if task == LATEX:
        return _expression(reply)
    triggers = CHOICE.get(task) or FREE[task]
    if any(reply.count(trigger) > 1 for trigger in triggers):  # it answers further questions of its own
        reply = reply.strip("\n").split("\n\n")[0]
    *before, tail = re.split("|".join(triggers), reply)
    tail = tail.rpartition("=")[2].strip()
    found = []
    if task not in FREE or task == "numglue":
        found = re.findall(rf"\b[{OPTIONS}]\b", tail.upper())
    if task in FREE and not found:
        found = [number(text) for text in re.findall(r"-?\d+/?\.?\d*", tail.replace(",", ""))]
    if not found:
        return tail.strip(" .") if task in CHOICE else ""
    return found[0 if before else -1].removesuffix(".").removesuffix("/")


def number(text: str) -> str:
    """A number or a quotient of two as Python prints its value, integers without a point: 3/4 is 0.75."""
    above, bar, below = text.partition("/")
    try:
        value = float(above) / (float(below) if bar else 1)
    except (ValueError, ZeroDivisionError):
        return text
    return str(int(value)) if value.is_integer() else str(value)


def boxed(text: str) -> str:
    r"""What the last `\boxed{...}` holds, in MATH's normal form; "" where there is none that is closed."""
    from lm_eval.tasks.hendrycks_math.utils import last_boxed_only_string, remove_boxed

    box = last_boxed_only_string(text)
    return normal(remove_boxed(box)) if box and box.startswith("\\boxed") else ""


def normal(expression: str) -> str:
    """MATH's normal form; an expression too broken for it stays as it is."""
    from lm_eval.tasks.hendrycks_math.utils import strip_string

    try:
        return strip_string(expression)
    except (IndexError, AssertionError):
        return expression


def same_expression(found: str, right: str) -> bool:
    """Equal in MATH's normal form, or numbers of one value however their thousands are set apart."""
    return found == right or (value := _value(found)) is not None and value == _value(right)


def _expression(reply: str) -> str:
    announced = next((trigger for trigger in TRIGGERS[1:] if trigger in reply), None)
    if announced:
        text = reply.rpartition(announced)[2].removeprefix(":").strip()
    elif "boxed" in reply:
        text = reply
    else:
        text = (re.findall(r"-?\d*\.?\d+", reply) or [""])[-1]
    if "boxed" in text:
        return boxed(text)
    text = text.replace("$", "").removesuffix(".").removesuffix("/")
    if with_unit := re.fullmatch(r"(-?[\d.,]+)\s\D+", text):
        text = with_unit[1]
    return normal(text)


def _value(text: str) -> float | None:
    plain = re.fullmatch(r"-?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?", text)
    return float(text.replace(",", "")) if plain else None
