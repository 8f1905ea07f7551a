"""Exercises of 03-Instruction-Tuning/Evaluating-Assistants."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_wilson_low(function: Callable[[int, int], float]) -> str:
    """`function(hits, n)` -> the lower end of the 95 % interval of a share after Wilson, at 0.0 or above."""
    # (p + z²/2n - z · sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.96: for 10 of 10 it is 1 / (1 + 0.384)
    cases = [((10, 10), 0.7225), ((50, 100), 0.4038), ((93, 100), 0.8625), ((1, 20), 0.008881)]
    return judge(function, cases, tolerance=1e-3)


def check_mcnemar_p(function: Callable[[int, int], float]) -> str:
    """`function(only_first, only_second)` -> the exact two-sided p value of McNemar's test, at most 1."""
    cases = [
        ((0, 5), 2 / 32),  # 2 · 1 / 2⁵
        ((7, 1), 18 / 256),  # 2 · (1 + 8) / 2⁸
        ((2, 8), 112 / 1024),  # 2 · (1 + 10 + 45) / 2¹⁰
        ((3, 3), 1.0),  # 2 · 42 / 64 is more than 1
        ((0, 0), 1.0),
    ]
    return judge(function, cases, tolerance=1e-9)


def check_prompts_needed(function: Callable[[float, float], int]) -> str:
    """`function(first, second)` -> how many prompts for each of two models, unpaired, 5 % two-sided and power 80 %."""
    # (1.96 + 0.84)² (p(1-p) + q(1-q)) / (p-q)², rounded up: 7.849 · (0.21 + 0.1875) / 0.0025 = 1247.9
    cases = [((0.70, 0.75), 1248), ((0.5, 0.6), 385), ((0.9, 0.95), 432), ((0.95, 0.9), 432), ((0.2, 0.6), 20)]
    return judge(function, cases)
