"""Aggregates of members' label maps, and the members' agreement with them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cps.uncertainty import aggregate, agreement, member_scores
from volumes.metrics import dice

SHAPE = (2, 3, 4)


def members_of(count: int) -> st.SearchStrategy[list[np.ndarray]]:
    values = st.sampled_from([0, 0, 1, 2, 7, 255])
    return st.lists(arrays(np.uint8, SHAPE, elements=values), min_size=count, max_size=count)


@given(st.integers(1, 5).flatmap(members_of))
def test_every_voxel_gets_a_label_that_no_other_outvotes(members: list[np.ndarray]) -> None:
    result = aggregate(members)
    assert result.dtype == np.uint8
    for index in np.ndindex(SHAPE):
        votes = Counter(int(member[index]) for member in members)
        assert votes[int(result[index])] == max(votes.values())


@given(st.integers(1, 5).flatmap(members_of))
def test_ties_go_to_the_earliest_member_that_is_in_them(members: list[np.ndarray]) -> None:
    result = aggregate(members)
    for index in np.ndindex(SHAPE):
        said = [int(member[index]) for member in members]
        most = max(Counter(said).values())
        assert result[index] == next(one for one in said if said.count(one) == most)


def test_four_members_two_and_two() -> None:
    said = [np.full((1, 1, 2), value, np.uint8) for value in (5, 0, 3, 0)]
    said[3][0, 0, 1] = 3
    # 0 twice; then 3 twice, and of 5, 0 and 3 the earliest is not in the tie
    assert aggregate(said).tolist() == [[[0, 3]]]


def test_two_members_are_neither_joined_nor_scored_with_what_they_were_joined_to() -> None:
    small, large = np.zeros((1, 10, 10), np.uint8), np.zeros((1, 10, 10), np.uint8)
    small[0, :2, :5], large[0, :2, :] = 1, 1
    for members in ([small, large], [large, small]):
        together = aggregate(members)
        assert np.array_equal(together, members[0])
        assert agreement(members, together) == {1: (pytest.approx(2 / 3), pytest.approx(2 / 3))}


def test_a_structure_of_one_of_two_members_is_no_agreement_whichever_has_it() -> None:
    without, having = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    having[0] = 4
    for members in ([without, having], [having, without]):
        assert agreement(members, aggregate(members)) == {4: (0.0, 0.0)}


@given(members_of(3))
def test_three_members_agree_as_far_as_each_does_with_the_aggregate(members: list[np.ndarray]) -> None:
    together = aggregate(members)
    assert agreement(members, together) == member_scores(members, together)


def test_members_stay_as_they_are() -> None:
    members = [np.full(SHAPE, value, np.uint8) for value in (1, 2, 2)]
    aggregate(members)[...] = 7
    assert [int(member[0, 0, 0]) for member in members] == [1, 2, 2]


@given(members_of(3))
def test_scores_are_dice_over_structures_that_occur(members: list[np.ndarray]) -> None:
    result = aggregate(members)
    scores = member_scores(members, result)
    assert set(scores) == {int(value) for value in np.unique([*members, result]) if value}
    for label, values in scores.items():
        expected = [dice(result == label, member == label) for member in members]
        assert values == pytest.approx(expected)


def test_a_structure_of_a_single_member_counts_against_that_member_only() -> None:
    members = [np.zeros(SHAPE, np.uint8) for _ in range(3)]
    for member in members:
        member[0] = 1
    members[2][1, 0] = 4
    result = aggregate(members)
    assert member_scores(members, result) == {1: (1.0, 1.0, 1.0), 4: (1.0, 1.0, 0.0)}


def test_nothing_found_scores_nothing() -> None:
    members = [np.zeros(SHAPE, np.uint8)] * 3
    assert member_scores(members, aggregate(members)) == {}


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="no member"):
        aggregate([])
    with pytest.raises(ValueError, match="different shapes"):
        aggregate([np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 3), np.uint8)])
    with pytest.raises(ValueError, match="different shapes"):
        member_scores([np.zeros((1, 2, 2), np.uint8)], np.zeros((1, 1, 2), np.uint8))
