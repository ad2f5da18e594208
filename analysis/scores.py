"""Scores of the tuned models: over seeds, by task, never mixed with scores made another way."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from analysis.cells import BOLD_RULE, cell_over_seeds, held_out, numbers, place, with_bold
from analysis.collect import Outcome, Results
from analysis.published import Published
from analysis.table import Cell, Column, Row, Table
from analysis.variants import hiding, shown

# Tasks with a table of their own, in its order; GSM8K also stands beside MMLU, where the paper has it.
GROUPS = {
    "math": ("gsm8k", "aqua", "mmlu_math", "sat_math", "math", "numglue"),
    "superglue": ("boolq", "copa", "wsc", "rte", "multirc", "wic", "cb", "record"),
    "glue": ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli"),
}
TITLES = {
    "gsm8k": "GSM8K",
    "gsm8k_cot": "GSM8K, chain of thought",
    "mmlu": "MMLU",
    "mt_bench": "MT-Bench",
    "aqua": "AQuA",
    "mmlu_math": "MMLU-Math",
    "sat_math": "SAT-Math",
    "math": "MATH",
    "numglue": "NumGLUE",
    "boolq": "BoolQ",
    "copa": "COPA",
    "wsc": "WSC",
    "rte": "RTE",
    "multirc": "MultiRC",
    "wic": "WiC",
    "cb": "CB",
    "record": "ReCoRD",
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "stsb": "STS-B",
    "qqp": "QQP",
    "mnli": "MNLI",
    "qnli": "QNLI",
}
GRADED = {"mt_bench"}  # scored 1 to 10; the others are shares of right answers
CHECKER = "checker"  # scores by a program on a scale of its own: nothing published stands beside them
SETTINGS = ("metric", "judge", "num_fewshot", "limit", "version")  # scores that differ in one are never mixed
JUDGE = SETTINGS.index("judge")
UNSCORED = Cell(word="not run", notes=("not run: no judge was named, so nothing was scored",))


def in_group(results: Results, group: str) -> list[str]:
    """The group's tasks in this experiment; none where it has only GSM8K of them."""
    tasks = [task for task in GROUPS[group] if task in results.tasks]
    return tasks if set(tasks) - {"gsm8k"} else []


def ungrouped(results: Results) -> list[str]:
    grouped = {task for tasks in GROUPS.values() for task in tasks} - {"gsm8k"}
    return [task for task in results.tasks if task not in grouped]


@dataclass(frozen=True)
class Scored:
    """A column of scores, by method."""

    column: Column
    cells: dict[str, Cell]
    conditions: dict | None = None  # our numbers were made under; None: nothing published stands beside them
    published: str = ""  # the column's name in published.yaml
    higher: bool = True  # is better
    how: str = ""  # a sentence for the caption


def score_table(results: Results, name: str, title: str, scored: list[Scored]) -> Table:
    """The columns of `scored`, each with its published numbers beside it."""
    columns: list[Column] = []
    cells: dict[str, list[Cell]] = {method: [] for method in shown(results)}
    for one in scored:
        beside = Published(results, name, one.published) if one.conditions is not None else None
        columns += [one.column, *(beside.columns(one.column) if beside else [])]
        for method in cells:
            cell = one.cells[method]
            cells[method] += [cell, *(beside.cells(method, cell, one.conditions) if beside else [])]
    rows = [
        Row(method, results.title(method), cells[method], tuple(results.notes(method))) for method in cells
    ]
    caption = " ".join(one.how for one in scored if one.how) + hiding(results)
    seen = [{method: one.cells[method] for method in cells} for one in scored]
    places = (place(results, o.column.title, c, o.higher) for o, c in zip(scored, seen, strict=True))
    return Table(name, title, caption, columns, rows, [" ".join(places), BOLD_RULE])


def group_table(results: Results, group: str, title: str) -> Table | None:
    """A table of one group's tasks and their average; None where the experiment has none of them."""
    scored = list(task_columns(results, in_group(results, group)))
    average = average_column(results, group)
    return score_table(results, group, title, scored + [average] * (average is not None)) if scored else None


def task_columns(results: Results, tasks: list[str]) -> Iterator[Scored]:
    """A column per task and way of scoring."""
    for task in tasks:
        for number, setting in enumerate(settings_of(results, task) or [None], start=1):
            key = task if number == 1 else f"{task}_way_{number}"
            column = Column(key, heading(results, task, setting), quantity(task))
            conditions = dict(zip(SETTINGS, setting, strict=True)) if setting else {}
            comparable = conditions.get("judge") != CHECKER
            yield Scored(
                column,
                scores(results, task, setting),
                conditions if comparable else None,
                task,
                how=f"{column.title}: {describe(setting)}." if setting else "",
            )


