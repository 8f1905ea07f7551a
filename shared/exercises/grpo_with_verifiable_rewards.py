"""Exercises of 04-Reasoning-Tuning/GRPO-with-Verifiable-Rewards."""

import math
from collections.abc import Callable

from shared.exercises.verdict import judge


class _Close(list):
    """A list of numbers that equals another one up to rounding."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        numbers = isinstance(other, list) and len(other) == len(self)
        return numbers and all(math.isclose(x, y, abs_tol=1e-9) for x, y in zip(self, other, strict=True))


def check_group_advantages(function: Callable[[list[float], int], list[float]]) -> str:
    """`function(rewards, generations)` -> the advantages, group by group, with the standard deviation of a sample."""
    half, seldom = 0.5 / (math.sqrt(1 / 3) + 1e-4), 0.25 / (0.5 + 1e-4)
    cases = [
        (([1.0, 0.0, 1.0, 0.0], 4), _Close([half, -half, half, -half])),
        (([0.0, 0.0, 0.0, 1.0], 4), _Close([-seldom, -seldom, -seldom, 3 * seldom])),
        (([0.0, 0.0, 3.0, 3.0], 2), _Close([0.0] * 4)),  # two prompts; the better group earns nothing for it
        (([1.0, 3.0, 7.0, 7.0], 2), _Close([-1 / (math.sqrt(2) + 1e-4), 1 / (math.sqrt(2) + 1e-4), 0.0, 0.0])),
    ]
    return judge(function, cases)


def check_clipped_loss(function: Callable[[float, float, float, float], float]) -> str:
    """`function(ratio, advantage, epsilon_low, epsilon_high)` -> the loss of one token."""
    cases = [
        ((1.0, 2.0, 0.2, 0.2), -2.0),
        ((1.5, 1.0, 0.2, 0.2), -1.2),  # a good one that has risen enough
        ((1.25, 1.0, 0.2, 0.28), -1.25),  # the clip is wider above
        ((0.5, 1.0, 0.2, 0.2), -0.5),  # a good one that has fallen is pulled up, however far
        ((0.5, -1.0, 0.2, 0.2), 0.8),
        ((2.0, -1.0, 0.2, 0.2), 2.0),
    ]
    return judge(function, cases, tolerance=1e-9)


def check_diagnosis(function: Callable[[dict[str, float]], str]) -> str:
    """`function(log)` -> "cut", "too easy", "too hard" or "learning"."""

    def log(cut: float, equal: float, reward: float) -> tuple[dict[str, float]]:
        return ({"completions/clipped_ratio": cut, "frac_reward_zero_std": equal, "reward": reward, "loss": 0.0},)

    cases = [
        (log(0.0, 0.25, 0.4), "learning"),
        (log(1.0, 1.0, 0.0), "cut"),
        (log(0.1, 1.0, 0.0), "too hard"),
        (log(0.1, 0.9, 0.98), "too easy"),
        (log(0.9, 0.5, 0.2), "cut"),
        (log(0.6, 0.5, 0.9), "learning"),
    ]
    return judge(function, cases)
