"""Exercises of 02-PEFT/Fast-and-Lean-Falcon."""

from collections.abc import Callable

from shared.exercises.verdict import SOLVED, UNSOLVED


def check_flops_per_token(function: Callable[[float, float], float]) -> str:
    """`function(parameters, recomputed)` -> FLOPs a token of training with frozen weights, attention left out.

    `recomputed` is the share of the forward products that backward runs again.
    """
    for parameters, recomputed, expected in ((1e9, 0.0, 4e9), (1e9, 1.0, 6e9), (6.6e9, 0.5, 33e9)):
        found = function(parameters, recomputed)
        if found is None:
            return UNSOLVED
        if abs(found - expected) > 1e-6 * expected:
            return f"not right yet: {parameters:.1e} parameters, {recomputed:.0%} recomputed gave {found:.3e}"
    return SOLVED


def check_kept_gib(function: Callable[[int, int, int], float]) -> str:
    """`function(layers, tokens, hidden)` -> GiB that recomputing layers keep, one bfloat16 input each."""
    for layers, tokens, hidden, expected in ((1, 2**20, 512, 1.0), (32, 8192, 4544, 2.21875), (2, 2**19, 512, 1.0)):
        found = function(layers, tokens, hidden)
        if found is None:
            return UNSOLVED
        if abs(found - expected) > 1e-6:
            return f"not right yet: {layers} layers, {tokens} tokens of size {hidden} gave {found:.5f} GiB"
    return SOLVED
