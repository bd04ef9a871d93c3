"""Key slices: what each speaks for, and start and stop marks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volumes import Geometry, InputError, KeySlices, LabelMap, LabelTable, read_extents

SHAPE = (6, 4, 5)


def mask(*labels: int) -> np.ndarray:
    painted = np.zeros(SHAPE[1:], np.uint8)
    painted.ravel()[: len(labels)] = labels
    return painted


def test_a_slice_speaks_for_what_occurs_on_it() -> None:
    keys = KeySlices(SHAPE)
    keys.add(4, mask(1, 3))
    keys.add(1, mask(3))
    assert keys.slices() == [1, 4] and len(keys) == 2 and 4 in keys
    assert keys.speaks_for(1) == {3} and keys.speaks_for(4) == {1, 3}
    assert keys.labels == (1, 3)
    assert keys.slices_of(1) == [4] and keys.slices_of(3) == [1, 4] and keys.slices_of(9) == []


def test_absent_is_said_explicitly() -> None:
    keys = KeySlices(SHAPE)
    keys.add(0, mask(1))
    keys.add(2, mask(3), labels=[1, 3])
    assert keys.slices_of(1) == [0, 2] and keys.slices_with(1) == [0]
    keys.add(3, mask(), labels=[3])
    assert keys.speaks_for(3) == {3} and keys.labels == (1, 3)


def test_complete_is_resolved_against_labels_added_later() -> None:
    keys = KeySlices(SHAPE)
    keys.add(0, mask(1), complete=True)
    assert keys.speaks_for(0) == {1}
    keys.add(2, mask(7))
    assert keys.speaks_for(0) == {1, 7} and keys.speaks_for(2) == {7}


def test_what_was_painted_can_neither_be_changed_through_the_input_nor_the_output() -> None:
    keys = KeySlices(SHAPE)
    painted = mask(1, 2)
    keys.add(0, painted)
    painted[:] = 9
    np.testing.assert_array_equal(keys.mask(0), mask(1, 2))
    with pytest.raises(ValueError, match="read-only"):
        keys.mask(0)[0, 0] = 5
    with pytest.raises(ValueError, match="WRITEABLE"):
        keys.mask(0).setflags(write=True)


def test_a_slice_can_be_replaced() -> None:
    keys = KeySlices(SHAPE)
    keys.add(0, mask(1))
    keys.add(0, mask(2))
    assert keys.labels == (2,)


@pytest.mark.parametrize(
    ("z", "painted", "labels"),
    [
        (6, mask(1), None),
        (-1, mask(1), None),
        (0, np.zeros((5, 4), np.uint8), None),
        (0, mask(1).astype(np.float32), None),
        (0, np.full(SHAPE[1:], 256), None),
        (0, np.full(SHAPE[1:], -1), None),
        (0, mask(1, 2), [1]),
        (0, mask(1), [1, 256]),
        (0, mask(1), [0, 1]),
    ],
)
def test_bad_key_slices(z, painted, labels) -> None:
    with pytest.raises(InputError):
        KeySlices(SHAPE, where="keys.nii.gz").add(z, painted, labels)


@given(st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_every_labelled_slice_of_a_label_map_counts(values) -> None:
    array = np.zeros(SHAPE, np.uint8)
    for z, value in enumerate(values):
        array[z, 1, 2] = value
    labels = LabelMap(array, Geometry.axial(SHAPE, (1.0, 1.0, 1.0)), LabelTable.default([1, 2, 3]))
    if not any(values):
        with pytest.raises(InputError):
            KeySlices.from_label_map(labels)
        return
    keys = KeySlices.from_label_map(labels)
    assert keys.slices() == [z for z, value in enumerate(values) if value]
    assert all(keys.speaks_for(z) == {values[z]} for z in keys.slices())
    assert keys.labels == labels.present()


def test_chosen_slices_and_complete() -> None:
    array = np.zeros(SHAPE, np.uint8)
    array[1], array[4] = mask(1), mask(1, 2)
    labels = LabelMap(array, Geometry.axial(SHAPE, (1.0, 1.0, 1.0)), LabelTable.default([1, 2]))
    keys = KeySlices.from_label_map(labels, [4, 1, 0], complete=True)
    assert keys.slices() == [0, 1, 4]
    assert all(keys.speaks_for(z) == {1, 2} for z in (0, 1, 4))
    assert KeySlices.from_label_map(labels, [1]).labels == (1,)


def test_extents_by_name_and_number(tmp_path) -> None:
    path = tmp_path / "marks.json"
    path.write_text('{"liver": [12, 88], "5": [3, 3]}')
    assert read_extents(path, LabelTable.read("flare22"), 100) == {1: (12, 88), 5: (3, 3)}


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[1, 2]",
        json.dumps({"hart": [1, 2]}),
        json.dumps({"liver": [5, 4]}),
        json.dumps({"liver": [-1, 4]}),
        json.dumps({"liver": [1, 10]}),
        json.dumps({"liver": [1]}),
        json.dumps({"liver": 3}),
        json.dumps({"liver": [1.5, 4]}),
        json.dumps({"liver": [True, 4]}),
        json.dumps({"liver": [1, 4], "1": [2, 5]}),
    ],
)
def test_bad_extents(content, tmp_path) -> None:
    path = tmp_path / "marks.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_extents(path, LabelTable.read("flare22"), 10)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_extents(tmp_path) -> None:
    with pytest.raises(InputError):
        read_extents(tmp_path / "none.json", LabelTable.read("flare22"), 10)
