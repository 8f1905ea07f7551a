"""Rank correlation, against results reckoned by hand."""

import pytest

from shared.correlation import CorrelationError, rank_correlation, ranks


def test_equal_values_share_the_mean_of_their_ranks():
    assert ranks([10, 30, 20]) == [1, 3, 2]
    assert ranks([5, 1, 5, 7]) == [2.5, 1, 2.5, 4]
    assert ranks([2, 2, 2]) == [2, 2, 2]


def test_the_order_counts_and_not_the_size():
    values = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert rank_correlation(values, [1, 10, 100, 1000, 10000])[0] == pytest.approx(1)
    assert rank_correlation(values, [9, 4, 3, 2, 1])[0] == pytest.approx(-1)
    # Spearman: 1 - 6 * sum(d²) / (n (n² - 1)), here d = 1, 1, 0, 1, 1
    assert rank_correlation(values, [2, 1, 3, 5, 4])[0] == pytest.approx(1 - 6 * 4 / (5 * 24))


def test_with_equal_values():
    # ranks 1.5 1.5 3.5 3.5 and 1 2 3 4: covariance 4, variances 4 and 5
    assert rank_correlation([0, 0, 1, 1], [1, 2, 3, 4])[0] == pytest.approx(4 / 20**0.5)


def test_the_interval_holds_the_value_and_narrows_with_n():
    def width(n):
        value, low, high = rank_correlation(list(range(n)), [(7 * i) % n for i in range(n)])
        assert low <= value <= high
        return high - low

    assert width(401) < width(25)
    assert rank_correlation([1, 2, 3, 4], [2, 1, 4, 3], seed=3) == rank_correlation([1, 2, 3, 4], [2, 1, 4, 3], seed=3)


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ([1, 2, 3], [1, 2], "3 and 2 values: .* same order"),
        ([1, 2], [2, 1], "2 and 2 values: .* at least three"),
        ([], [], "0 and 0 values"),
        ([1, 1, 1], [1, 2, 3], "all 3 values of the first measure are 1: .* answers that differ"),
        ([1, 2, 3], [0.5, 0.5, 0.5], "all 3 values of the second measure are 0.5"),
    ],
)
def test_what_has_no_correlation_gets_a_sentence(first, second, sentence):
    with pytest.raises(CorrelationError, match=sentence):
        rank_correlation(first, second)
