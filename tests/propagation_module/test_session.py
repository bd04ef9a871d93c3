"""A session: what a change touches is computed again, nothing else, and the order of changes does not matter.

With an untrained network: LocalSTCN then carries the shape itself, which is all these need.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from propagation_module.checkpoints import build_network
from propagation_module.propagator import Propagator
from propagation_module.session import Session
from propagation_module.stcn import STCN
from volumes.errors import InputError
from volumes.key_slices import KeySlices
from volumes.volume import Geometry, Volume

SHAPE, SPACING = (16, 40, 56), (3.0, 1.5, 2.0)


@pytest.fixture(scope="module")
def propagator() -> Propagator:
    torch.manual_seed(3)
    return Propagator(build_network("small"), pixel=1.5)


@pytest.fixture(scope="module")
def volume() -> Volume:
    array = np.random.default_rng(0).normal(40, 20, SHAPE).astype(np.int16)
    return Volume(array, Geometry.axial(SHAPE, SPACING), "test")


def _plane(**boxes: tuple[int, int, int, int]) -> np.ndarray:
    """`l3=(top, bottom, left, right)` paints label 3."""
    plane = np.zeros(SHAPE[1:], np.uint8)
    for name, (top, bottom, left, right) in boxes.items():
        plane[top:bottom, left:right] = int(name[1:])
    return plane


FIRST = _plane(l3=(10, 22, 16, 30), l5=(26, 36, 34, 48))
MOVED = _plane(l3=(14, 26, 20, 34), l5=(24, 34, 30, 44))
ONLY5 = _plane(l5=(20, 30, 8, 20))


def _run(session: Session, live: bool = True) -> list[int]:
    return [update.z for update in session.propagate(live=live)]


def _same(one: Session, other: Session) -> None:
    assert np.array_equal(one.labels, other.labels)
    assert one.confidence.keys() == other.confidence.keys()
    for label, sure in one.confidence.items():
        assert np.array_equal(sure, other.confidence[label]), label


def _fresh(propagator: Propagator, volume: Volume, said: Session) -> Session:
    """A new session that is told all at once what `said` knows."""
    session = propagator.open(volume)
    for z in said.key_slices.slices():
        session.annotate(z, said.key_slices.mask(z), said.key_slices.named(z), complete=said.key_slices.is_complete(z))
    for label, extent in said.extents.items():
        session.set_extent(label, extent)
    _run(session, live=False)
    return session


def test_both_orders_of_work_and_of_annotation_give_the_same(propagator: Propagator, volume: Volume) -> None:
    planes = {2: FIRST, 8: MOVED, 13: ONLY5}
    sessions = []
    for order, live, between in (((2, 8, 13), False, False), ((13, 2, 8), True, False), ((8, 13, 2), True, True)):
        session = propagator.open(volume)
        for z in order:
            session.annotate(z, planes[z])
            if between:
                _run(session)
        _run(session, live)
        sessions.append(session)
    _same(sessions[0], sessions[1])
    _same(sessions[0], sessions[2])


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("annotate"), st.integers(0, 15), st.sampled_from(["FIRST", "MOVED", "ONLY5"])),
        st.tuples(st.just("absent"), st.integers(0, 15), st.sampled_from([3, 5])),
        st.tuples(st.just("forget"), st.integers(0, 15), st.just(None)),
        st.tuples(st.just("extent"), st.integers(0, 6), st.integers(9, 15)),
        st.tuples(st.just("propagate"), st.integers(0, 12), st.booleans()),
    ),
    min_size=2,
    max_size=7,
)


@settings(max_examples=8, deadline=None)
@given(actions=ACTIONS)
def test_whatever_happened_before_only_what_holds_now_counts(
    propagator: Propagator, volume: Volume, actions: list[tuple]
) -> None:
    """Any history of changes, refusals and broken-off propagations ends where a fresh session does."""
    session = propagator.open(volume)
    session.annotate(7, FIRST)
    for kind, first, second in actions:
        try:
            if kind == "annotate":
                session.annotate(first, globals()[second])
            elif kind == "absent":
                session.mark_absent(first, [second])
            elif kind == "forget" and first != 7:
                session.forget(first)
            elif kind == "extent":
                session.set_extent(3, (first, second))
            elif kind == "propagate":
                for count, _ in enumerate(session.propagate(live=second)):
                    if count >= first:
                        break
        except InputError:
            continue  # a mark that a painted slice contradicts, and the like; nothing has changed
    if not session.key_slices.labels:
        return
    _run(session)
    _same(session, _fresh(propagator, volume, session))


def test_a_correction_touches_only_its_label_between_its_neighbours(propagator: Propagator, volume: Volume) -> None:
    session = propagator.open(volume)
    for z in (1, 6, 11):
        session.annotate(z, FIRST)
    _run(session)
    before = session.labels.copy()
    encoded = session.slices_encoded
    session.annotate(8, _plane(l3=(12, 24, 18, 32)), labels=[3])
    seen = _run(session)
    assert set(seen) <= {7, 8, 9, 10}, "between its neighbours 6 and 11"
    assert {7, 9, 10} <= set(seen)
    changed = np.flatnonzero((before != session.labels).any((1, 2)))
    assert set(changed) <= {7, 8, 9, 10}
    other = (before == 5) & (session.labels != 3)
    assert np.array_equal(other, session.labels == 5), "the other label stays where it was"
    assert session.slices_encoded == encoded, "no slice is encoded twice"


def test_nearest_slices_come_first_and_each_is_settled_in_the_end(propagator: Propagator, volume: Volume) -> None:
    session = propagator.open(volume)
    session.annotate(8, FIRST)
    updates = list(session.propagate())
    order = list(dict.fromkeys(update.z for update in updates if update.z != 8))
    assert [abs(z - 8) for z in order] == sorted(abs(z - 8) for z in order)
    assert {update.z for update in updates if update.settled} == set(range(16)) - {8}
    assert updates[-1].done == updates[-1].total
    assert _run(session) == [], "nothing has changed since"


def test_a_sweep_yields_each_slice_once(propagator: Propagator, volume: Volume) -> None:
    session = propagator.open(volume)
    for z in (3, 12):
        session.annotate(z, FIRST)
    seen = _run(session, live=False)
    assert sorted(seen) == sorted(set(seen)) == [z for z in range(16) if z not in (3, 12)]


def test_broken_off_it_goes_on_where_it_was(propagator: Propagator, volume: Volume) -> None:
    session = propagator.open(volume)
    session.annotate(2, FIRST)
    session.annotate(13, MOVED)
    total = 0
    for update in session.propagate():
        total = update.total
        if update.done >= total // 2:
            break
    rest = list(session.propagate())
    assert rest[-1].total < total, "what was done is not done again"
    _same(session, _fresh(propagator, volume, session))


def test_a_change_ends_what_is_under_way(propagator: Propagator, volume: Volume) -> None:
    session = propagator.open(volume)
    session.annotate(4, FIRST)
    under_way = session.propagate()
    next(under_way)
    session.annotate(11, MOVED)
    assert len(list(under_way)) <= 2, "it would go on from what no longer holds"
    _run(session)
    _same(session, _fresh(propagator, volume, session))


def test_what_a_slice_says_of_other_labels_stays(propagator: Propagator, volume: Volume) -> None:
    session = propagator.open(volume)
    session.annotate(5, FIRST)
    session.annotate(5, _plane(l3=(20, 30, 36, 46)), labels=[3])  # partly over label 5
    mask = session.key_slices.mask(5)
    assert session.key_slices.speaks_for(5) == {3, 5}
    assert (mask[20:30, 36:46] == 3).all(), "new paint wins"
    assert np.array_equal(mask == 5, (FIRST == 5) & (mask != 3)) and not (mask[10:20, 16:30] == 3).any()
    assert np.array_equal(session.labels[5], mask), "seen at once"


def test_absent_and_forgotten(propagator: Propagator, volume: Volume) -> None:
    session = propagator.open(volume)
    session.annotate(5, FIRST)
    session.mark_absent(9, [3])
    _run(session)
    assert not (session.labels[9:] == 3).any() and (session.labels[10] == 5).any()
    session.forget(9)
    _run(session)
    assert (session.labels[9] == 3).any()
    session.forget(5, [5])
    _run(session)
    assert not (session.labels == 5).any() and 5 not in session.confidence
    session.forget(5)
    with pytest.raises(InputError, match="no label on any key slice"):
        _run(session)


def test_bad_changes_change_nothing(propagator: Propagator, volume: Volume) -> None:
    session = propagator.open(volume)
    session.annotate(6, FIRST)
    session.set_extent(3, (4, 9))
    with pytest.raises(InputError, match="label 3 on key slice 12.*between its marks 4 and 9"):
        session.annotate(12, FIRST)
    with pytest.raises(InputError, match="label 3 on key slice 6.*between its marks 7 and 9"):
        session.set_extent(3, (7, 9))
    with pytest.raises(InputError, match="marks 9 and 4 of label 5"):
        session.set_extent(5, (9, 4))
    with pytest.raises(InputError, match="a mask of shape"):
        session.annotate(6, np.zeros((3, 3), np.uint8))
    assert session.key_slices.slices() == [6] and session.extents == {3: (4, 9)}
    session.set_extent(3, None)
    session.annotate(12, FIRST)


def test_paint_outside_the_body_widens_the_grid_for_all(propagator: Propagator) -> None:
    array = np.full((8, 60, 60), -1000, np.int16)
    array[:, 20:40, 20:40] = 50
    volume = Volume(array, Geometry.axial(array.shape, (3.0, 2.0, 2.0)), "small body")
    inside, outside = np.zeros((60, 60), np.uint8), np.zeros((60, 60), np.uint8)
    inside[24:34, 24:34], outside[1:8, 1:8] = 1, 2
    session = propagator.open(volume)
    session.annotate(2, inside)
    _run(session)
    session.annotate(5, outside)
    _run(session)
    _same(session, _fresh(propagator, volume, session))
    assert (session.labels[5][outside > 0] == 2).all()


def test_stcn_sees_other_labels_so_their_change_counts(volume: Volume) -> None:
    torch.manual_seed(0)
    propagator = Propagator(STCN(key_encoder="resnet18", value_encoder="resnet18", value_dim=64), pixel=None)
    session = propagator.open(volume)
    for label in (3, 5):
        session.set_extent(label, (5, 8))
    session.annotate(6, FIRST)
    _run(session)
    session.annotate(6, MOVED, labels=[3, 5])
    _run(session)
    session.annotate(6, _plane(l5=(26, 36, 34, 48)), labels=[5])
    _run(session)
    _same(session, _fresh(propagator, volume, session))


def test_a_session_equals_one_call(propagator: Propagator, volume: Volume) -> None:
    keys = KeySlices(SHAPE)
    keys.add(3, FIRST)
    keys.add(10, MOVED, complete=True)
    result = propagator.propagate(volume, keys, extents={5: (1, 14)})
    session = propagator.open(volume)
    session.annotate(10, MOVED, complete=True)
    session.set_extent(5, (1, 14))
    _run(session)
    session.annotate(3, FIRST)
    _run(session)
    assert np.array_equal(result.labels, session.labels)
