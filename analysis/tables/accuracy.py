"""What the tuned models can do: a column per task, and the loss on held-out answers."""

from analysis.cells import BOLD_RULE, cell_over_seeds, numbers, place, with_bold
from analysis.collect import Outcome, Results
from analysis.published import Published
from analysis.table import Cell, Column, Row, Table

TITLES = {"gsm8k": "GSM8K", "mmlu": "MMLU", "mt_bench": "MT-Bench"}
GRADED = {"mt_bench"}  # scored 1 to 10; the others are shares of right answers
CHECKER = "checker"  # scores by a program on a scale of its own: nothing published stands beside them
SETTINGS = ("metric", "judge", "num_fewshot", "limit", "version")  # scores that differ in one are never mixed
JUDGE = SETTINGS.index("judge")
UNSCORED = Cell(word="not run", notes=("not run: no judge was named, so nothing was scored",))


def table(results: Results) -> Table:
    columns: list[Column] = []
    cells: dict[str, list[Cell]] = {method: [] for method in results.methods}
    places, scored_how = [], []
    for task in results.tasks:
        for setting in settings_of(results, task) or [None]:
            column = Column(_key(columns, task), heading(results, task, setting), quantity(task))
            scored = scores(results, task, setting)
            columns.append(column)
            scored_how += [f"{column.title}: {describe(setting)}."] if setting else []
            places.append(place(results, column.title, scored, higher=True))
            conditions = dict(zip(SETTINGS, setting, strict=True)) if setting else {}
            published = Published(results, "accuracy", task) if conditions.get("judge") != CHECKER else None
            columns += published.columns(column) if published else []
            for method in results.methods:
                beside = published.cells(method, scored[method], conditions) if published else []
                cells[method] += [scored[method], *beside]
    columns.append(Column("validation_loss", "held-out loss", "loss"))
    for method in results.methods:
        runs = {seed: results.train(method, seed) for seed in results.seeds(method)}
        losses = numbers(runs, lambda run: run.get("training", {}).get("validation_loss"))
        cells[method].append(cell_over_seeds(runs, losses, Cell(notes=("nothing was trained",))))
    rows = [
        Row(method, results.title(method), cells[method], tuple(results.notes(method))) for method in cells
    ]
    caption = " ".join(
        [*scored_how, "Held-out loss is the mean over answer tokens of rows kept from training."]
    )
    return Table("accuracy", "Accuracy", caption, columns, rows, [" ".join(places), BOLD_RULE])


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


def _key(columns: list[Column], task: str) -> str:
    """The task's name, numbered where an earlier column has it."""
    earlier = sum(column.key == task or column.key.startswith(f"{task}_way_") for column in columns)
    return f"{task}_way_{earlier + 1}" if earlier else task
