"""Exercises of 02-PEFT/Choosing-LoRA-Hyperparameters."""

from collections.abc import Callable, Sequence

from shared.exercises.verdict import judge


def check_update_scale(function: Callable[[float, int, bool], float]) -> str:
    """`function(alpha, rank, rslora)` -> what the product BA is multiplied by."""
    cases = [((32, 16, False), 2.0), ((32, 128, False), 0.25), ((8, 16, True), 2.0), ((16, 64, True), 2.0)]
    return judge(function, cases, tolerance=1e-9)


def check_matching_rank(function: Callable[[Sequence, Sequence, int], int]) -> str:
    """`function(all_layers, some_layers, rank)` -> the rank at which `some_layers` have as many parameters.

    Layers are pairs of inputs and outputs.
    """
    llama = [(576, 576), (576, 192), (576, 192), (576, 576), (576, 1536), (576, 1536), (1536, 576)]
    square = [(10, 10), (10, 10)]
    cases = [((llama, llama, 16), 16), ((llama, llama[:4], 16), 42), ((square, square[:1], 8), 16)]
    return judge(function, cases)


def check_paired_interval(function: Callable[[Sequence[float], Sequence[float]], tuple[float, float]]) -> str:
    """`function(first, second)` -> the 95 % interval of the mean difference first - second, of three seeds in pairs."""

    def rounded(first: Sequence[float], second: Sequence[float]) -> list[float] | None:
        found = function(first, second)
        return None if found is None else [round(float(end), 3) for end in found]

    cases = [
        (([1.0, 2.0, 3.0], [0.0, 1.0, 2.0]), [1.0, 1.0]),  # the seeds differ much, the pairs not at all
        (([0.1, 0.2, 0.3], [0.0, 0.0, 0.0]), [-0.048, 0.448]),
    ]
    return judge(rounded, cases)
