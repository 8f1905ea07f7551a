"""Do two measures put the same answers first? Spearman's rank correlation, with an interval."""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from statistics import StatisticsError, correlation

from shared.errors import CourseError


class CorrelationError(CourseError):
    """Two lists of values of which no rank correlation can be had."""


def ranks(values: Sequence[float]) -> list[float]:
    """The rank of each value, from 1 for the smallest; equal values share the mean of their ranks."""
    ordered = sorted(values)
    return [(bisect_left(ordered, value) + bisect_right(ordered, value) + 1) / 2 for value in values]


def rank_correlation(
    first: Sequence[float], second: Sequence[float], resamples: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """(Spearman's rank correlation (1904), and its 95 % bootstrap interval), the pairs drawn anew.

    1: both put the answers in the same order; 0: the one says nothing of the other. Raises CorrelationError where the
    lists differ in length, hold fewer than three pairs, or one of them holds a single value throughout.
    """
    if len(first) != len(second) or len(first) < 3:
        raise CorrelationError(
            f"{len(first)} and {len(second)} values: give both measures of the same answers, in the same order, and at "
            "least three."
        )
    for side, values in (("first", first), ("second", second)):
        if len(set(values)) == 1:
            raise CorrelationError(
                f"all {len(values)} values of the {side} measure are {values[0]:g}: there is no order to compare; "
                "measure answers that differ."
            )
    pairs, rng, drawn = list(zip(first, second, strict=True)), random.Random(seed), []
    for _ in range(resamples):
        sample = zip(*rng.choices(pairs, k=len(pairs)), strict=True)
        try:
            drawn.append(correlation(*map(ranks, sample)))
        except StatisticsError:  # a draw in which one measure has a single value has no correlation
            continue
    drawn.sort()
    value = correlation(ranks(first), ranks(second))
    if not drawn:
        return value, -1.0, 1.0
    return value, drawn[int(0.025 * len(drawn))], drawn[max(0, int(0.975 * len(drawn)) - 1)]
