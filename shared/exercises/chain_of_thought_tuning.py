"""Exercises of 04-Reasoning-Tuning/Chain-of-Thought-Tuning."""

from collections.abc import Callable, Sequence

from shared.exercises.verdict import judge


def check_equal_token_steps(function: Callable[[int, float, float], int]) -> str:
    """`function(steps, worked_tokens, direct_tokens)` -> steps with answers alone for as many trained tokens, rounded up."""
    cases = [((100, 45, 9), 500), ((30, 40, 9), 134), ((60, 8, 8), 60), ((7, 22.5, 4.5), 35), ((10, 10, 3), 34)]
    return judge(function, cases)


def check_last_tagged_answer(function: Callable[[str], int]) -> str:
    """`function(text)` -> the whole number in the last closed <answer> tag; -1 where that is no number, or none is there."""
    cases = [
        (("<think>7 + 8 = 15.</think><answer>15</answer>",), 15),
        (("<answer>14</answer> No: <answer>15</answer>",), 15),
        (("<answer>14</answer> No: <answer>15",), 14),  # the second is not closed
        (("7 + 8 = 15.",), -1),
        (("<answer>14</answer><answer>about 15</answer>",), -1),
        (("<answer> 7 </answer>",), 7),
    ]
    return judge(function, cases)


def check_faithfulness(function: Callable[[Sequence, Sequence, Sequence], Sequence[float]]) -> str:
    """`function(true, from_wrong_step, said)` -> the shares of answers that follow the step, ignore it, do neither."""
    cases = [
        (([85, 60, 12, 40], [86, 61, 13, 41], [86, 61, 12, None]), (0.5, 0.25, 0.25)),
        (([1, 2], [11, 12], [11, 12]), (1.0, 0.0, 0.0)),
        (([1, 2, 3, 4], [5, 6, 7, 8], [1, 1, 1, 1]), (0.0, 0.25, 0.75)),
    ]
    return judge(lambda *lists: None if (found := function(*lists)) is None else tuple(found), cases)
