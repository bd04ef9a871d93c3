"""From a volume to key slices: the masks that were chosen, and marks where structures end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_module.choices import SelectionSettings
from reference_module.keying import OnDemand, key_slices, look_again
from reference_module.selection import STRATEGIES

BOX, OTHER, SMALL = (2, 14, 2, 14), (20, 32, 20, 36), (4, 10, 4, 10)


def keyed(one, strategy: str = "consistent", **some):
    return key_slices(one.referencer, one.volume, strategy, SelectionSettings(**some))


def test_only_the_chosen_labels_of_a_slice_are_taken(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(10, 51), 2, BOX)
    one.paint(range(10, 51), 9, OTHER, second=(20, 32, 30, 46), sure=2)  # doubted
    one.paint(range(29, 32), 9, OTHER)  # but for here
    found = keyed(one, per_structure=3)
    assert found.key_slices.slices_with(9) == [30]
    assert len(found.key_slices.slices_with(2)) == 3
    for choice in found.choices:
        mask = found.key_slices.mask(choice.z)
        assert set(np.unique(mask)) - {0} == choice.labels == found.key_slices.speaks_for(choice.z)
        whole = found.segmented.mask(choice.z)
        assert np.array_equal(mask, np.where(np.isin(whole, list(choice.labels)), whole, 0))


def test_whole_masks_for_the_paper_s_strategy(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(10, 51), 2, BOX)
    one.paint(range(29, 32), 2, (0, 18, 0, 18))
    one.paint(range(10, 51), 9, OTHER)
    found = keyed(one, "largest_area")
    assert found.key_slices.slices() == [10, 30]
    assert found.key_slices.slices_with(2) == [10, 30] and found.key_slices.slices_with(9) == [10, 30]


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_nothing_found_is_nothing_keyed(scene, strategy: str) -> None:
    found = keyed(scene((12, 9, 7)), strategy)
    assert len(found.key_slices) == 0 and found.choices == () and found.absent == {}


@settings(max_examples=25, deadline=None)
@given(low=st.integers(0, 45), length=st.integers(6, 60), every=st.integers(1, 7))
def test_the_marks_lie_just_beyond_the_ends(scene, low: int, length: int, every: int) -> None:
    one = scene((60, 20, 20))
    high = min(low + length, 60) - 1
    one.paint(range(low, high + 1), 5, BOX)
    found = keyed(one, every=every)
    if not found.key_slices.labels:
        assert not [z for z in found.segmented.slices if low <= z <= high], "it fell between the slices"
        return
    assert found.absent.get(5, []) == [z for z in (low - 1, high + 1) if 0 <= z < 60]


def test_a_doubtful_end_is_no_end(scene) -> None:
    """Beyond 40 one member goes on seeing it to 46: the mark comes after that."""
    one = scene((61, 40, 40))
    one.paint(range(20, 41), 5, BOX)
    one.paint(range(41, 47), 5, SMALL, second=(30, 31, 30, 31), sure=3)
    assert keyed(one).absent == {5: [19, 47]}


def test_what_one_member_alone_sees_too_faintly_is_beyond_the_end(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(20, 41), 5, BOX)
    one.paint(range(41, 47), 5, (0, 0, 0, 0), second=SMALL, sure=0)
    assert keyed(one).absent == {5: [19, 41]}


def test_a_structure_found_by_looking_again_gets_its_ends(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(10, 51), 2, OTHER)
    one.paint(range(31, 35), 9, SMALL)  # between the slices that are looked at first
    before = keyed(one)
    after = look_again(one.referencer, one.volume, before, {9: [33]})
    assert after.key_slices.slices_with(9) == [33] and after.absent[9] == [30, 35]
    assert after.absent[2] == before.absent[2]


def test_parts_that_lie_apart_are_marked_between(scene) -> None:
    one = scene((101, 40, 40))
    one.paint(range(10, 36), 5, BOX)
    one.paint(range(65, 93), 5, BOX)
    assert keyed(one).absent == {5: [9, 36, 64, 93]}


def test_a_slice_that_the_pair_missed_is_no_end(scene) -> None:
    one = scene((61, 40, 40))
    one.paint([z for z in range(10, 51) if z != 30], 5, BOX)
    assert keyed(one).absent == {5: [9, 51]}


def test_marks_without_a_budget_are_looser_but_true(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(12, 44), 5, BOX)
    assert keyed(one, more=0).absent == {5: [10, 45]}


def test_on_demand_segments_each_slice_once(scene) -> None:
    one = scene((31, 40, 40))
    referencer, volume = one.referencer, one.volume
    first = referencer.segment(volume, [0, 15, 30])
    one.pair.batches.clear()
    segment = OnDemand(referencer, volume, first, 3)
    assert segment([15, 7, 0]).slices == (0, 7, 15, 30)
    assert segment([7, 9, 8, 10]).slices == (0, 7, 8, 9, 15, 30), "the first ones first, until the budget ends"
    assert segment([20]).slices == (0, 7, 8, 9, 15, 30)
    assert one.slices_seen == 3


def test_looking_again_adds_what_is_good(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(10, 51), 2, OTHER)
    one.paint(range(31, 35), 9, SMALL)  # between the slices that are looked at first
    before = keyed(one)
    assert before.key_slices.labels == (2,)
    after = look_again(one.referencer, one.volume, before, {9: [33, 22], 2: [3]})
    assert after.key_slices.slices_with(9) == [33]
    assert "cord (looked at again): members agree to Dice 1.00" in next(c.reason for c in after.choices if c.z == 33)
    assert set(before.choices) <= set(after.choices)
    for z in before.key_slices.slices():
        assert np.array_equal(after.key_slices.mask(z), before.key_slices.mask(z))
    assert 22 in after.absent[9] and 3 in after.absent[2] and set(before.absent[2]) <= set(after.absent[2])


def test_looking_again_at_what_flickers_or_is_doubted_changes_nothing(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(10, 51), 2, OTHER)
    one.paint([33], 9, SMALL)
    one.paint(range(22, 25), 9, SMALL, second=(4, 10, 8, 14))
    before = keyed(one)
    after = look_again(one.referencer, one.volume, before, {9: [33, 23]})
    assert after.key_slices.labels == (2,) and after.choices == before.choices and after.absent == before.absent


def test_looking_again_adds_to_a_key_slice(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(10, 51), 2, OTHER)
    one.paint(range(28, 33), 9, SMALL)
    before = keyed(one, "largest_area", at_most=2, every=60)
    assert len(before.key_slices) == 0
    after = look_again(one.referencer, one.volume, before, {2: [30]})
    assert after.key_slices.speaks_for(30) == {2}
    both = look_again(one.referencer, one.volume, after, {9: [30]})
    assert both.key_slices.speaks_for(30) == {2, 9} and len(both.choices) == 2


def test_same_volume_same_key_slices(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(10, 51), 2, BOX)
    one.paint(range(15, 40), 9, OTHER)
    first, second = keyed(one), keyed(one)
    assert first.choices == second.choices and first.absent == second.absent
