"""Components of a label map: one labelling for all labels, and neighbours of different labels stay apart."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from baseline3d.components import components_of, kept, occupied, without_small

TOUCHING = np.ones((3, 3, 3), int)


def label_maps() -> st.SearchStrategy[np.ndarray]:
    shapes = arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)
    return arrays.arrays(np.uint8, shapes, elements=st.sampled_from([0, 0, 1, 2, 200]))


def one_by_one(labels: np.ndarray, decide: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """The same with a labelling for each label: `decide` says which components, by their sizes, stay."""
    out = np.zeros_like(labels)
    for label in np.unique(labels[labels > 0]):
        numbers, count = ndimage.label(labels == label, TOUCHING)
        stays = decide(np.bincount(numbers.ravel(), minlength=count + 1)[1:], int(label))
        out[np.isin(numbers, np.flatnonzero(stays) + 1)] = label
    return out


@given(label_maps())
@settings(max_examples=60, deadline=None)
def test_they_are_those_of_a_labelling_for_each_label(labels: np.ndarray) -> None:
    found = components_of(labels)
    sizes = []
    for label in np.unique(labels[labels > 0]):
        numbers, _ = ndimage.label(labels == label, TOUCHING)
        sizes += [(int(label), int(size)) for size in np.bincount(numbers.ravel())[1:]]
    assert sorted(zip(found.labels[1:].tolist(), found.sizes[1:].tolist(), strict=True)) == sorted(sizes)
    assert (found.numbers > 0).sum() == found.sizes[1:].sum() == (labels > 0).sum()
    assert np.array_equal(found.labels[found.numbers], labels[found.box])


@given(label_maps(), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.6, 1.0]))
@settings(max_examples=60, deadline=None)
def test_small_ones_go(labels: np.ndarray, share: float) -> None:
    def decide(sizes: np.ndarray, label: int) -> np.ndarray:
        return (sizes >= share * sizes.sum()) | (np.arange(len(sizes)) == sizes.argmax())

    found = without_small(labels, share)
    # Which of equals is the first is the library's affair; how many voxels stay is not.
    expected = one_by_one(labels, decide)
    assert np.array_equal(np.bincount(found.ravel(), minlength=256), np.bincount(expected.ravel(), minlength=256))
    assert ((found == labels) | (found == 0)).all()


def test_neighbours_of_different_labels_do_not_merge() -> None:
    """A liver of 3 x 3 x 3 beside a kidney of two voxels and a liver's crumb beyond it: the crumb alone goes."""
    labels = np.zeros((5, 5, 9), np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    labels[2, 2, 4:6] = 2
    labels[2, 2, 6] = 1
    found = without_small(labels, 0.1)
    assert found[2, 2].tolist() == [0, 1, 1, 1, 2, 2, 0, 0, 0]
    assert labels[2, 2, 6] == 1, "the map that was given is as it was"
    assert components_of(labels).sizes[1:].tolist().count(2) == 1


def test_corners_touch() -> None:
    labels = np.zeros((2, 2, 2), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = 7
    assert components_of(labels).sizes.tolist()[1:] == [2]


def test_the_largest_of_each_label() -> None:
    labels = np.array([[[1, 1, 0, 1, 0, 2, 2, 0, 2, 0, 1]]], np.uint8)
    found = components_of(labels)
    assert kept(labels, found, found.largest)[0, 0].tolist() == [1, 1, 0, 0, 0, 2, 2, 0, 0, 0, 0]
    assert found.totals[found.labels == 1].tolist() == [4, 4, 4]


def test_an_empty_map() -> None:
    empty = np.zeros((3, 4, 5), np.uint8)
    assert occupied(empty) == (slice(0, 0),) * 3
    assert not without_small(empty, 0.5).any()
    assert components_of(empty).sizes.tolist() == [0]


def _calls(work: Callable[[], object]) -> int:
    """How many functions `work` calls, Python's and compiled ones."""
    count = 0

    def counted(frame: object, event: str, what: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_the_work_does_not_grow_with_the_number_of_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same 250 blocks with 1, 5 and 250 labels: one labelling, over as many voxels, and as many calls in all."""
    import cc3d

    labellings = []
    library = cc3d.connected_components

    def counted(array: np.ndarray, **settings: object) -> np.ndarray:
        labellings.append(array.size)
        return library(array, **settings)

    monkeypatch.setattr(cc3d, "connected_components", counted)
    blocks = np.zeros((2, 5, 25), int)
    blocks[:] = np.arange(250).reshape(blocks.shape)
    apart = np.zeros((3, 3, 3), np.uint8)
    apart[:2, :2, :2] = 1
    calls = {}
    for count in (1, 5, 250):
        labels = np.kron(blocks % count + 1, apart).astype(np.uint8)
        without_small(labels, 0.1)  # what is imported or cached the first time
        labellings.clear()
        calls[count] = _calls(lambda labels=labels: without_small(labels, 0.1))
        assert labellings == [5 * 14 * 74]
    assert calls[1] == calls[5] == calls[250] > 0
