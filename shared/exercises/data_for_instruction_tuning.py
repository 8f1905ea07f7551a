"""Exercises of 03-Instruction-Tuning/Data-for-Instruction-Tuning."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_jaccard(function: Callable[[set, set], float]) -> str:
    """`function(first, second)` -> the Jaccard similarity; 0 for two empty sets."""
    cases = (
        (({1, 2, 3}, {2, 3, 4}), 0.5),
        (({1, 2}, {1, 2}), 1.0),
        (({1}, {2}), 0.0),
        (({1, 2, 3, 4}, {1}), 0.25),
        ((set(), {1}), 0.0),
        ((set(), set()), 0.0),
    )
    return judge(function, cases, tolerance=1e-6)


def check_pack(function: Callable[[list[tuple[list[int], int]]], tuple[list[int], list[int], list[int]]]) -> str:
    """`function(examples)` -> ids, labels and positions of a row that holds them one after the other."""
    return judge(
        function,
        (
            (([([5, 6, 7], 2)],), ([5, 6, 7], [-100, -100, 7], [0, 1, 2])),
            (
                ([([5, 6, 7], 1), ([8, 9], 1)],),
                ([5, 6, 7, 8, 9], [-100, 6, 7, -100, 9], [0, 1, 2, 0, 1]),
            ),
            (([([5, 6], 0), ([7, 8], 0)],), ([5, 6, 7, 8], [-100, 6, -100, 8], [0, 1, 0, 1])),
        ),
    )


def check_groups(function: Callable[[int, list[tuple[int, int]]], list[int]]) -> str:
    """`function(count, pairs)` -> for each record the smallest number in its group of near-duplicates."""
    return judge(
        function,
        (
            ((3, []), [0, 1, 2]),
            ((4, [(1, 3)]), [0, 1, 2, 1]),
            ((4, [(0, 1), (1, 2)]), [0, 0, 0, 3]),
            ((5, [(3, 4), (2, 3), (2, 0)]), [0, 1, 0, 0, 0]),  # in any order
            ((6, [(4, 5), (0, 1), (1, 4)]), [0, 0, 2, 3, 0, 0]),  # two groups become one
        ),
    )
