"""Results become cells: numbers over seeds, words where there are none, and who is ahead."""

from collections.abc import Callable
from dataclasses import replace

from analysis.collect import Outcome, Results
from analysis.seeds import FEWEST, mean_and_spread, significant_best
from analysis.table import Cell

PARTS = ("weights", "gradients", "optimizer", "activations")  # of the memory at the peak
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


def numbers(outcomes: dict[int, Outcome], value: Callable[[dict], float | None]) -> dict[int, float]:
    """`value` of each file that finished, by seed; seeds without one are left out."""
    done = {seed: outcome.content for seed, outcome in outcomes.items() if outcome.status == "ok"}
    found = {seed: value(content) for seed, content in done.items() if content is not None}
    return {seed: number for seed, number in found.items() if number is not None}


def held_out(results: Results, method: str) -> tuple[dict[int, Outcome], dict[int, float]]:
    """A method's training runs by seed, and the loss on held-out rows of those that have one."""
    runs = {seed: results.train(method, seed) for seed in results.seeds(method)}
    return runs, numbers(runs, lambda run: run.get("training", {}).get("validation_loss"))


def cell_over_seeds(outcomes: dict[int, Outcome], found: dict[int, float], absent: Cell) -> Cell:
    """Mean and spread of the `numbers` found; seeds without one are named in footnotes, never averaged in.

    `absent` stands for a file that finished and holds no such number.
    """
    others = {s: absent if o.status == "ok" else _word(o) for s, o in outcomes.items() if s not in found}
    if not found:
        words = dict.fromkeys(cell.word for cell in others.values() if cell.word)
        notes = dict.fromkeys(note for cell in others.values() for note in cell.notes)
        return Cell(word=", ".join(words) or None, notes=tuple(notes))
    mean, spread = mean_and_spread(list(found.values()))
    notes = tuple(f"seed {seed}: {', '.join(cell.notes) or cell.word}" for seed, cell in others.items())
    return Cell(mean, spread, len(found), notes=notes)


def with_bold(
    results: Results, cells: dict[str, Cell], samples: dict[str, dict[int, float]], higher: bool
) -> dict[str, Cell]:
    """`cells` by method with the best in bold, where a paired test over seeds says it is the best."""
    best = significant_best(
        {method: samples[method] for method in results.tuned if samples.get(method)}, higher
    )
    return {method: replace(cell, bold=method == best) for method, cell in cells.items()}


def place(results: Results, what: str, cells: dict[str, Cell], higher: bool) -> str:
    """A sentence on ChunkFT: the place of its best entry by `what` among the tuned methods with a number."""
    among = [method for method in results.tuned if method in cells]
    ours = [method for method in among if results.adapter(method) == SUBJECT]
    if not ours:
        return f"ChunkFT is not among the methods, so it has no place by {what}."
    ranked = {m: mean for m in among if (mean := cells[m].mean) is not None}
    numbered = [method for method in ours if method in ranked]
    if not numbered:
        words = listed(list(dict.fromkeys(cells[method].word or "no number" for method in ours)))
        return f"{results.title(ours[0])} has no place by {what}: {words}."
    best = (max if higher else min)(numbered, key=lambda m: ranked[m])
    rivals = {m: mean for m, mean in ranked.items() if m not in ours}
    ahead = [m for m, v in rivals.items() if (v > ranked[best] if higher else v < ranked[best])]
    ahead.sort(key=lambda m: ranked[m], reverse=higher)
    level = [results.title(m) for m, v in rivals.items() if v == ranked[best]]
    title = results.title(best)
    subject = title if len(numbered) == 1 else f"{title}, the best of {len(numbered)} settings,"
    if not rivals:
        return f"No other method has a number for {what} to set beside {title}."
    sentence = f"{subject} is number {len(ahead) + 1} of {len(rivals) + 1} by {what}"
    sentence += f", behind {listed([results.title(m) for m in ahead])}" if ahead else ""
    return sentence + (f", level with {listed(level)}." if level else ".")


def listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


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
