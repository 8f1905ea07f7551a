"""Rewards on right, wrong, empty, cut-off and gamed completions; bad reward functions; the watch on a training."""

import importlib.util
import math
import warnings
from pathlib import Path

import pytest
import torch
from transformers import TrainerControl, TrainerState
from trl.rewards import get_soft_overlong_punishment

from shared.errors import RewardError
from shared.rewards import (
    RewardWatch,
    checked,
    correctness,
    partial_credit,
    step_credit,
    strict_correctness,
    tag_format,
    true_sums,
)

STEPS = "7 + 8 = 15, carry 1. 4 + 3 + 1 = 8. So 47 + 38 = 85."
TEXTS = {
    "right": f" <think>{STEPS}</think><answer>85</answer>",
    "right, no tags": f" {STEPS} The answer is 85.",
    "wrong": " <think>7 + 8 = 14. 4 + 3 = 7. So 47 + 38 = 74.</think><answer>74</answer>",
    "empty": "",
    "cut off": " <think>7 + 8 = 15, carry 1. 4 + 3 + 1 =",
    "cut off after the sum": f" <think>{STEPS}",
    "every number": " 83 84 85 86",
    "two tags": " <think>x</think><answer>84</answer><answer>85</answer>",
    "empty tags": " <think> </think><answer></answer>",
    "nothing thought": " <think>x</think><answer>85</answer>",
    "easy sums": " 1 + 1 = 2. 1 + 1 = 2. The answer is 2.",
    "too many digits": " The answer is 8585.",
}
EXPECTED = {
    # correctness, strict, format, partial, steps
    "right": (1, 1, 1, 1, 1),
    "right, no tags": (1, 0, 0, 1, 1),
    "wrong": (0, 0, 1, 0, 1 / 3),
    "empty": (0, 0, 0, 0, 0),
    "cut off": (0, 0, 0, 0, 1),
    "cut off after the sum": (1, 0, 0, 1, 1),
    "every number": (0, 0, 0, 0.5, 0),
    "two tags": (1, 0, 0, 1, 0),  # the last tag counts, and the format does not
    "empty tags": (0, 0, 0, 0, 0),
    "nothing thought": (1, 1, 1, 1, 0),  # gamed: the format cannot see it
    "easy sums": (0, 0, 0, 0, 1),  # gamed: true sums that solve nothing
    "too many digits": (0, 0, 0, 0.5, 0),
}


@pytest.mark.parametrize("case", TEXTS)
def test_rewards(case):
    completions = [TEXTS[case]]
    given = {"prompts": ["Q"], "answer": [85], "completion_ids": [[1]], "trainer_state": None}
    found = [
        reward(completions=completions, **given)[0]
        for reward in (correctness, strict_correctness, tag_format, partial_credit, step_credit)
    ]
    assert found == pytest.approx(EXPECTED[case])
    messages = [[{"role": "assistant", "content": TEXTS[case]}]]
    assert checked(correctness)(completions=messages, **given) == [EXPECTED[case][0]]


def test_partial_credit_by_hand():
    answers = ["85", "75", "8", "5", "185", "-85", "8.5", "no"]
    #          all   ones  none ones two of three, sign, not whole
    assert partial_credit(answers, [85] * 8) == pytest.approx([1, 0.5, 0, 0.5, 2 / 3, 0, 0, 0])


def test_sums_by_hand():
    assert true_sums("3 x 4 = 12 lamps. 12 + 5 = 18 lamps. 4 + 3 + 1 = 8. 3 - 5 = -2") == [True, False, True, True]
    assert true_sums("20 - 5 + 2 x 6 = 27, and 3 x 4 - 2 = 6") == [True, False]
    assert true_sums("7 + 8 = 15 + 1 = 16") == [True] and true_sums("no sum, 5 = 5") == []


def test_answers_may_be_text():
    assert correctness(["85", "72", "1234"], ["85", "60 + 12 = 72\n#### 72", 1234]) == [1, 1, 1]
    with pytest.raises(RewardError, match=r"'answer' has no number for completion 1: 'none'; leave this example out"):
        correctness(["85", "none"], ["85", "none"])


def test_length_is_trl_s():
    reward = checked(get_soft_overlong_punishment(max_completion_len=10, soft_punish_cache=4))
    ids = [[1] * length for length in (0, 6, 8, 10, 11)]
    assert reward(completions=["x"] * 5, completion_ids=ids, prompts=["Q"] * 5) == [0, 0, -0.5, -1, -1]
    assert reward.__name__ == "soft_overlong_punishment_reward"


