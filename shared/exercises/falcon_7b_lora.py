"""Exercises of 02-PEFT/Falcon-7B-LoRA."""

from collections.abc import Callable

import torch

from shared.exercises.verdict import SOLVED, UNSOLVED


def check_lora_parameters(function: Callable[[int, int, int], int]) -> str:
    """`function(inputs, outputs, rank)` -> trainable parameters that LoRA adds to one linear layer."""
    for inputs, outputs, rank, expected in ((10, 10, 1, 20), (4, 6, 2, 20), (4544, 4672, 16, 147_456)):
        found = function(inputs, outputs, rank)
        if found is None:
            return UNSOLVED
        if found != expected:
            return f"not right yet: a layer of {inputs} inputs and {outputs} outputs at rank {rank} gave {found:,}"
    return SOLVED


def check_merge(function: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float, int], torch.Tensor]) -> str:
    """`function(weight, A, B, alpha, rank)` -> the merged weight (outputs, inputs); A (rank, inputs), B (outputs, rank)."""
    generator = torch.Generator().manual_seed(0)
    for outputs, inputs, rank, alpha in ((6, 6, 2, 2), (5, 7, 2, 8)):
        weight = torch.randn(outputs, inputs, generator=generator)
        a, b = torch.randn(rank, inputs, generator=generator), torch.randn(outputs, rank, generator=generator)
        x = torch.randn(3, inputs, generator=generator)
        try:
            merged = function(weight.clone(), a, b, alpha, rank)
            if merged is None:
                return UNSOLVED
            difference = (x @ merged.T - (x @ weight.T + (x @ a.T) @ b.T * (alpha / rank))).abs().max().item()
        except RuntimeError as error:
            return f"not right yet: {str(error).splitlines()[0]}"
        if difference > 1e-4:
            return f"not right yet: with alpha {alpha} and rank {rank} the merged layer is off by {difference:.2g}"
    return SOLVED


def check_trained_tokens(function: Callable[[list[int], list[int], int], tuple[int, bool]]) -> str:
    """`function(input_ids, labels, eos)` -> (how many tokens are trained, whether the end token is among them)."""
    cases = (
        ([5, 6, 7, 8, 2], [-100, -100, 7, 8, 2], 2, (3, True)),
        ([5, 6, 7, 8, 2, 2, 2], [-100, -100, 7, 8, -100, -100, -100], 2, (2, False)),  # pad = end token, masked by id
        ([2, 6, 7, 8], [-100, 6, 7, 8], 2, (3, False)),
    )
    for input_ids, labels, eos, expected in cases:
        found = function(list(input_ids), list(labels), eos)
        if found is None:
            return UNSOLVED
        if tuple(found) != expected:
            return f"not right yet: labels {labels} with end token {eos} gave {tuple(found)}"
    return SOLVED
