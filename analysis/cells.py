"""Results become cells: numbers over seeds, words where there are none, and who is ahead."""

from collections.abc import Callable
from dataclasses import replace

from analysis.collect import UNTUNED, Outcome, Results
from analysis.seeds import FEWEST, mean_and_spread, significant_best
from analysis.table import Cell

SUBJECT = "chunkft"  # the method the suite is about: the tables say its place, first or last
BOLD_RULE = (
    "± is the standard deviation over (n) seeds. Bold: ahead of every other tuned method by a paired "
    f"sign-flip test at 5 %, which takes at least {FEWEST} seeds."
)


def cell_of(outcome: Outcome, section: str, key: str, why_null: str) -> Cell:
    """The number `section.key` of one file; `why_null` is the footnote where the file has null."""
    if outcome.status != "ok" or outcome.content is None:
        return _word(outcome)
    value = outcome.content[section][key]
    return Cell(mean=value) if value is not None else Cell(notes=(why_null,))


def _word(outcome: Outcome) -> Cell:
    """A status as a word, with its reason as a footnote."""
    return Cell(word=outcome.status, notes=(f"{outcome.status}: {outcome.reason}",) if outcome.reason else ())


def cell_over_seeds(outcomes: dict[int, Outcome], value: Callable[[dict], float | None], why_null: str) -> Cell:
    """Mean and spread over the seeds that finished; the others are named in footnotes, never averaged in."""
    values, failed = [], {}
    for seed, outcome in outcomes.items():
        if outcome.status != "ok" or outcome.content is None:
            failed[seed] = outcome
        elif (number := value(outcome.content)) is not None:
            values.append(number)
        else:
            failed[seed] = Outcome("not run", why_null)
    if not values:
        words = [_word(outcome) for outcome in failed.values()]
        notes = dict.fromkeys(note for word in words for note in word.notes)
        return Cell(word=", ".join(dict.fromkeys(str(word.word) for word in words)), notes=tuple(notes))
    mean, spread = mean_and_spread(values)
    notes = tuple(f"seed {seed}: {o.status}" + (f" ({o.reason})" if o.reason else "") for seed, o in failed.items())
    return Cell(mean, spread, len(values), notes=notes)


def with_bold(cells: dict[str, Cell], samples: dict[str, dict[int, float]], higher: bool) -> dict[str, Cell]:
    """`cells` by method with the best in bold, where a paired test over seeds says it is the best."""
    best = significant_best({m: s for m, s in samples.items() if s and m != UNTUNED}, higher)
    return {method: replace(cell, bold=method == best) for method, cell in cells.items()}


def place(results: Results, what: str, cells: dict[str, Cell], higher: bool) -> list[str]:
    """One sentence per ChunkFT entry: its place by `what` among the tuned methods that have a number."""
    ranked = {m: c.mean for m, c in cells.items() if c.mean is not None and m != UNTUNED}
    sentences = []
    for method in results.tuned:
        if results.adapter(method) != SUBJECT:
            continue
        title = results.title(method)
        if method not in ranked:
            sentences.append(f"{title} has no place by {what}: {cells[method].word or 'no number'}.")
            continue
        ahead = [m for m, v in ranked.items() if (v > ranked[method] if higher else v < ranked[method])]
        ahead.sort(key=lambda m: ranked[m], reverse=higher)
        level = [results.title(m) for m, v in ranked.items() if v == ranked[method] and m != method]
        sentence = f"{title} is number {len(ahead) + 1} of {len(ranked)} by {what}"
        sentence += f", behind {', '.join(map(results.title, ahead))}" if ahead else ""
        sentence += f", level with {', '.join(level)}" if level else ""
        sentences.append(sentence + ".")
    return sentences


def conditions(results: Results) -> str:
    """What was measured, in one sentence; where methods were measured differently, each way is named."""
    ways: dict[str, list[str]] = {}
    for method in results.tuned:
        content = results.measure(method).content
        if content and content["status"] == "ok":
            batch = (f"{key.replace('_', ' ')} {_plain(value)}" for key, value in content["batch"].items())
            way = f"{content['memory']['device'].upper()}, {', '.join(batch)}"
            ways.setdefault(way, []).append(results.title(method))
    if len(ways) <= 1:
        return f"Measured on {next(iter(ways))}." if ways else "Nothing was measured."
    return "Measured on " + "; ".join(f"{way} ({', '.join(titles)})" for way, titles in ways.items()) + "."


def _plain(value: object) -> str:
    if value is None:
        return "not stated"
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
