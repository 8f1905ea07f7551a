"""Exercises of 01-Foundations/Where-the-Memory-Goes."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_adapter_bytes(function: Callable[[int, int, int, int], int]) -> str:
    """`function(inputs, outputs, rank, element)` -> bytes of an adapter's values, gradients and two averages."""
    return judge(function, [((10, 6, 2, 4), 512), ((4544, 4672, 16, 2), 1_179_648), ((1, 1, 1, 1), 8)])


def check_logits_gib(function: Callable[[int, int, int, int], float]) -> str:
    """`function(rows, length, vocabulary, copies)` -> GiB of so many float32 tensors of logits."""
    cases = [((1, 1024, 65_536, 4), 1.0), ((4, 2048, 65_536, 3), 6.0), ((2, 512, 1024, 1), 1 / 256)]
    return judge(function, cases, tolerance=1e-9)


def check_rows_that_fit(function: Callable[[float, float, float, float], int]) -> str:
    """`function(card, fixed, per_row, overhead)` -> the most rows that fit, 0 where none does."""
    cases = [
        ((24.0, 4.0, 0.75, 1.0), 25),
        ((8.0, 4.0, 2.0, 0.5), 1),
        ((6.0, 4.0, 1.5, 0.5), 1),
        ((6.0, 7.0, 1.0, 0.5), 0),
    ]
    return judge(function, cases)
