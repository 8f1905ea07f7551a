"""Checkers of the notebooks' exercises. Each takes the reader's function and says what it makes of it, in one line.

An unsolved stub returns None; the checker then answers "not solved yet", so that the notebook runs through.
"""

from collections.abc import Callable

import torch

UNSOLVED = "not solved yet"
SOLVED = "solved"


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


def check_empty_rows(function: Callable[[list[list[int]]], list[int]]) -> str:
    """`function(labels)` -> indices of the rows that train nothing; a row's first label does not count."""
    cases = (
        ([[-100, -100, 7, 2], [-100, -100, -100, -100]], [1]),
        ([[-100, 5], [5, 6]], []),
        ([[9, -100, -100], [-100, 9, -100]], [0]),  # nothing stands before the first token to predict it from
    )
    for labels, expected in cases:
        found = function([list(row) for row in labels])
        if found is None:
            return UNSOLVED
        if list(found) != expected:
            return f"not right yet: labels {labels} gave {list(found)}"
    return SOLVED


def check_first_difference(function: Callable[[list[int], list[int]], int]) -> str:
    """`function(trained, served)` -> the first position at which the two prompts differ, -1 if they are the same."""
    cases = (
        ([5, 6, 7], [5, 6, 7], -1),
        ([5, 6, 7], [5, 9, 7], 1),
        ([5, 6, 7], [5, 6], 2),
        ([5, 6], [5, 6, 7], 2),
        ([5, 6, 7], [0, 5, 6, 7], 0),  # two beginnings
    )
    for trained, served, expected in cases:
        found = function(list(trained), list(served))
        if found is None:
            return UNSOLVED
        if found != expected:
            return f"not right yet: {trained} in training and {served} in service gave {found}"
    return SOLVED
