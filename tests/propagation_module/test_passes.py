"""Which slices a label is carried over."""

from __future__ import annotations

import numpy as np

from propagation_module.passes import Stretch, stretches
from volumes.key_slices import KeySlices

DEPTH = 20


def _keys(*present: int, absent: tuple[int, ...] = ()) -> KeySlices:
    keys = KeySlices((DEPTH, 4, 4))
    painted = np.zeros((4, 4), np.uint8)
    painted[1, 1] = 3
    for z in present:
        keys.add(z, painted)
    for z in absent:
        keys.add(z, np.zeros((4, 4), np.uint8), labels=[3])
    return keys


def _spans(found: list[Stretch]) -> set[tuple[int, int]]:
    return {(s.start, s.end) for s in found}


def test_one_key_slice_reaches_both_ends() -> None:
    found = stretches(_keys(7), {}, 3, DEPTH)
    assert _spans(found) == {(7, 19), (7, 0)}
    assert not any(s.certain or s.between for s in found)


def test_between_key_slices_both_directions_meet() -> None:
    found = stretches(_keys(5, 12), {}, 3, DEPTH)
    assert _spans(found) == {(5, 11), (12, 6), (12, 19), (5, 0)}
    assert {(s.start, s.end) for s in found if s.between} == {(5, 11), (12, 6)}


def test_neighbouring_key_slices_leave_nothing_between() -> None:
    assert _spans(stretches(_keys(5, 6), {}, 3, DEPTH)) == {(6, 19), (5, 0)}


def test_absent_is_not_unknown() -> None:
    found = stretches(_keys(5, absent=(9,)), {}, 3, DEPTH)
    up = next(s for s in found if s.direction > 0)
    assert (up.start, up.end, up.far, up.far_present, up.certain) == (5, 8, 9, False, False)
    # A slice that was never spoken of stops nothing.
    assert _spans(stretches(_keys(5), {}, 3, DEPTH)) == {(5, 19), (5, 0)}


def test_marks_end_a_label_and_say_that_it_reaches_them() -> None:
    found = stretches(_keys(7), {3: (4, 10)}, 3, DEPTH)
    assert _spans(found) == {(7, 10), (7, 4)}
    assert all(s.certain and not s.far_present for s in found)
    assert {s.far for s in found} == {11, 3}


def test_a_mark_at_the_volumes_end_has_no_slice_beyond() -> None:
    found = stretches(_keys(7), {3: (0, 19)}, 3, DEPTH)
    assert {s.far for s in found} == {None}


def test_every_slice_is_covered_once_a_direction() -> None:
    found = stretches(_keys(3, 9, 15, absent=(18,)), {}, 3, DEPTH)
    for z in range(DEPTH):
        covering = [s for s in found if z in s]
        assert len(covering) == len({s.direction for s in covering})
        if z in (3, 9, 15, 18):
            assert not covering
