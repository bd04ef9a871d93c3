"""The figures of the confidence benchmark, on numbers made by hand."""

import numpy as np
import pytest

from tools.benchmark.confidence.cases import Extent
from tools.benchmark.confidence.results import (
    among_lowest,
    as_bad_found,
    calibration_error,
    reliability,
    scores,
    shares,
    spearman,
    worst_found,
)


def test_of_tied_slices_each_is_among_the_lowest_with_its_share_of_the_places():
    values = np.array([0.1, 0.5, 0.5, 0.5, 0.9])
    assert among_lowest(values, 2) == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 0])
    assert among_lowest(values, 4) == pytest.approx([1, 1, 1, 1, 0])
    assert among_lowest(values, 9) == pytest.approx(np.ones(5))


def test_ten_worst_found_when_all_is_tied_are_those_found_by_chance():
    dice = np.arange(40) / 40
    assert worst_found(dice, dice) == 10
    assert worst_found(-dice, dice) == 0
    assert worst_found(np.zeros(40), dice) == pytest.approx(10 * 10 / 40)
    assert worst_found(np.zeros(40), np.zeros(40)) == pytest.approx(10 * 10 / 40)


def test_any_slice_as_bad_as_the_tenth_worst_will_do():
    dice = np.array([0.0] * 20 + [0.5] * 20)
    sure = np.arange(40) / 40
    assert as_bad_found(sure, dice) == 10
    assert worst_found(sure, dice) == pytest.approx(5)
    assert as_bad_found(-sure, dice) == 0
    assert as_bad_found(np.zeros(40), dice) == pytest.approx(5)
    assert as_bad_found(sure, sure) == worst_found(sure, sure) == 10


def test_the_expectation_is_the_mean_over_lots():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 4, 30) / 4, rng.integers(0, 4, 30) / 4

    def drawn(values):
        return set(np.lexsort((rng.random(30), values))[:10].tolist())

    mean = np.mean([len(drawn(one) & drawn(other)) for _ in range(4000)])
    assert worst_found(one, other) == pytest.approx(mean, abs=0.1)


def test_spearman_has_tied_ranks_in_the_middle_and_none_where_nothing_varies():
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 30, 31])) == pytest.approx(1)
    assert spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 4])) == pytest.approx(0.948683)
    assert spearman(np.ones(4), np.arange(4.0)) is None


def test_calibration_error_and_bins_by_hand():
    sure, dice = np.array([0.05, 0.95, 0.99, 1.0]), np.array([0.25, 0.9, 0.8, 0.7])
    binned = reliability(sure, dice)
    assert [n for n, _, _ in binned] == [1, 3]
    assert binned[1][1:] == pytest.approx((0.98, 0.8))
    assert calibration_error(sure, dice) == pytest.approx((0.2 + 3 * 0.18) / 4)


def test_cases_are_averaged_and_small_ones_have_no_ten_worst():
    dice = np.concatenate([np.arange(20) / 20, np.arange(5) / 5])
    sure = np.concatenate([np.arange(20) / 20, -np.arange(5) / 5 + 0.8])
    found = scores(sure, dice, np.array(["a"] * 20 + ["b"] * 5))
    assert found["spearman_per_case"] == 0.0  # 1 and -1
    assert (found["worst_found"], found["chance"], found["worst_cases"]) == (10.0, 5.0, 1)


def test_shares_beyond_and_missed_pooled_and_by_structure():
    found = shares([Extent(1, "a", 100, 10, 200, 0), Extent(2, "b", 300, 0, 200, 100)])
    assert found["beyond"] == {"pooled": 0.025, "per_structure": 0.05}
    assert found["missed"] == {"pooled": 0.25, "per_structure": 0.25}
