"""Which slice is suggested next: properties that an annotator would notice."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propagation_module.suggestion import areas_of, suggest
from volumes.key_slices import KeySlices

MARKED = {1: (5, 54)}


def painted(depth, slices, labels=(1,), *, absent=()):
    """Key slices that each hold all of `labels`, one pixel each; on `absent` the first label is not there."""
    keys = KeySlices((depth, 2, 8))
    for z in slices:
        mask = np.zeros((2, 8), np.uint8)
        mask.ravel()[: len(labels)] = labels
        if z in absent:
            mask[mask == labels[0]] = 0
        keys.add(z, mask, labels)
    return keys


def areas(depth, sizes):
    found = np.zeros((depth, 256), np.int64)
    for label, (low, high, size) in sizes.items():
        found[low : high + 1, label] = size
    return found


def certain(depth, labels=(1,), value=0.7):
    return {label: np.full(depth, value, np.float32) for label in labels}


def annotated(count, depth=60, value=0.7):
    """One label with marks and the same confidence everywhere, annotated where it is suggested."""
    chosen: list[int] = []
    for _ in range(count):
        found = suggest(
            areas(depth, {1: (5, 54, 9)}) if chosen else areas(depth, {}),
            certain(depth, value=value) if chosen else {},
            painted(depth, chosen),
            MARKED,
            spacing=3.0,
        )
        chosen.append(found.z)
    return chosen


@pytest.mark.parametrize("value", [0.0, 0.7, 1.0])
def test_with_the_same_confidence_everywhere_slices_spread_evenly(value):
    chosen = annotated(7, value=value)
    assert chosen[0] in (29, 30)  # the middle of the marks
    ordered = sorted(chosen)
    gaps = np.diff([4, *ordered, 55])
    assert gaps.max() <= 10
    assert gaps[1:-1].min() >= 4


def test_nothing_is_suggested_twice_until_nothing_is_left():
    chosen = annotated(50)
    assert sorted(chosen) == list(range(5, 55))
    everywhere = painted(60, range(5, 55))
    assert suggest(areas(60, {1: (5, 54, 9)}), certain(60), everywhere, MARKED, spacing=3.0) is None


def test_nothing_known_nothing_suggested():
    assert suggest(areas(9, {}), {}, KeySlices((9, 2, 8)), {}, spacing=1.0) is None


@given(place=st.integers(12, 47), width=st.integers(2, 4))
@settings(deadline=None)
def test_doubt_draws_the_suggestion(place, width):
    confidence = certain(60, value=0.97)
    confidence[1][place - width : place + width + 1] = 0.1
    keys = painted(60, [5, 54])
    found = suggest(areas(60, {1: (5, 54, 9)}), confidence, keys, MARKED, spacing=3.0)
    assert abs(found.z - place) <= width


def test_a_small_structure_counts_as_much_as_a_large_one():
    sizes = areas(60, {1: (0, 25, 20000), 2: (34, 59, 12)})
    confidence = {1: certain(60, value=0.8)[1], 2: certain(60, value=0.6)[1]}
    keys = painted(60, [0, 25, 34, 59], (1, 2))
    found = suggest(sizes, confidence, keys, {1: (0, 25), 2: (34, 59)}, spacing=3.0)
    assert found.label == 2
    assert 34 < found.z < 59


def test_a_label_without_key_slice_comes_first_and_the_slice_serves_most_of_them():
    confidence = certain(60, value=0.05)
    keys = painted(60, [5, 54])
    extents = {**MARKED, 2: (10, 20), 3: (18, 30), 4: (40, 58)}
    found = suggest(areas(60, {1: (5, 54, 9)}), confidence, keys, extents, spacing=3.0, names={2: "larynx"})
    assert 18 <= found.z <= 20
    assert set(found.labels[:2]) == {2, 3}
    assert "larynx" in found.reason
    assert "no key slice yet" in found.reason


def test_where_a_label_was_absent_between_its_marks_it_is_looked_for_elsewhere():
    keys = painted(60, [30], (1,), absent=[30])
    found = suggest(areas(60, {}), {}, keys, MARKED, spacing=3.0)
    assert found.label == 1
    assert abs(found.z - 30) >= 10
    assert 5 < found.z < 54


def test_beyond_its_last_key_slice_an_unmarked_label_counts_as_far_as_it_was_predicted():
    sizes = areas(60, {1: (20, 50, 9)})
    keys = painted(60, [20, 24])
    found = suggest(sizes, certain(60), keys, {}, spacing=3.0)
    assert 28 <= found.z <= 50


def test_where_an_unmarked_label_was_given_up_it_is_looked_for_as_far_as_that_is_in_doubt():
    sizes, keys, sure = areas(60, {1: (20, 24, 9)}), painted(60, [20, 24]), certain(60)[1]
    in_doubt = suggest(sizes, {1: sure}, keys, {}, spacing=3.0)
    assert 24 < in_doubt.z <= 30 or 14 <= in_doubt.z < 20, "beyond its ends, not far"
    sure[:20] = sure[25:] = 1.0
    assert 20 < suggest(sizes, {1: sure}, keys, {}, spacing=3.0).z < 24


def test_nothing_beyond_the_marks():
    sizes = areas(60, {1: (0, 59, 9)})
    confidence = certain(60, value=0.0)
    found = suggest(sizes, confidence, painted(60, [30]), {1: (28, 34)}, spacing=3.0)
    assert 28 <= found.z <= 34


def test_what_should_be_there_and_was_not_found_is_suggested():
    sizes = areas(60, {1: (5, 54, 9)})
    sizes[35:50, 1] = 0  # lost between two key slices, and sure of it
    found = suggest(sizes, certain(60, value=1.0), painted(60, [5, 30, 54]), MARKED, spacing=3.0)
    assert 35 <= found.z < 50
    assert "nothing found" in found.reason


def test_the_reason_names_structure_confidence_and_distance():
    confidence = certain(60, value=0.9)
    confidence[1][:] = 0.9
    confidence[1][19] = 0.0
    confidence[1][20] = 0.41
    sizes = areas(60, {1: (5, 54, 1)})
    sizes[20, 1] = 10000
    found = suggest(sizes, confidence, painted(60, [6, 54]), MARKED, spacing=3.0, names={1: "oesophagus"})
    assert found.z == 20
    assert found.reason == "oesophagus: confidence 0.41, 14 slices (42 mm) from the nearest key slice"
    assert suggest(sizes, confidence, painted(60, [6, 54]), MARKED, spacing=3.0).reason.startswith("label 1: ")


def test_a_complete_slice_without_any_label_leaves_nothing_to_a_label_marked_on_it_alone():
    keys = KeySlices((6, 2, 8))
    for z, complete in ((1, False), (2, True), (3, False)):
        keys.add(z, np.zeros((2, 8), np.uint8), [1] if z != 2 else [], complete=complete)
    sizes = areas(6, {})
    assert suggest(sizes, {}, keys, {1: (2, 2)}, spacing=2.0) is None
    assert suggest(sizes, {}, keys, {1: (2, 4)}, spacing=2.0).z == 4


@st.composite
def states(draw):
    depth = draw(st.integers(6, 40))
    labels = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    slices = sorted({int(z) for z in rng.integers(0, depth, draw(st.integers(0, 5)))})
    extents = {}
    for label in labels:
        if rng.random() < 0.6:
            low, high = sorted(int(z) for z in rng.integers(0, depth, 2))
            extents[label] = (low, high)
    keys = KeySlices((depth, 2, 8))
    for z in slices:
        there = [label for label in labels if rng.random() < 0.7 and _within(z, extents.get(label))]
        mask = np.zeros((2, 8), np.uint8)
        mask.ravel()[: len(there)] = there
        keys.add(z, mask, labels if rng.random() < 0.5 else there, complete=bool(rng.random() < 0.3))
    sizes = np.zeros((depth, 256), np.int64)
    for label in labels:
        sizes[:, label] = rng.integers(0, 50, depth) * (rng.random(depth) < 0.7)
    for z in slices:
        for label in keys.speaks_for(z):
            sizes[z, label] = int((keys.mask(z) == label).sum())
    confidence = {label: rng.random(depth).astype(np.float32) for label in keys.labels}
    return sizes, confidence, keys, extents


def _within(z, extent):
    return extent is None or extent[0] <= z <= extent[1]


@given(states())
@settings(deadline=None, max_examples=300)
def test_whatever_the_state_the_slice_is_of_use(state):
    sizes, confidence, keys, extents = state
    found = suggest(sizes, confidence, keys, extents, spacing=2.0)
    assert found == suggest(sizes, confidence, keys, extents, spacing=2.0)
    if found is None:  # then none lacks a key slice, between marks on which it could be painted
        for label in extents:
            # a complete key slice speaks for marked labels too, even while no label occurs on any key slice
            spoken = {*keys.slices_of(label), *filter(keys.is_complete, keys.slices())}
            low, high = extents[label]
            assert set(range(low, high + 1)) <= spoken or keys.slices_with(label)
        return
    assert found.gain > 0.0
    assert found.reason.startswith(f"label {found.label}")
    assert "\n" not in found.reason
    for label in found.labels:
        assert _within(found.z, extents.get(label))
        assert found.z not in keys.slices_of(label)


@given(states())
@settings(deadline=None)
def test_names_of_labels_do_not_matter(state):
    """Numbers of labels are names: other numbers, the same slice and gain."""
    sizes, confidence, keys, extents = state
    found = suggest(sizes, confidence, keys, extents, spacing=2.0)
    other = np.zeros_like(sizes)
    other[:, 100:110] = sizes[:, 9::-1]
    renumbered = KeySlices(keys.shape_dhw)
    for z in keys.slices():
        mask = np.where(keys.mask(z) > 0, 109 - keys.mask(z), 0).astype(np.uint8)
        renumbered.add(z, mask, [109 - label for label in keys.named(z)], keys.is_complete(z))
    again = suggest(
        other,
        {109 - label: values for label, values in confidence.items()},
        renumbered,
        {109 - label: extent for label, extent in extents.items()},
        spacing=2.0,
    )
    assert (found is None) == (again is None)
    if found is not None:
        assert again.z == found.z
        assert again.gain == pytest.approx(found.gain)


def test_areas_are_counted_per_slice_and_label():
    labels = np.random.default_rng(0).integers(0, 256, (5, 17, 13)).astype(np.uint8)
    found = areas_of(labels)
    for z in range(5):
        assert np.array_equal(found[z], np.bincount(labels[z].ravel(), minlength=256))


def test_a_suggestion_takes_no_time():
    depth, labels = 300, range(1, 14)
    rng = np.random.default_rng(0)
    sizes = rng.integers(0, 5000, (depth, 256))
    confidence = {label: rng.random(depth).astype(np.float32) for label in labels}
    keys = painted(depth, range(10, depth, 30), tuple(labels))
    extents = {label: (0, depth - 1) for label in labels}
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        suggest(sizes, confidence, keys, extents, spacing=3.0)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.05  # 12 ms where nothing else runs
