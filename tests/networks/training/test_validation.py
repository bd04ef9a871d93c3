"""Means of scores over cases."""

from __future__ import annotations

import pytest

from networks.training.validation import means, summed
from volumes.labels import Label, LabelTable


def test_means_are_over_the_cases_that_have_a_score() -> None:
    table = LabelTable(
        [Label(1, "left_ball", (0, 0, 0)), Label(2, "right_ball", (0, 0, 0)), Label(3, "bar", (0, 0, 0))]
    )
    sums = summed([{1: 0.5, 2: 1.0}, {1: 0.7}], table)
    assert means(sums, table) == pytest.approx({"left_ball": 0.6, "right_ball": 1.0, "mean": 0.8})
    assert means(summed([{1: 0.5, 2: 1.0}], table) + summed([{1: 0.7}], table), table) == means(sums, table)
    assert means(summed([], table), table) == {}
