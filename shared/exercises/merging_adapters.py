"""Exercises of 02-PEFT/Merging-Adapters."""

from collections.abc import Callable

import torch

from shared.exercises.verdict import SOLVED, UNSOLVED, judge


def check_disk_bytes(function: Callable[[int, int, int, bool], int]) -> str:
    """`function(base, adapter, tasks, merged)` -> bytes on disk of all tasks, merged or with the adapters kept apart."""
    cases = [
        ((1000, 10, 1, True), 1000),
        ((1000, 10, 1, False), 1010),
        ((1000, 10, 7, True), 7000),
        ((1000, 10, 7, False), 1070),
    ]
    return judge(function, cases)


def check_surviving(function: Callable[[list[float], list[float], list[float]], int]) -> str:
    """`function(weights, updates, levels)` -> how many updates move their weight to another level, after rounding."""
    levels = [-1.0, -0.5, 0.0, 0.25, 1.0]
    cases = [
        (([0.0, 0.25, 1.0], [0.0, 0.0, 0.0], levels), 0),
        (([0.0, 0.0, 0.0], [0.1, 0.15, -0.3], levels), 2),  # to 0.25 it takes 0.125, to -0.5 it takes 0.25
        (([1.0, 1.0, 0.25, -0.5], [0.3, -0.3, 0.3, -0.2], levels), 0),
        (([1.0, -1.0], [-0.5, 2.1], levels), 2),
    ]
    return judge(function, cases)


def check_merge_dora(function: Callable[..., torch.Tensor]) -> str:
    """`function(weight, A, B, magnitude, scaling)` -> the merged weight (outputs, inputs) of a DoRA layer.

    A (rank, inputs), B (outputs, rank), magnitude (outputs): the length that each row shall have.
    """
    generator = torch.Generator().manual_seed(0)
    for outputs, inputs, scaling in ((6, 6, 1.0), (5, 7, 2.0)):
        weight = torch.randn(outputs, inputs, generator=generator)
        a, b = torch.randn(2, inputs, generator=generator), torch.randn(outputs, 2, generator=generator)
        magnitude = torch.rand(outputs, generator=generator) + 0.5
        try:
            merged = function(weight.clone(), a, b, magnitude, scaling)
            if merged is None:
                return UNSOLVED
            lengths = (merged.norm(dim=1) - magnitude).abs().max().item()
            direction = torch.nn.functional.cosine_similarity(merged, weight + scaling * b @ a, dim=1).min().item()
        except (RuntimeError, AttributeError, TypeError, IndexError) as error:
            return f"not right yet: {str(error).splitlines()[0]}"
        if merged.shape != weight.shape or lengths > 1e-4:
            return f"not right yet: {outputs} outputs, {inputs} inputs: a row's length is off by {lengths:.2g}"
        if direction < 1 - 1e-4:
            return f"not right yet: with scaling {scaling:g} a row points elsewhere (cosine {direction:.2f})"
    return SOLVED
