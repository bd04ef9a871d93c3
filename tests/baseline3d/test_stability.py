"""Which cases are reliable: stable through a training, the best half first."""

from __future__ import annotations

import numpy as np
import pytest

from baseline3d.stability import StabilityRule, stability
from cps.selection import CaseScores
from volumes.errors import InputError


def row(*labels: int) -> np.ndarray:
    return np.array([[labels]], np.uint8)


def test_dice_of_earlier_label_maps_with_the_last() -> None:
    first, second, last = row(1, 1, 0, 2), row(1, 1, 2, 2), row(1, 1, 1, 2)
    found = stability([first, second], last, last)
    assert found == {1: (4 / 5, 4 / 5), 2: (1.0, 2 / 3)}


def test_what_views_alone_show_is_not_stable() -> None:
    assert stability([row(1, 0), row(1, 0)], row(1, 0), row(1, 3)) == {1: (1.0, 1.0), 3: (0.0, 0.0)}
    assert stability([row(0, 0)], row(0, 0), row(0, 0)) == {}


def cases(*scores: float) -> list[CaseScores]:
    return [
        CaseScores(name, {"liver": (score - 0.05, score + 0.05)}, {"liver": 10})
        for name, score in zip("ABCDEFGH", scores, strict=False)
    ]


def test_the_first_round_takes_the_best_half_of_all() -> None:
    """Of five cases three, of which one does not exceed the threshold."""
    rule = StabilityRule(0.9)
    scores = cases(0.91, 0.85, 0.94, 0.93, 0.5)
    first = rule.judge(scores, 1)
    assert [one.accepted for one in first] == [True, False, True, True, False]
    assert first[1].reason.startswith("mean 0.850 does not exceed 0.9")
    waiting = rule.judge(cases(0.91, 0.92, 0.94, 0.93), 1)
    assert [one.accepted for one in waiting] == [False, False, True, True]
    assert waiting[0].reason == "mean 0.910 exceeds 0.9, but it is not among the best 50 %: later"
    assert waiting[2].structures == ("liver",)
    assert [one.accepted for one in StabilityRule(0.9).judge(cases(0.95, 0.6, 0.7, 0.8), 1)] == [True] + [False] * 3


def test_later_rounds_take_all_above_the_threshold() -> None:
    verdicts = StabilityRule(0.9).judge(cases(0.91, 0.92, 0.94, 0.89), 2)
    assert [one.accepted for one in verdicts] == [True, True, True, False]


def test_of_equals_the_first_by_name_are_taken_in_any_order() -> None:
    same = cases(0.95, 0.95, 0.95, 0.95)
    for order in (same, same[::-1]):
        verdicts = StabilityRule(0.9).judge(order, 1)
        assert [case.case for case, one in zip(order, verdicts, strict=True) if one.accepted] in (
            ["A", "B"],
            ["B", "A"],
        )


def test_no_case_and_no_share() -> None:
    assert StabilityRule().judge([], 1) == []
    with pytest.raises(InputError, match="share: found 0"):
        StabilityRule(share=0.0)
