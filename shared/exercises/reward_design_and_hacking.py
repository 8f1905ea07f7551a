"""Exercises of 04-Reasoning-Tuning/Reward-Design-and-Hacking."""

from collections.abc import Callable

from shared.exercises.verdict import judge


def check_committed(function: Callable[[str, int], float]) -> str:
    """`function(text, answer)` -> 1.0 where the text ends in its only "The answer is N." and N is right."""
    texts = {
        "7 + 8 = 15, carry 1. 4 + 3 + 1 = 8. The answer is 85.": 1.0,
        " The answer is 85. ": 1.0,
        "The answer is 85": 1.0,
        "The answer is 84.": 0.0,
        "The answer is 850.": 0.0,
        "The answer is 85 or 86.": 0.0,
        "The answer is 84. The answer is 85.": 0.0,
        "The answer is 85. No, it is 84.": 0.0,
        "83 or 84 or 85": 0.0,
        "47 + 38": 0.0,
        "": 0.0,
        "7 + 8 = 15, carry 1. The answer is": 0.0,
    }
    return judge(function, [((text, 85), value) for text, value in texts.items()], tolerance=1e-9)


def check_is_hacked(function: Callable[[list[float], list[float]], bool]) -> str:
    """`function(rewards, accuracies)` -> True where the reward rose and the held-out accuracy did not."""
    rising, flat = [0.2, 0.3, 0.4, 0.6, 0.8, 0.9], [0.5, 0.4, 0.5, 0.5, 0.4, 0.5]
    cases = [
        ((rising, [0.5, 0.3, 0.1]), True),
        ((rising, [0.5, 0.8, 0.52]), True),  # better for a while, and lost again
        ((rising, [0.5, 0.4, 0.7]), False),
        ((flat, [0.5, 0.3, 0.1]), False),  # worse, but not by what is rewarded
        (([0.9, 0.2, 0.3, 0.3, 0.2, 0.9], [0.5, 0.5]), False),  # first and last step say nothing
    ]
    return judge(function, cases)


def check_loudest(function: Callable[[dict[str, list[float]], dict[str, float]], str]) -> str:
    """`function(rewards, weights)` -> the name of the reward that spreads the group most, "none" if the sum is constant."""
    right, form, length = [1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.02, 0.04, 0.01, 0.03]
    cases = [
        (({"right": right, "form": form}, {"right": 1.0, "form": 5.0}), "right"),  # a constant is not heard
        (({"right": right, "length": length}, {"right": 1.0, "length": 1.0}), "right"),
        (({"right": right, "length": length}, {"right": 1.0, "length": 100.0}), "length"),
        (({"right": right, "length": length}, {"right": 1.0, "length": -100.0}), "length"),  # a charge is heard too
        (({"right": [0.0] * 4, "length": length}, {"right": 1.0, "length": 0.01}), "length"),
        (({"right": [0.0] * 4, "form": form}, {"right": 1.0, "form": 1.0}), "none"),
        (({"right": right, "wrong": [1 - r for r in right]}, {"right": 1.0, "wrong": 1.0}), "none"),  # they cancel
    ]
    return judge(function, cases)
