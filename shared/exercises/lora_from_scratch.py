"""Exercises of 01-Foundations/LoRA-from-Scratch."""

from collections.abc import Callable

import torch

from shared.exercises.verdict import SOLVED, UNSOLVED, judge

SHAPES = ((6, 6, 2, 2.0), (5, 7, 2, 8.0))  # outputs, inputs, rank, alpha


def _compare(function: Callable, arguments: tuple, alpha: float, expected: torch.Tensor) -> str:
    """UNSOLVED, SOLVED or what is wrong with `function(*arguments, alpha)`."""
    rank = arguments[2].shape[0]
    try:
        found = function(*(tensor.clone() for tensor in arguments), alpha)
        if found is None:
            return UNSOLVED
        difference = (found - expected).abs().max().item() if found.shape == expected.shape else None
    except Exception as error:  # the reader's code: whatever it raises is what has to be shown
        return f"not right yet: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if difference is None:
        return f"not right yet: the shape is {tuple(found.shape)}, expected {tuple(expected.shape)}"
    if not difference <= 1e-4:
        return f"not right yet: with alpha {alpha:g} and rank {rank} the result is off by {difference:.2g}"
    return SOLVED


def _check(function: Callable, with_gradient: bool) -> str:
    generator = torch.Generator().manual_seed(0)
    for outputs, inputs, rank, alpha in SHAPES:
        drawn = [(3, inputs), (outputs, inputs), (rank, inputs), (outputs, rank), (3, outputs)]
        x, weight, a, b, grad = (torch.randn(shape, generator=generator) for shape in drawn)
        if with_gradient:
            leaf = a.clone().requires_grad_(True)
            (x @ weight.T + (x @ leaf.T) @ b.T * (alpha / rank)).backward(grad)
            verdict = _compare(function, (x, grad, a, b), alpha, leaf.grad)
        else:
            verdict = _compare(function, (x, weight, a, b), alpha, x @ (weight + alpha / rank * b @ a).T)
        if verdict != SOLVED:
            return verdict
    return SOLVED


def check_lora_forward(function: Callable[..., torch.Tensor]) -> str:
    """`function(x, weight, A, B, alpha)` -> (tokens, outputs); A is (rank, inputs), B is (outputs, rank)."""
    return _check(function, with_gradient=False)


def check_gradient_of_a(function: Callable[..., torch.Tensor]) -> str:
    """`function(x, G, A, B, alpha)` -> (rank, inputs), where G (tokens, outputs) is the gradient of the output."""
    return _check(function, with_gradient=True)


def check_enough_rank(function: Callable[[list[float], float], int]) -> str:
    """`function(singular_values, share)` -> the smallest rank that keeps at least `share` of the squared norm."""
    return judge(
        function,
        [
            (([3.0, 1.0], 0.9), 1),  # 9 of 10
            (([3.0, 1.0], 0.91), 2),
            (([2.0, 1.0, 1.0, 1.0, 1.0], 0.75), 3),  # 4, 5, 6 of 8
            (([1.0, 1.0, 1.0, 1.0], 0.5), 2),
        ],
    )
