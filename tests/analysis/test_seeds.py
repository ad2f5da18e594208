"""Spread and the paired test."""

import pytest

from analysis.seeds import FEWEST, LEVEL, mean_and_spread, paired_p, significant_best


def test_spread_is_the_sample_standard_deviation() -> None:
    assert mean_and_spread([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert mean_and_spread([1.0]) == (1.0, None)


def test_paired_p_counts_sign_flips() -> None:
    ours, theirs = {0: 2.0, 1: 4.0, 2: 6.0}, {0: 1.0, 1: 2.0, 2: 3.0}
    assert paired_p(ours, theirs) == 2 / 8  # only all signs as seen, or all turned, reach the sum
    assert paired_p(ours, ours) == 1
    assert paired_p({0: 1.0}, {1: 2.0}) == 1  # no seed in common says nothing


@pytest.mark.parametrize("n", range(2, 8))
def test_nothing_is_best_before_the_test_can_tell(n: int) -> None:
    samples = {"high": {s: 1 + s / 100 for s in range(n)}, "low": {s: s / 50 for s in range(n)}}
    assert significant_best(samples) == ("high" if n >= FEWEST else None)
    assert significant_best(samples, higher=False) == ("low" if n >= FEWEST else None)
    assert (2 / 2**n <= LEVEL) == (n >= FEWEST)


def test_the_best_must_beat_each_of_the_others() -> None:
    high, low = {s: 1.0 for s in range(8)}, {s: 0.0 for s in range(8)}
    near = {s: 1.0 + (0.1 if s % 2 else -0.11) for s in range(8)}
    assert significant_best({"high": high, "near": near, "low": low}) is None
    assert significant_best({"high": high}) is None
