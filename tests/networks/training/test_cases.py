"""Which cases a training takes."""

from __future__ import annotations

from networks.training.cases import chosen_cases


def test_few_of_many_cases_are_spread_over_them() -> None:
    assert chosen_cases(list(range(10)), 3) == [0, 3, 6]
    assert chosen_cases([1, 2], 3) == [1, 2] and chosen_cases([1, 2], 0) == [1, 2]
    assert chosen_cases([1, 2], -1) == []
