"""Exercises of 01-Foundations/Pretraining-a-Tiny-Falcon."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_training_days(function: Callable[[float, float, int, float, float], float]) -> str:
    """`function(parameters, tokens, gpus, flops, used)` -> days of training at 6 operations a parameter and token."""
    return judge(
        function,
        (
            ((1e6, 86_400e6, 1, 6e12, 1.0), 1.0),
            ((1e6, 86_400e6, 1, 6e12, 0.5), 2.0),
            ((1e6, 86_400e6, 4, 6e12, 0.5), 0.5),
            ((6_921_720_704, 1.5e12, 1, 312e12, 0.4), 5777.536),
        ),
        tolerance=1e-4,
    )


def check_bits_per_byte(function: Callable[[float, int, int], float]) -> str:
    """`function(loss, tokens, size)` -> bits for a byte of text, from a loss in nats a token."""
    return judge(
        function,
        (((0.6931472, 10, 10), 1.0), ((0.6931472, 10, 40), 0.25), ((7.336937, 100, 250), 4.233985)),
        tolerance=1e-4,
    )


def check_document_numbers(function: Callable[[list[int], int], list[int]]) -> str:
    """`function(row, end)` -> the number of each token's document; an end token belongs to the one it closes."""
    return judge(
        function,
        (
            (([5, 6, 0, 7, 0, 8], 0), [0, 0, 0, 1, 1, 2]),
            (([5, 6], 0), [0, 0]),
            (([0, 5, 0, 0, 6], 0), [0, 1, 1, 2, 3]),
            (([9, 0, 9, 9], 9), [0, 1, 1, 2]),
        ),
    )
