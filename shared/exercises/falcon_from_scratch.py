"""Exercises of 01-Foundations/Falcon-from-Scratch."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_cache_bytes(function: Callable[[int, int, int, int, int], int]) -> str:
    """`function(layers, key_heads, head_size, tokens, number_bytes)` -> bytes of the cached keys and values."""
    return judge(
        function,
        (
            ((1, 1, 1, 1, 1), 2),
            ((5, 1, 64, 10, 4), 25_600),  # falcon-tiny in float32
            ((32, 1, 64, 2048, 2), 16_777_216),  # Falcon-7B in 16 bit
            ((32, 71, 64, 2048, 2), 1_191_182_336),
        ),
    )


def check_neighbours_to_halves(function: Callable[[int], list[int]]) -> str:
    """`function(head_size)` -> the rows of a head with neighbours as pairs, in the order of a head with halves as pairs."""
    return judge(
        function,
        (
            ((2,), [0, 1]),
            ((4,), [0, 2, 1, 3]),
            ((8,), [0, 2, 4, 6, 1, 3, 5, 7]),  # its inverse is another list
            ((64,), [*range(0, 64, 2), *range(1, 64, 2)]),
        ),
    )


def check_positions_of(function: Callable[[list[list[int]]], list[list[int]]]) -> str:
    """`function(mask)` -> positions of the tokens in rows padded on the left, 0 in the padding."""
    return judge(
        function,
        (
            (([[1, 1, 1]],), [[0, 1, 2]]),
            (([[0, 0, 1, 1], [1, 1, 1, 1]],), [[0, 0, 0, 1], [0, 1, 2, 3]]),
            (([[0, 0, 0]],), [[0, 0, 0]]),
        ),
    )
