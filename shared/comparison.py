"""Are two models different? Tests for answers of both to the same prompts."""

import math
import random
from collections.abc import Sequence
from statistics import fmean

from shared.errors import CourseError


class ComparisonError(CourseError):
    """Two lists of results that are not of the same prompts."""


def discordant(first_hits: Sequence[bool], second_hits: Sequence[bool]) -> tuple[int, int]:
    """How many prompts only the first model gets right, and how many only the second.

    Raises ComparisonError where the lists are empty, differ in length, or hold anything but True and False.
    """
    if len(first_hits) != len(second_hits) or not len(first_hits):
        raise ComparisonError(
            f"{len(first_hits)} and {len(second_hits)} results: a paired test needs both models' results on the same "
            "prompts, in the same order, and at least one."
        )
    for side, hits in (("first", first_hits), ("second", second_hits)):
        if wrong := [(i, hit) for i, hit in enumerate(hits) if hit not in (0, 1)]:
            place, value = wrong[0]
            raise ComparisonError(
                f"result {place} of the {side} model is {value!r}: McNemar's test takes right or wrong, True or False; "
                "for scores in between use paired_interval."
            )
    pairs = list(zip(first_hits, second_hits, strict=True))
    return sum(bool(a and not b) for a, b in pairs), sum(bool(b and not a) for a, b in pairs)


def mcnemar(first_hits: Sequence[bool], second_hits: Sequence[bool]) -> float:
    """The exact two-sided p value of McNemar's test (1947): could chance alone make the two models differ so much?

    Only prompts on which they disagree count. Were both equally good, each of those would be a toss of a coin; p is the
    chance of a split at least as uneven. 1.0 where they never disagree. Raises ComparisonError as `discordant` does.
    """
    only_first, only_second = discordant(first_hits, second_hits)
    tosses = only_first + only_second
    tail = sum(math.comb(tosses, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**tosses)


def paired_interval(
    first: Sequence[float], second: Sequence[float], resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """(difference of the means, second minus first, and its 95 % bootstrap interval), prompts drawn in pairs.

    Raises ComparisonError where the lists are empty or differ in length.
    """
    if len(first) != len(second) or not len(first):
        raise ComparisonError(
            f"{len(first)} and {len(second)} results: give both models' results on the same prompts, in the same order."
        )
    changes = [float(b) - float(a) for a, b in zip(first, second, strict=True)]
    rng = random.Random(seed)
    drawn = sorted(fmean(rng.choices(changes, k=len(changes))) for _ in range(resamples))
    return fmean(changes), drawn[int(0.025 * resamples)], drawn[int(0.975 * resamples) - 1]
