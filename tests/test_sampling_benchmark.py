"""The benchmark of samples: what it makes of them, by hand."""

import pytest

from shared.sampling import Sample
from tests.benchmarks.sampling import WAYS, Setting, choices, compact, run, summary, worth


def sample(answer: int, log_prob: float) -> Sample:
    return Sample(f" So it is. The answer is {answer}.", 10, log_prob)


ROWS = [[sample(85, -1.0), sample(85, -3.0), sample(75, -2.0), sample(60, -9.0)], [sample(7, -1.0)] * 4]


def found(seed: int) -> dict:
    return {
        "seed": seed,
        "before": [False, False],
        "greedy": [True, False],
        "worth": worth(ROWS, [85, 8]),
        "tokens_each": 10.0,
    }


def test_the_numbers_of_samples_are_powers_of_two():
    assert choices(1) == [1] and choices(16) == [1, 2, 4, 8, 16] and choices(20) == [1, 2, 4, 8, 16]


def test_worth_by_hand():
    verifier, majority, likeliest = (worth(ROWS, [85, 8])[way] for way in WAYS)
    assert verifier[1] == [0.5, 0.0] and verifier[4] == [1.0, 0.0]
    assert verifier[2][0] == pytest.approx(5 / 6)  # of 6 pairs, one holds wrong ones alone
    assert majority[4] == [1.0, 0.0]  # two votes of four
    assert likeliest[4] == [1.0, 0.0]  # the likeliest is right
    # 85 (-1) beats all: 3 pairs; of the others only 75 and 60 remain without it and 85 (-3): -2 wins against -3
    assert likeliest[2][0] == pytest.approx((3 + 1) / 6)


def test_the_summary_is_over_seeds_and_keeps_failures_out():
    runs = [found(1), found(2), {"seed": 3, "error": "ValueError: no"}]
    result = summary(runs)
    assert result["ks"] == [1, 2, 4] and result["tokens_each"] == 10.0
    assert (result["metrics"]["before"]["value"], result["metrics"]["after"]["value"]) == (0.0, 0.5)
    assert result["curves"][WAYS[0]]["4"]["value"] == 0.5
    assert compact(runs[2]) == runs[2]
    assert compact(runs[0])["worth"][WAYS[0]][4] == 0.5 and compact(runs[0])["greedy"] == 0.5
    assert summary(runs[2:])["curves"] == {}


def test_a_seed_that_fails_is_a_result(capsys):
    result = run(Setting("nowhere", data="nothing"), 5)
    assert result["seed"] == 5 and result["error"].startswith("DataError")
