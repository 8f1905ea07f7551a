"""Exercises of 02-PEFT/PEFT-Methods-Compared."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_prefix_parameters(function: Callable[[int, int, int, int, int], int]) -> str:
    """`function(virtual, layers, hidden, heads, key_heads)` -> trainable parameters of prefix tuning."""
    cases = (((1, 1, 8, 4, 4), 16), ((20, 5, 256, 4, 1), 12_800), ((20, 30, 576, 9, 3), 230_400))
    return judge(function, cases)


def check_bottleneck_parameters(function: Callable[[int, int, int], int]) -> str:
    """`function(hidden, size, layers)` -> trainable parameters of bottleneck adapters, biases included."""
    return judge(function, (((4, 2, 1), 22), ((4, 2, 3), 66), ((576, 64, 30), 2_231_040)))


def check_worth_a_look(function: Callable[[dict[str, tuple[float, float]]], list[str]]) -> str:
    """`function({name: (cost, quality)})` -> the sorted names that no other method beats."""
    cases = (
        (({"a": (1.0, 0.5), "b": (2.0, 0.9), "c": (3.0, 0.8)},), ["a", "b"]),
        (({"a": (1.0, 0.5), "b": (1.0, 0.6), "c": (0.5, 0.6)},), ["c"]),
        (({"b": (2.0, 0.7), "a": (2.0, 0.7), "d": (4.0, 0.9)},), ["a", "b", "d"]),  # equals do not beat each other
    )
    return judge(function, cases)