def returning(value):
    def my_reward(completions, **kwargs):
        return value

    return checked(my_reward)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1.0", r"my_reward returned a str: return a list with a number for each completion, 2 here\."),
        (None, r"my_reward returned a NoneType: return a list"),
        (1.0, r"my_reward returned a float: return a list"),
        ([1.0], r"my_reward returned 1 rewards for 2 completions: return one for each"),
        ([1.0, 0.0, 0.0], r"my_reward returned 3 rewards for 2 completions"),
        ([0.0, "1.0"], r"my_reward returned '1\.0', a str, for completion 1: return a number, as float"),
        ([[0.0], 1.0], r"my_reward returned \[0\.0\], a list, for completion 0"),
        ([0.0, math.nan], r"my_reward returned nan for completion 1: return 0\.0, or None"),
        ([math.inf, 0.0], r"my_reward returned inf for completion 0"),
        ([None, None], r"my_reward returned None for all 2 completions, from 0 on: return a number for some at least"),
    ],
)
def test_what_cannot_be_trained_on(value, message):
    with pytest.raises(RewardError, match=message):
        returning(value)(completions=["a", "b"], prompts=["Q", "Q"])


def test_what_can_be_trained_on():
    for value in ([1, None], (True, 0.5), torch.tensor([1.0, 0.0]), [torch.tensor(1.0).item(), 0]):
        found = returning(value)(completions=["a", "b"])
        assert all(reward is None or type(reward) is float for reward in found) and len(found) == 2
    assert returning([])(completions=[]) == []


def test_a_column_that_is_not_there():
    assert checked(correctness).__name__ == "correctness"
    message = (
        r"correctness cannot be called: missing a required argument: 'answer' \(given: completions, prompts, solution\)"
    )
    with pytest.raises(RewardError, match=message):
        checked(correctness)(completions=["85"], prompts=["Q"], solution=[85])

    def narrow(completions, answer):
        return [0.0] * len(completions)

    with pytest.raises(RewardError, match=r"narrow cannot be called: .*'prompts'.*take \*\*kwargs\."):
        checked(narrow)(completions=["85"], prompts=["Q"], answer=[85])

    def faulty(completions, **kwargs):
        raise TypeError("of its own")

    with pytest.raises(TypeError, match="of its own"):  # a fault inside is not taken for a missing column
        checked(faulty)(completions=["85"])


def watched(logs, **options):
    """The watch and the control after `logs`."""
    watch, state, control = RewardWatch(**options), TrainerState(), TrainerControl()
    watch.on_train_begin(None, state, control)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step, entry in enumerate(logs, 1):
            state.global_step = step
            watch.on_log(None, state, control, logs=entry)
    assert [str(warning.message) for warning in caught] == watch.findings
    return watch, control


FLAT = {"frac_reward_zero_std": 1.0, "reward": 0.0, "completions/clipped_ratio": 0.0}
ALIVE = FLAT | {"frac_reward_zero_std": 0.5}
CUT = ALIVE | {"completions/clipped_ratio": 1.0}


def test_watch_stops_where_no_group_differs():
    watch, control = watched([FLAT] * 19)
    assert not watch.findings and not control.should_training_stop
    watch, control = watched([ALIVE, *[FLAT] * 25])
    assert control.should_training_stop and len(watch.findings) == 1
    expected = (
        "For 20 logs up to step 21 the completions of every group got equal rewards (mean 0.00), so nothing is learnt"
    )
    assert watch.findings[0].startswith(expected) and "tune on some worked examples first" in watch.findings[0]


def test_watch_stops_where_all_is_cut():
    watch, control = watched([CUT] * 3, patience=3)
    assert control.should_training_stop and "raise max_completion_length" in watch.findings[0]
    watch, control = watched([FLAT | CUT | FLAT, *[CUT | FLAT | {"completions/clipped_ratio": 1.0}] * 2], patience=2)
    assert len(watch.findings) == 2


def test_watch_counts_on_end_and_only_trainings():
    logs = [*[FLAT] * 19, ALIVE, *[FLAT] * 19]
    assert not watched(logs)[0].findings
    evaluation = {"eval_frac_reward_zero_std": 0.2, "eval_loss": 0.1}
    watch, control = watched([FLAT, evaluation, FLAT], patience=2, stop=False)
    assert watch.findings and not control.should_training_stop
    assert not watched([{}, None, FLAT | {"frac_reward_zero_std": None}], patience=1)[0].findings
    watch.on_train_begin(None, None, None)
    assert set(watch.runs.values()) == {0}


def test_trl_still_logs_what_is_watched():
    source = Path(importlib.util.find_spec("trl").origin).parent / "trainer" / "grpo_trainer.py"
    text = source.read_text(encoding="utf-8")
    assert all(f'["{key}"]' in text for key in (*RewardWatch().runs, "reward"))
