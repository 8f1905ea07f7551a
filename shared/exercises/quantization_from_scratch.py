"""Exercises of 01-Foundations/Quantization-from-Scratch."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_bits_per_weight(function: Callable[[int, int, int], float]) -> str:
    """`function(code_bits, scale_bits, block)` -> bits a weight, the scales included."""
    return judge(function, [((4, 32, 64), 4.5), ((8, 16, 128), 8.125), ((4, 8, 64), 4.125)], tolerance=1e-9)


def check_block_codes(function: Callable[[list[float], list[float]], list[int]]) -> str:
    """`function(values, levels)` -> of each value the number of the level nearest to value / largest absolute value."""
    even, uneven = [-1.0, -0.5, 0.0, 0.5, 1.0], [-1.0, -0.2, 0.0, 0.1, 1.0]
    return judge(
        function,
        [
            (([0.12, -0.4, 0.2, 0.0], even), [3, 0, 3, 2]),  # scaled: 0.3, -1, 0.5, 0
            (([2.0, -1.0, 0.3, 8.0], uneven), [3, 1, 2, 4]),  # scaled: 0.25, -0.125, 0.0375, 1
            (([0.0, 0.0], even), [2, 2]),
        ],
    )


def check_pack_codes(function: Callable[[list[int]], list[int]]) -> str:
    """`function(codes)` -> bytes, two 4-bit codes in each, the first in the upper half."""
    return judge(function, [(([1, 2, 15, 0],), [0x12, 0xF0]), (([7, 9, 5],), [0x79, 0x50]), (([],), [])])
