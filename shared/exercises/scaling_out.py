"""Exercises of 02-PEFT/Scaling-Out."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_steps_of_an_epoch(function: Callable[[int, int, int, int], int]) -> str:
    """`function(examples, per_device, processes, accumulation)` -> optimiser steps, a last incomplete one included."""
    cases = [
        ((800, 4, 2, 1), 100),
        ((800, 1, 2, 4), 100),
        ((801, 4, 2, 1), 101),
        ((100, 4, 2, 4), 4),
        ((3, 4, 2, 1), 1),
    ]
    return judge(function, cases)


def check_loss_of_all(function: Callable[[list[float], list[int]], float]) -> str:
    """`function(means, tokens)` -> the mean loss over all tokens, of each process's mean loss and number of tokens."""
    cases = [(([2.0, 4.0], [10, 10]), 3.0), (([2.0, 4.0], [30, 10]), 2.5), (([1.0, 9.0, 3.0], [6, 0, 2]), 1.5)]
    return judge(function, cases, tolerance=1e-9)


def check_sharded_gib(function: Callable[[int, int, int, int], float]) -> str:
    """`function(parameters, trained, element, gpus)` -> GiB that each GPU holds under FSDP between two steps."""
    cases = [
        ((2**30, 2**30, 2, 1), 6.0),
        ((2**30, 2**30, 2, 4), 1.5),
        ((2**30, 2**20, 4, 2), 2.00390625),
        ((2**30, 0, 2, 8), 0.25),
    ]
    return judge(function, cases, tolerance=1e-9)
