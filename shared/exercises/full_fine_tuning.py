"""Exercises of 01-Foundations/Full-Fine-Tuning."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_training_gib(function: Callable[[int, int, float, float, float], float]) -> str:
    """`function(parameters, trained, weight, gradient, state)` -> GiB; the last three in bytes."""
    cases = [
        ((2**30, 2**30, 4, 4, 8), 16.0),
        ((2**30, 2**20, 2, 4, 8), 2 + 12 / 1024),
        ((2**31, 2**30, 0.5, 2, 2), 5.0),
    ]
    return judge(function, cases, tolerance=1e-6)


def check_perplexity_factor(function: Callable[[float, float], float]) -> str:
    """`function(loss_before, loss_after)` -> perplexity after over perplexity before; losses in nats a token."""
    return judge(function, [((1.0, 1.0), 1.0), ((1.0, 1.693147), 2.0), ((2.5, 0.890562), 0.2)], tolerance=1e-5)
