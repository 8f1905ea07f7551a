"""Exercises of 03-Instruction-Tuning/Supervised-Instruction-Tuning."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_loss_mask(function: Callable[[list[tuple[str, int]], bool], list[int]]) -> str:
    """`function(turns, every)` -> 1 for each token that is trained, else 0; turns are (role, number of tokens).

    Trained are all turns of the assistant, or with `every` False its last one alone.
    """
    chat = [("system", 2), ("user", 3), ("assistant", 2), ("user", 1), ("assistant", 3)]
    cases = [
        ((chat, True), [0, 0, 0, 0, 0, 1, 1, 0, 1, 1, 1]),
        ((chat, False), [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]),
        (([("user", 2), ("assistant", 1)], False), [0, 0, 1]),
        (([("assistant", 2), ("user", 2)], False), [1, 1, 0, 0]),
        (([("user", 3)], True), [0, 0, 0]),
    ]
    return judge(function, cases)


def check_rows_needed(function: Callable[[list[int], int], int]) -> str:
    """`function(lengths, room)` -> rows of `room` tokens that best-fit decreasing needs; no document is cut."""
    cases = [
        (([6, 5, 4, 3, 2], 10), 2),
        (([6, 6, 6], 10), 3),
        (([1, 9, 5, 5], 10), 2),
        (([7, 7, 3, 3, 2], 10), 3),
        (([10], 10), 1),
        (([], 10), 0),
    ]
    return judge(function, cases)


def check_noise_bound(function: Callable[[float, int, int], float]) -> str:
    """`function(alpha, tokens, hidden)` -> the largest noise that NEFTune adds to one number of an embedding."""
    return judge(function, [((5.0, 100, 400), 0.025), ((10.0, 4, 256), 0.3125), ((5.0, 1, 1), 5.0)], tolerance=1e-6)