def average_column(results: Results, group: str) -> Scored | None:
    """The mean over a group's tasks, by seed; None for a single task, or where one was scored in two ways."""
    tasks = in_group(results, group)
    ways = [settings_of(results, task) for task in tasks]
    if len(tasks) < 2 or any(len(way) > 1 for way in ways):
        return None
    cells, samples = {}, {}
    for method in results.methods:
        runs = {seed: [results.evaluation(method, seed, t) for t in tasks] for seed in results.seeds(method)}
        every = {seed: [score_of(outcome) for outcome in outcomes] for seed, outcomes in runs.items()}
        samples[method] = {seed: fmean(found) for seed, found in every.items() if None not in found}
        # a seed without all of its scores says what became of the first that is missing
        outcomes = {seed: min(found, key=lambda o: score_of(o) is not None) for seed, found in runs.items()}
        cells[method] = cell_over_seeds(outcomes, samples[method], UNSCORED)
    conditions = dict(zip(SETTINGS, ways[0][0], strict=True)) if ways[0] else {}
    return Scored(
        Column("average", "average", quantity(tasks[0])),
        with_bold(results, cells, samples, higher=True),
        conditions | {"tasks": len(tasks)},
        "average",
        how=f"Average: the mean over the {len(tasks)} tasks.",
    )


def held_out_column(results: Results) -> Scored:
    """The loss on rows kept from training."""
    cells, samples = {}, {}
    for method in results.methods:
        runs, samples[method] = held_out(results, method)
        cells[method] = cell_over_seeds(runs, samples[method], Cell(notes=("nothing was trained",)))
    return Scored(
        Column("validation_loss", "held-out loss", "loss"),
        with_bold(results, cells, samples, higher=False),
        higher=False,
        how="Held-out loss is the mean over answer tokens of rows kept from training.",
    )


def quantity(task: str) -> str:
    return "score" if task in GRADED else "fraction"


def settings_of(results: Results, task: str) -> list[tuple]:
    """How the task was scored: one tuple of SETTINGS for each way present, in order of first appearance."""
    ways = {}
    for method in results.methods:
        for seed in results.seeds(method):
            outcome = results.evaluation(method, seed, task)
            if score_of(outcome) is not None:
                ways[setting_of(outcome)] = None
    return list(ways)


def scores(results: Results, task: str, setting: tuple | None) -> dict[str, Cell]:
    """Each method's score over seeds, from the evaluations that were scored as `setting` says."""
    cells, samples = {}, {}
    for method in results.methods:
        outcomes = {seed: results.evaluation(method, seed, task) for seed in results.seeds(method)}
        for seed, outcome in outcomes.items():
            if score_of(outcome) is not None and setting_of(outcome) != setting:
                why = f"scored otherwise: {describe(setting_of(outcome))}"
                outcomes[seed] = Outcome("not run", why)
        samples[method] = numbers(outcomes, lambda file: file["evaluation"]["score"])
        cells[method] = cell_over_seeds(outcomes, samples[method], UNSCORED)
    return with_bold(results, cells, samples, higher=True)


def score_of(outcome: Outcome) -> float | None:
    return outcome.content["evaluation"]["score"] if outcome.status == "ok" and outcome.content else None


def setting_of(outcome: Outcome) -> tuple:
    return tuple(outcome.content["evaluation"].get(key) for key in SETTINGS)


def heading(results: Results, task: str, setting: tuple | None) -> str:
    """The task's title, with its judge where it has one, and with what tells several ways apart."""
    title = TITLES.get(task, task)
    if setting is None:
        return title
    judge = setting[JUDGE]
    if judge is not None:
        title += " (checker)" if judge == CHECKER else f" (judge {judge})"
    others = [way for way in settings_of(results, task) if way != setting and way[JUDGE] == judge]
    told = [i for i in range(len(SETTINGS)) if any(way[i] != setting[i] for way in others)]
    return title + "".join(f", {named(SETTINGS[i], setting[i])}" for i in told)


def describe(setting: tuple) -> str:
    return ", ".join(
        named(key, value) for key, value in zip(SETTINGS, setting, strict=True) if value is not None
    )


def named(setting: str, value: object) -> str:
    words = {
        "judge": "judged by {}",
        "num_fewshot": "{}-shot",
        "limit": "the first {} questions of each set",
        "version": "task version {}",
    }
    return words.get(setting, "{}").format(value)
