"""Aggregates of members' label maps, and the members' agreement with them."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cps.uncertainty import aggregate, member_scores
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


@given(members_of(3))
def test_the_order_of_the_members_does_not_matter(members: list[np.ndarray]) -> None:
    results = [aggregate(order) for order in permutations(members)]
    assert all(np.array_equal(results[0], other) for other in results)


def test_ties_go_to_the_rarer_label_then_to_the_lower_number() -> None:
    first = np.array([[[0, 0, 0, 0, 3, 3, 5, 4]]], np.uint8)
    second = np.array([[[0, 0, 0, 3, 2, 3, 4, 5]]], np.uint8)
    # background loses to 3; of 3 and 2 the rarer one wins; 4 and 5 are equally rare
    assert aggregate([first, second]).tolist() == [[[0, 0, 0, 3, 2, 3, 4, 4]]]
    assert aggregate([second, first]).tolist() == [[[0, 0, 0, 3, 2, 3, 4, 4]]]


def test_three_members_that_say_three_things() -> None:
    said = [np.zeros((1, 1, 4), np.uint8) for _ in range(3)]
    said[1][0, 0, :2] = 1
    said[2][0, 0, 0] = 9
    assert aggregate(said).tolist() == [[[9, 0, 0, 0]]]


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
