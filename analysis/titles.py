"""Entries of the configuration as a reader would name them: by method and by what tells them apart."""

from collections import Counter

RATE = "lr"
NOT_PARAMETERS = {"method", "grid"}
USUAL = 2 / 3  # of a method's entries: a value that more of them share goes unsaid
# In place of "name = value" and "name value"; K and T are the paper's.
WORDS = {
    "chunks": "K = {}",
    "steps_per_chunk": "T = {}",
    "partition": "{}",
    "order": "{}",
    "steps": "{} steps",
    RATE: "lr {}",
}
NAMES = {"chunks": "chunks K", "steps_per_chunk": "steps per chunk T", RATE: "learning rate"}


def named(parameter: str) -> str:
    """A parameter's name over a column or beside an axis."""
    return NAMES.get(parameter, parameter.replace("_", " "))


def said(parameter: str, value: object) -> str:
    """A parameter and its value, such as "K = 4", "state reset" or "not layerwise"."""
    name = parameter.replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"not {name}"
    number = isinstance(value, int | float)
    return WORDS.get(parameter, f"{name} = {{}}" if number else f"{name} {{}}").format(
        f"{value:g}" if number else value
    )


def differing(config: dict, methods: list[str]) -> dict[str, dict]:
    """By method, the parameters in which `methods` differ, the learning rate last; None where it has none."""
    common = {"steps": config["train"].get("steps")}
    entries = {method: common | config["methods"][method] for method in methods}
    names = dict.fromkeys(name for entry in entries.values() for name in entry)
    varied = [
        name
        for name in names
        if name not in NOT_PARAMETERS and len({str(entry.get(name)) for entry in entries.values()}) > 1
    ]
    varied.sort(key=lambda name: name == RATE)
    return {method: {name: entry.get(name) for name in varied} for method, entry in entries.items()}


def titles(config: dict, methods: list[str], family: str, rate: bool) -> dict[str, str]:
    """`family` and in parentheses what tells each of its `methods` apart, the learning rate only if need be
    and never without `rate`."""
    entries = differing(config, methods)
    found = {method: _title(family, entries, method, rate=False) for method in methods}
    alike = Counter(found.values())
    return {
        method: _title(family, entries, method, rate and alike[title] > 1) for method, title in found.items()
    }


def _title(family: str, entries: dict[str, dict], method: str, rate: bool) -> str:
    words = []
    for name, value in entries[method].items():
        sharing = sum(str(entry[name]) == str(value) for entry in entries.values())
        if value is not None and (rate if name == RATE else sharing <= USUAL * len(entries)):
            words.append(said(name, value))
    return f"{family} ({', '.join(words)})" if words else family
