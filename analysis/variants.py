"""Entries of one method that differ in their parameters: what an ablation compares."""

from statistics import fmean
from typing import NamedTuple

import pandas as pd

from analysis.cells import held_out
from analysis.collect import Results
from analysis.titles import RATE, differing, said

MOST = 3  # entries of one method that are still shown one by one


class Trial(NamedTuple):
    lr: float
    loss: float | None  # held-out, nats; None where no run has one
    beside: str = ""  # what else was tried, such as "gap = 50"
    status: str | None = None  # of the run without a loss, where it is known


def families(results: Results) -> dict[str, pd.DataFrame]:
    """Each method (a file in `baselines/`) with several entries: a frame with a row for each, by its name.

    The columns are the parameters in which the entries differ, the learning rate last, then
    `loss`, the mean held-out loss over seeds, missing where no run has one.
    """
    entries: dict[str, list[str]] = {}
    for method in results.tuned:
        entries.setdefault(results.adapter(method), []).append(method)
    return {name: _frame(results, methods) for name, methods in entries.items() if len(methods) > 1}


def _frame(results: Results, methods: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame.from_dict(differing(results.config, methods), orient="index", dtype=object)
    means = [fmean(found.values()) if (found := held_out(results, m)[1]) else None for m in methods]
    return frame.assign(loss=pd.Series(means, index=methods, dtype=float))


def varied(frame: pd.DataFrame, rate: bool = True) -> list[str]:
    """The parameters in which the entries differ, with or without the learning rate."""
    return [name for name in frame if name != "loss" and (rate or name != RATE)]


def is_numeric(values: pd.Series) -> bool:
    """Whether every value is a number, where there is one."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values.dropna())


def alike(frame: pd.DataFrame, method: str) -> pd.DataFrame:
    """The entries that differ from `method` in the learning rate alone, and itself."""
    others = frame[varied(frame, rate=False)].astype(str)
    return frame[(others == others.loc[method]).all(axis=1)]


def best_rates(frame: pd.DataFrame) -> pd.DataFrame:
    """Of entries that differ in the learning rate alone, the one with the least held-out loss."""
    best = {by_loss(alike(frame, method)).index[0] for method in frame.index}
    return frame.loc[[method for method in frame.index if method in best]]


def by_loss(frame: pd.DataFrame) -> pd.DataFrame:
    """The least loss first, those without one last."""
    return frame.sort_values("loss", kind="stable")


def trials(results: Results) -> dict[str, list[Trial]]:
    """The learning rates tried for each method, rising: the `grid` recorded in the configuration, or
    the entries that differ from the method's best in the learning rate alone."""
    found = {}
    for method in results.tuned:
        grid = results.config["methods"][method].get("grid") or []
        found[method] = [Trial(point["lr"], point["loss"], _beside(point)) for point in grid]
    for frame in families(results).values():
        best = by_loss(frame).index[0]
        if RATE in frame and not found[best]:
            same = alike(frame, best)
            losses = same["loss"].astype(object).where(same["loss"].notna(), None)
            statuses = [None if loss is not None else status(results, m) for m, loss in losses.items()]
            tried = zip(same[RATE], losses, statuses, strict=True)
            found[best] = [Trial(lr, loss, status=word) for lr, loss, word in tried]
    return {method: _rising(tried) for method, tried in found.items() if len(tried) > 1}


def status(results: Results, method: str) -> str:
    """What became of a method's runs, in words: "ok", "not run", "diverged, not run"."""
    return ", ".join(dict.fromkeys(run.status for run in held_out(results, method)[0].values()))


def _beside(point: dict) -> str:
    return ", ".join(said(key, value) for key, value in point.items() if key not in (RATE, "loss"))


def _rising(tried: list[Trial]) -> list[Trial]:
    order = list(dict.fromkeys(trial.beside for trial in tried))
    return sorted(tried, key=lambda trial: (order.index(trial.beside), trial.lr))


def best_line(tried: list[Trial]) -> list[Trial]:
    """Those that differ from the trial with the least loss in the learning rate alone."""
    done = [trial for trial in tried if trial.loss is not None]
    best = min(done, key=lambda trial: trial.loss, default=tried[0])
    return [trial for trial in tried if trial.beside == best.beside]


def shown(results: Results) -> list[str]:
    """The methods that a figure or table of all of them shows: of more than MOST entries of one, the best."""
    hidden: set[str] = set()
    for frame in families(results).values():
        if len(frame) > MOST:
            hidden |= set(frame.index) - {by_loss(frame).index[0]}
    return [method for method in results.methods if method not in hidden]


def hiding(results: Results) -> str:
    """A sentence where `shown` leaves entries out, else nothing."""
    left_out = len(shown(results)) < len(results.methods)
    return f" Of more than {MOST} entries of a method: the one with the least held-out loss." * left_out
