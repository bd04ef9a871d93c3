"""Which pseudo-labels are accepted."""

from __future__ import annotations

import numpy as np
import pytest

from cps.selection import AgreementRule, CaseScores
from cps.uncertainty import aggregate, member_scores
from volumes.errors import InputError
from volumes.labels import LabelTable


def case(name: str = "A", **structures: tuple[float, ...]) -> CaseScores:
    return CaseScores(name, structures, dict.fromkeys(structures, 100))


def test_the_mean_over_structures_and_members_has_to_exceed_the_threshold() -> None:
    rule = AgreementRule(0.9)
    good, bad, equal = rule.judge(
        [case("A", liver=(0.95, 0.97), spleen=(0.9, 0.9)), case("B", liver=(0.95, 0.8)), case("C", liver=(0.9, 0.9))]
    )
    assert good.accepted and good.score == pytest.approx(0.93)
    assert not bad.accepted and bad.score == pytest.approx(0.875)
    assert not equal.accepted
    assert "0.875 does not exceed 0.9" in bad.reason and "liver" in bad.reason


def test_a_structure_that_is_wholly_wrong_is_not_hidden_by_those_that_are_absent() -> None:
    """Thirteen structures in the table, two in the case; the members put one of them in different places."""
    members = [np.zeros((4, 8, 8), np.uint8) for _ in range(3)]
    for z, member in enumerate(members):
        member[:, :4] = 1
        member[z, 6:] = 4
    table = LabelTable.read("flare22")
    together = aggregate(members)
    scores = member_scores(members, together)
    assert set(scores) == {1, 4}
    assert scores[4] == (0.0, 0.0, 0.0)
    counting_absent = [scores.get(label, (1.0,) * 3) for label in table]
    assert np.mean(counting_absent) > 0.9  # what the public code would have kept
    named = {table.name_of(label): values for label, values in scores.items()}
    (verdict,) = AgreementRule(0.9).judge([case(**named)])
    assert not verdict.accepted
    assert "lowest: pancreas" in verdict.reason


def test_a_structure_below_the_lowest_agreement_is_not_spoken_for() -> None:
    many = {f"s{n}": (1.0, 1.0) for n in range(12)} | {"wrong": (0.0, 0.1)}
    (verdict,) = AgreementRule(0.9).judge([case(**many)])
    assert verdict.accepted and verdict.structures == tuple(many)
    (verdict,) = AgreementRule(0.9, lowest=0.5).judge([case(**many)])
    assert verdict.accepted and verdict.structures == tuple(f"s{n}" for n in range(12))
    assert verdict.reason == "mean 0.927 exceeds 0.9; left out, below 0.5: wrong 0.050"


def test_a_structure_that_the_pseudo_label_does_not_show_is_not_spoken_for() -> None:
    """One member of three found it, so it is outvoted: whether it is there nobody knows."""
    shown = CaseScores("A", {"liver": (1.0, 1.0, 1.0), "gland": (1.0, 1.0, 0.0)}, {"liver": 100, "gland": 0})
    (verdict,) = AgreementRule(0.8).judge([shown])
    assert verdict.accepted and verdict.structures == ("liver",)


def test_a_case_without_a_structure_to_speak_for_is_rejected() -> None:
    (verdict,) = AgreementRule(0.5, lowest=0.9).judge([case(liver=(0.8, 0.8))])
    assert not verdict.accepted and verdict.reason == "no structure in the pseudo-label reaches 0.9"


def test_a_case_without_any_structure_is_rejected() -> None:
    (verdict,) = AgreementRule(0.0).judge([case()])
    assert not verdict.accepted
    assert verdict.reason == "no structure was found"


@pytest.mark.parametrize("settings", [{"threshold": 1.2}, {"threshold": -0.1}, {"lowest": 90.0}])
def test_a_threshold_that_is_no_dice_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        AgreementRule(**settings)
