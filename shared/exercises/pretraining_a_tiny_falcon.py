"""Exercises of 01-Foundations/Pretraining-a-Tiny-Falcon."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_bits_per_byte(function: Callable[[float, int, int], float]) -> str:
    """`function(loss, tokens, size)` -> bits per byte of a text of `size` bytes; `loss` is the mean in nats per token."""
    ln_2 = 0.6931471805599453
    cases = (((ln_2, 8, 8), 1.0), ((8 * ln_2, 1, 4), 2.0), ((2.0, 300, 1000), 0.8656170245333781))
    return judge(function, cases, tolerance=1e-6)


def check_document_numbers(function: Callable[[list[int], int], list[int]]) -> str:
    """`function(row, end)` -> the number of its document for each token; `end` belongs to the document it closes."""
    return judge(
        function,
        (
            (([5, 6, 0, 7, 0, 8], 0), [0, 0, 0, 1, 1, 2]),
            (([5, 6, 7], 0), [0, 0, 0]),
            (([0, 0, 5], 0), [0, 1, 2]),  # a document may be empty
            (([3, 1, 2, 1], 1), [0, 0, 1, 1]),
        ),
    )


def check_training_days(function: Callable[[float, float, int, float, float], float]) -> str:
    """`function(parameters, tokens, gpus, flops, used)` -> days of training."""
    return judge(
        function,
        (
            ((1e9, 86.4e12, 1, 6e18, 1.0), 1.0),  # 6 x 86,400 x 1e18 operations
            ((6_921_720_704, 1.5e12, 384, 312e12, 0.4), 15.045),  # 6.23e22 operations
        ),
        tolerance=1e-3,
    )
