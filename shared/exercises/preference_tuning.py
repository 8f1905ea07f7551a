"""Exercises of 03-Instruction-Tuning/Preference-Tuning."""

import math
from collections.abc import Callable

from shared.exercises.verdict import judge


def check_win_rate(function: Callable[[int, int, int], float]) -> str:
    """`function(wins, ties, losses)` -> the win rate, ties counted half."""
    return judge(function, [((60, 0, 40), 0.6), ((30, 60, 10), 0.6), ((0, 10, 0), 0.5)], tolerance=1e-9)


def check_dpo_loss(function: Callable[[float, float, float, float, float], float]) -> str:
    """`function(chosen, rejected, reference_chosen, reference_rejected, beta)` -> the DPO loss of a pair."""
    cases = [
        ((-20.0, -30.0, -20.0, -30.0, 0.1), math.log(2)),  # the policy is the reference
        ((-18.0, -35.0, -20.0, -30.0, 0.1), math.log1p(math.exp(-0.7))),
        ((-25.0, -45.0, -20.0, -30.0, 0.5), math.log1p(math.exp(-5.0))),  # both fell, the rejected one further
        ((-21.0, -29.0, -20.0, -30.0, 0.1), math.log1p(math.exp(0.2))),
    ]
    return judge(function, cases, tolerance=1e-6)


def check_simpo_loss(function: Callable[[float, int, float, int, float, float], float]) -> str:
    """`function(chosen, chosen_tokens, rejected, rejected_tokens, beta, gamma)` -> the SimPO loss of a pair."""
    cases = [
        ((-20.0, 20, -10.0, 10, 2.0, 0.0), math.log(2)),  # twice as long, and as likely per token
        ((-20.0, 40, -20.0, 20, 2.0, 0.5), math.log1p(math.exp(-0.5))),
        ((-30.0, 30, -40.0, 20, 2.0, 2.0), math.log(2)),  # a margin of gamma is wanted, and there
    ]
    return judge(function, cases, tolerance=1e-6)
