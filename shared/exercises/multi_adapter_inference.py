"""Exercises of 02-PEFT/Multi-Adapter-Inference."""

from collections.abc import Callable

import torch

from shared.exercises.verdict import SOLVED, UNSOLVED, judge


def check_adapters_that_fit(function: Callable[[float, list[tuple[int, int]], int, int], int]) -> str:
    """`function(free_bytes, layers, rank, bytes_per_parameter)` -> how many LoRA adapters fit into `free_bytes`.

    `layers` holds (inputs, outputs) of each adapted layer.
    """
    cases = (
        ((1000, [(10, 10)], 1, 4), 12),  # 20 parameters, 80 bytes
        ((1000, [(10, 10), (10, 30)], 2, 2), 4),  # 120 parameters, 240 bytes
        ((79, [(10, 10)], 1, 4), 0),
        ((2**30, [(4544, 4672), (4544, 4544), (4544, 18176), (18176, 4544)] * 32, 16, 2), 16),
    )
    return judge(function, cases)


def check_rows_of(function: Callable[[list[str]], dict[str, list[int]]]) -> str:
    """`function(adapter_names)` -> adapter -> the rows of the batch that it computes; "__base__" computes none."""
    cases = (
        ((["a", "b", "a"],), {"a": [0, 2], "b": [1]}),
        ((["b", "__base__", "a", "b"],), {"b": [0, 3], "a": [2]}),
        ((["__base__", "__base__"],), {}),
    )
    return judge(function, cases)


def check_stack(
    function: Callable[[list[torch.Tensor], list[torch.Tensor], list[float]], tuple[torch.Tensor, torch.Tensor]],
) -> str:
    """`function(As, Bs, factors)` -> (A, B) of one adapter whose product B A is the sum of factor · B_i A_i.

    A_i is (rank_i, inputs) and B_i (outputs, rank_i); the ranks may differ.
    """
    generator = torch.Generator().manual_seed(0)
    for ranks, factors in (((2, 2), (1.0, 1.0)), ((2, 2), (0.5, 2.0)), ((1, 3, 2), (2.0, -1.0, 0.5))):
        As = [torch.randn(rank, 5, generator=generator) for rank in ranks]
        Bs = [torch.randn(6, rank, generator=generator) for rank in ranks]
        expected = sum(factor * B @ A for A, B, factor in zip(As, Bs, factors, strict=True))
        try:
            found = function([A.clone() for A in As], [B.clone() for B in Bs], list(factors))
            if found is None:
                return UNSOLVED
            A, B = found
            difference = (B @ A - expected).abs().max().item()
        except Exception as error:  # the reader's code: whatever it raises is what has to be shown
            return f"not right yet: ranks {ranks} raised {type(error).__name__}: {str(error).splitlines()[0]}"
        if difference > 1e-4:
            return f"not right yet: with ranks {ranks} and factors {factors} the product is off by {difference:.2g}"
    return SOLVED
