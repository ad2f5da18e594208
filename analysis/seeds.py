"""What several seeds say: mean, spread, and whether the best is better than the rest."""

import itertools
import statistics
from collections.abc import Mapping

LEVEL = 0.05
FEWEST = 6  # common seeds below which no sign-flip test can reach LEVEL: 2 / 2**5 > 0.05 >= 2 / 2**6


def mean_and_spread(values: list[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None for the deviation of fewer than two values."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def paired_p(ours: Mapping[int, float], theirs: Mapping[int, float]) -> float:
    """Two-sided p of the exact sign-flip test on the differences at the seeds both have.

    Under the null hypothesis each difference is as likely to have the other sign
    (Fisher, The Design of Experiments, 1935, section 21): no distribution is assumed.
    """
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    observed = abs(sum(differences)) * (1 - 1e-12)  # sums in another order differ in the last bit
    flips = itertools.product((1, -1), repeat=len(differences))
    totals = [abs(sum(sign * d for sign, d in zip(signs, differences, strict=True))) for signs in flips]
    return sum(total >= observed for total in totals) / len(totals)


def significant_best(samples: Mapping[str, Mapping[int, float]], higher: bool = True) -> str | None:
    """The one whose mean is best and which beats each of the others at LEVEL; None where there is none.

    `samples` maps a method to its value by seed.
    """
    if len(samples) < 2:
        return None
    pick = max if higher else min
    best = pick(samples, key=lambda name: statistics.fmean(samples[name].values()))
    others = [name for name in samples if name != best]
    return best if all(paired_p(samples[best], samples[other]) <= LEVEL for other in others) else None
