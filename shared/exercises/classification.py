"""Exercises of 03-Instruction-Tuning/Classification."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_f1_of_class(function: Callable[[list[str], list[str], str], float]) -> str:
    """`function(truth, answers, label)` -> F1 of `label`; 0.0 where it is neither true nor answered."""
    truth = ["damage", "damage", "damage", "return", "return", "account"]
    answers = ["damage", "damage", "return", "return", "none", "damage"]
    cases = [
        ((truth, answers, "damage"), 2 / 3),  # precision 2/3, recall 2/3
        ((truth, answers, "return"), 0.5),  # precision 1/2, recall 1/2
        ((["a", "a", "a", "b"], ["a", "b", "b", "b"], "a"), 0.5),  # precision 1, recall 1/3
        ((truth, answers, "account"), 0.0),
        ((truth, answers, "payment"), 0.0),
        ((truth, truth, "damage"), 1.0),
    ]
    return judge(function, cases, tolerance=1e-9)


def check_expected_calibration_error(function: Callable[[list[float], list[bool], int], float]) -> str:
    """`function(confidence, hits, bins)` -> ECE of bins of equal width; a confidence of 1 belongs to the last."""
    cases = [
        (([0.95, 0.95, 0.55, 0.55], [True, False, True, True], 10), 0.45),
        (([0.95, 0.95, 0.95, 0.55], [True, True, True, False], 10), (3 * 0.05 + 0.55) / 4),
        (([1.0, 1.0], [True, False], 5), 0.5),
        (([0.2, 0.3, 0.9], [False, False, True], 2), (2 * 0.25 + 0.1) / 3),
    ]
    return judge(function, cases, tolerance=1e-9)


def check_last_positions(function: Callable[[list[list[int]], int], list[int]]) -> str:
    """`function(rows, pad)` -> of each row the position of its last token that is not `pad`; padded left or right."""
    cases = [
        (([[5, 6, 7], [5, 0, 0]], 0), [2, 0]),
        (([[0, 0, 5, 6], [0, 5, 6, 7]], 0), [3, 3]),
        (([[5, 1, 6, 1, 1]], 1), [2]),  # the same token in the text, too
        (([[9, 8, 2, 2, 2], [9, 9, 9, 9, 9]], 2), [1, 4]),
    ]
    return judge(function, cases)
