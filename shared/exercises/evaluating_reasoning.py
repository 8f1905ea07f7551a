"""Exercises of 04-Reasoning-Tuning/Evaluating-Reasoning."""

from collections.abc import Callable, Sequence

from shared.exercises.verdict import judge


def check_unbiased_pass(function: Callable[[int, int, int], float]) -> str:
    """`function(n, right, k)` -> the unbiased estimate of pass@k from n samples, `right` of which are right."""
    cases = [
        ((5, 2, 1), 0.4),
        ((5, 2, 2), 0.7),  # of 10 pairs, 3 hold wrong samples alone
        ((10, 1, 4), 0.4),  # the right one is among 4 of 10
        ((4, 3, 2), 1.0),  # there is no pair of wrong ones
        ((200, 100, 1), 0.5),
        ((3, 0, 2), 0.0),
    ]
    return judge(function, cases, tolerance=1e-9)


def check_majority_vote(function: Callable[[Sequence[int | None]], int | None]) -> str:
    """`function(answers)` -> the answer with the most votes; a tie goes to the one seen first, and None is no vote."""
    cases = [
        (([85, 75, 85],), 85),
        (([75, 85, 85, 75, 60],), 75),  # two votes each: 75 came first
        (([None, None, None, 12, 85, 85],), 85),  # what could not be read does not vote
        (([0, 0, 7],), 0),  # zero is an answer
        (([3, 2, 1],), 3),
    ]

    def told(answers: Sequence[int | None]) -> int | str | None:
        found = function(answers)
        # A vote for None is a wrong answer, and not a stub's.
        return "None" if found is None and function([85]) is not None else found

    return judge(told, cases)


def check_paired_problems_needed(function: Callable[[float, float], int]) -> str:
    """`function(disagree, difference)` -> problems for a paired test, 5 % two-sided and power 80 % (Connor 1987)."""
    # ((1.959964 · sqrt(0.2) + 0.841621 · sqrt(0.2 - 0.0025)) / 0.05)² = ((0.87652 + 0.37402) / 0.05)² = 625.5
    cases = [((0.2, 0.05), 626), ((0.1, 0.05), 312), ((0.4, 0.05), 1254), ((0.1, 0.1), 77), ((0.2, 0.02), 3923)]
    return judge(function, cases)
