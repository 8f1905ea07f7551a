"""Verifiable rewards in the form that TRL's GRPOTrainer calls, a check of any reward, and a watch on the training.

A reward gets the lists `completions` (strings, or messages) and, by keyword, `prompts`, `completion_ids`, each other column
of the data set, and more; it returns a number for each completion. Long completions are what TRL's own
`trl.rewards.get_soft_overlong_punishment` is for (Yu et al. 2025, DAPO, equation 13). What each reward lets through is
said with it: a policy finds it.
"""

import functools
import inspect
import math
import re
import warnings
from collections.abc import Callable, Sequence
from numbers import Real

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from shared.data.problems import parse_answer_number
from shared.errors import RewardError

Completion = str | list[dict[str, str]]
TAGGED = re.compile(r"\s*<think>[^<]*[^<\s][^<]*</think>\s*<answer>[^<]*[^<\s][^<]*</answer>\s*")
EQUATION = re.compile(r"(?<![\d.])(\d{1,9}(?:\s*[-+x]\s*\d{1,9})+)\s*=\s*(-?\d{1,15})(?!\d)")


def text_of(completion: Completion) -> str:
    """The text of a completion: itself, or what its last message says."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


def right_answers(answer: Sequence[object]) -> list[int | float]:
    """The column `answer` as numbers; text like `#### 72` is read as an answer is. RewardError where there is none."""
    right = [parse_answer_number(str(value)) for value in answer]
    if None in right:
        index = right.index(None)
        remedy = "leave this example out, or score it with a reward of its own"
        raise RewardError(f"The column 'answer' has no number for completion {index}: {answer[index]!r:.40}; {remedy}.")
    return right


def correctness(completions: Sequence[Completion], answer: Sequence[object], **kwargs) -> list[float]:
    """1 if the answer is right, however it is put, else 0. It lets through a right number after wrong steps or none."""
    pairs = zip(completions, right_answers(answer), strict=True)
    return [float(parse_answer_number(text_of(text)) == right) for text, right in pairs]


def strict_correctness(completions: Sequence[Completion], answer: Sequence[object], **kwargs) -> list[float]:
    """1 if the right number stands alone in the only <answer> tag, else 0. The steps may be wrong or missing."""
    pairs = zip(completions, right_answers(answer), strict=True)
    return [float(parse_answer_number(text_of(text), strict=True) == right) for text, right in pairs]


def tag_format(completions: Sequence[Completion], **kwargs) -> list[float]:
    """1 for <think>something</think><answer>something</answer> and nothing besides, else 0. Any content will do."""
    return [float(TAGGED.fullmatch(text_of(text)) is not None) for text in completions]


def partial_credit(completions: Sequence[Completion], answer: Sequence[object], **kwargs) -> list[float]:
    """The share of the answer's digits that are right, place by place from the ones; digits too many count as wrong.

    For whole numbers. It pays for a guess: a tenth of the digits are right by chance.
    """
    rewards = []
    for text, right in zip(completions, right_answers(answer), strict=True):
        found = parse_answer_number(text_of(text))
        if not isinstance(found, int) or (found < 0) != (right < 0):
            rewards.append(0.0)
            continue
        said, wanted = str(abs(found))[::-1], str(abs(right))[::-1]
        rewards.append(sum(x == y for x, y in zip(said, wanted, strict=False)) / max(len(said), len(wanted)))
    return rewards


def true_sums(text: str) -> list[bool]:
    """For each sum in `text`, like `3 x 4 + 5 = 17`, in its order: does it hold? Products go first, as everywhere."""
    held = []
    for left, right in EQUATION.findall(text):
        terms = re.findall(r"([-+]?)\s*(\d+(?:\s*x\s*\d+)*)", left)
        value = sum((-1 if sign == "-" else 1) * math.prod(map(int, re.findall(r"\d+", term))) for sign, term in terms)
        held.append(value == int(right))
    return held


def step_credit(completions: Sequence[Completion], **kwargs) -> list[float]:
    """The share of the sums written that hold, 0 where there is none. It pays in full for `1 + 1 = 2`."""
    held = [true_sums(text_of(text)) for text in completions]
    return [sum(sums) / len(sums) if sums else 0.0 for sums in held]


def checked(reward: Callable) -> Callable:
    """`reward`, and a RewardError where it lacks a column or returns what cannot be trained on.

    That is: anything but one number for each completion (None: not scored), NaN or infinity, or None for all of them.
    """
    name = getattr(reward, "__name__", type(reward).__name__)

    @functools.wraps(reward)
    def call(completions: Sequence[Completion], **kwargs) -> list[float | None]:
        try:
            inspect.signature(reward).bind(completions=completions, **kwargs)
        except TypeError as error:
            columns = ", ".join(kwargs) or "none"
            remedy = "name a column of the data set so, or take **kwargs"
            raise RewardError(f"{name} cannot be called: {error} (given: completions, {columns}); {remedy}.") from error
        rewards, count = reward(completions=completions, **kwargs), len(completions)
        rewards = rewards.tolist() if hasattr(rewards, "tolist") else rewards
        if not isinstance(rewards, list | tuple):
            kind = type(rewards).__name__
            raise RewardError(
                f"{name} returned a {kind}: return a list with a number for each completion, {count} here."
            )
        if len(rewards) != count:
            remedy = "return one for each, 0.0 where there is nothing to reward"
            raise RewardError(f"{name} returned {len(rewards)} rewards for {count} completions: {remedy}.")
        for index, value in enumerate(rewards):
            if value is not None and not isinstance(value, Real):
                kind = f"{value!r:.40}, a {type(value).__name__}"
                raise RewardError(
                    f"{name} returned {kind}, for completion {index}: return a number, as float(...) makes."
                )
            if value is not None and not math.isfinite(value):
                remedy = "return 0.0, or None to leave it out; look for a division by zero or a logarithm of 0"
                raise RewardError(f"{name} returned {value} for completion {index}: {remedy}.")
        if count and all(value is None for value in rewards):
            remedy = "return a number for some at least; is there a return for every case?"
            raise RewardError(f"{name} returned None for all {count} completions, from 0 on: {remedy}")
        return [value if value is None else float(value) for value in rewards]

    return call


class RewardWatch(TrainerCallback):
    """Warns, and stops a GRPO training, where nothing has been learnt in `patience` logs on end.

    Either all groups had equal rewards (TRL's `frac_reward_zero_std` was 1), and so no advantage; or all completions were
    cut at `max_completion_length` (`completions/clipped_ratio` was 1). The reasons are kept in `findings`.
    """

    def __init__(self, patience: int = 20, stop: bool = True):
        self.patience, self.stop = patience, stop
        self.findings: list[str] = []
        self.runs = {"frac_reward_zero_std": 0, "completions/clipped_ratio": 0}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self.runs = dict.fromkeys(self.runs, 0)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs=None, **kwargs
    ) -> None:
        for key in [key for key in self.runs if key in (logs or {})]:  # the logs of an evaluation have other keys
            self.runs[key] = self.runs[key] + 1 if (logs[key] or 0) > 0.9999 else 0
            if self.runs[key] != self.patience:
                continue
            reason = f"For {self.patience} logs up to step {state.global_step} "
            if key == "frac_reward_zero_std":
                reason += (
                    f"the completions of every group got equal rewards (mean {logs.get('reward') or 0:.2f}), so nothing is "
                    "learnt: where the mean is high take harder problems; where it is low tune on some worked examples "
                    "first, reward parts of the answer, or take more generations at a higher temperature."
                )
            else:
                reason += (
                    "every completion was cut off before its end: raise max_completion_length, or tune on some worked "
                    "examples first, so that the model writes the end token."
                )
            self.findings.append(reason)
            warnings.warn(reason, stacklevel=2)
            control.should_training_stop |= self.stop
