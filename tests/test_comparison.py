"""Paired comparisons against values counted by hand."""

import pytest

from shared.comparison import ComparisonError, discordant, mcnemar, paired_interval


def results(both: int, only_first: int, only_second: int, neither: int = 3) -> tuple[list[bool], list[bool]]:
    pairs = [(True, True)] * both + [(True, False)] * only_first + [(False, True)] * only_second
    first, second = zip(*(pairs + [(False, False)] * neither), strict=True)
    return list(first), list(second)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (0, 5, 2 / 32),  # five tosses, all heads, either way: 2 · 1/32
        (1, 7, 18 / 256),  # 2 · (1 + 8) / 256
        (7, 1, 18 / 256),
        (2, 8, 112 / 1024),  # 2 · (1 + 10 + 45) / 1024
        (3, 3, 1.0),  # 2 · (1 + 6 + 15 + 20) / 64 is more than 1
        (0, 0, 1.0),
    ],
)
def test_mcnemar(only_first, only_second, p):
    for both in (0, 50):  # prompts on which both agree change nothing
        assert mcnemar(*results(both, only_first, only_second)) == pytest.approx(p, abs=1e-12)


def test_mcnemar_takes_many_prompts():
    assert mcnemar(*results(0, 0, 2000)) == pytest.approx(0.0, abs=1e-300)
    assert mcnemar(*results(0, 1000, 1000)) == 1.0


def test_discordant_counts_each_side():
    assert discordant([True, True, False, False], [True, False, True, True]) == (1, 2)
    assert discordant([1, 0], [0, 1]) == (1, 1)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([True], [True, False], "1 and 2 results: .*same order"),
        ([], [], "0 and 0 results: .*at least one"),
        ([True, False], [True, 0.5], "result 1 of the second model is 0.5: .*use paired_interval"),
        ([None], [True], "result 0 of the first model is None"),
    ],
)
def test_results_that_cannot_be_paired_get_a_sentence(first, second, said):
    with pytest.raises(ComparisonError, match=said):
        mcnemar(first, second)


def test_paired_interval():
    assert paired_interval([0.2, 0.4, 0.6], [0.3, 0.5, 0.7]) == pytest.approx((0.1, 0.1, 0.1))  # all change alike
    difference, low, high = paired_interval([0.0] * 100, [1.0] * 20 + [0.0] * 80)
    assert difference == pytest.approx(0.2)
    assert (low, high) == pytest.approx((0.2 - 1.96 * 0.04, 0.2 + 1.96 * 0.04), abs=0.015)  # sqrt(0.2 · 0.8 / 100)
    assert paired_interval([1, 2], [2, 4]) == paired_interval([1, 2], [2, 4])  # the same each time


def test_paired_interval_refuses_other_lengths():
    with pytest.raises(ComparisonError, match="1 and 2 results"):
        paired_interval([1.0], [1.0, 2.0])
