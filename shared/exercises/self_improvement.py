"""Exercises of 04-Reasoning-Tuning/Self-Improvement."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_kept_texts(function: Callable[[list[str], list[bool], int], list[str]]) -> str:
    """`function(samples, right, most)` -> right texts, the shortest first, none twice."""
    cases = [
        ((["85", "7 + 8 = 15. 85", "75"], [True, True, False], 4), ["85", "7 + 8 = 15. 85"]),
        ((["long way: 85", "85.", "85."], [True, True, True], 2), ["85.", "long way: 85"]),  # no text twice
        ((["long way: 85", "85.", "85"], [True, True, True], 1), ["85"]),
        ((["b 85", "a 85", "a 75"], [True, True, False], 2), ["b 85", "a 85"]),  # equally long: in their order
        ((["84", "83"], [False, False], 2), []),
    ]
    return judge(function, cases)


def check_grpo_steps(function: Callable[[int, int, int, int], int]) -> str:
    """`function(drawn, trained, step_tokens, iterations)` -> whole steps of GRPO for the cost of STaR, with LoRA."""
    cases = [
        ((6000, 0, 1000, 1), 2),  # 12,000 operations for each parameter; a step costs 6,000
        ((3000, 3000, 1000, 1), 3),
        ((5000, 2000, 1000, 1), 3),
        ((5000, 1000, 1000, 1), 2),  # what is left is no whole step
        ((3000, 3000, 1000, 2), 1),  # a step draws once and trains twice: 10,000
        ((100, 100, 1000, 1), 0),
    ]
    return judge(function, cases)


def check_samples_needed(function: Callable[[float, float], int]) -> str:
    """`function(p, wanted)` -> the fewest samples of which one is right with probability `wanted` or more; 0: never."""
    cases = [((0.5, 0.9), 4), ((0.1, 0.9), 22), ((0.01, 0.5), 69), ((0.9, 0.5), 1), ((1.0, 0.99), 1), ((0.0, 0.5), 0)]
    return judge(function, cases)
