"""Exercises of 02-PEFT/When-Training-Goes-Wrong."""

from collections.abc import Callable

from shared.exercises.verdict import SOLVED, UNSOLVED


def check_empty_rows(function: Callable[[list[list[int]]], list[int]]) -> str:
    """`function(labels)` -> indices of the rows that train nothing; a row's first label does not count."""
    cases = (
        ([[-100, -100, 7, 2], [-100, -100, -100, -100]], [1]),
        ([[-100, 5], [5, 6]], []),
        ([[9, -100, -100], [-100, 9, -100]], [0]),  # nothing stands before the first token to predict it from
    )
    for labels, expected in cases:
        found = function([list(row) for row in labels])
        if found is None:
            return UNSOLVED
        if list(found) != expected:
            return f"not right yet: labels {labels} gave {list(found)}"
    return SOLVED


def check_first_difference(function: Callable[[list[int], list[int]], int]) -> str:
    """`function(trained, served)` -> the first position at which the two prompts differ, -1 if they are the same."""
    cases = (
        ([5, 6, 7], [5, 6, 7], -1),
        ([5, 6, 7], [5, 9, 7], 1),
        ([5, 6, 7], [5, 6], 2),
        ([5, 6], [5, 6, 7], 2),
        ([5, 6, 7], [0, 5, 6, 7], 0),  # two beginnings
    )
    for trained, served, expected in cases:
        found = function(list(trained), list(served))
        if found is None:
            return UNSOLVED
        if found != expected:
            return f"not right yet: {trained} in training and {served} in service gave {found}"
    return SOLVED
