"""Resampling of slices: along each axis by itself, without moving anything."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from volumes.resampling import resize, resize_matrix

SIDES = st.tuples(st.integers(1, 24), st.integers(1, 24))


@given(SIDES, SIDES)
@settings(deadline=None)
def test_resampling_is_the_same_along_each_axis_by_itself(shape, target) -> None:
    plane = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    apart = resize_matrix(shape[0], target[0]) @ plane @ resize_matrix(shape[1], target[1]).T
    np.testing.assert_allclose(resize(plane, target), apart, atol=2e-5)


@given(SIDES, SIDES)
@settings(deadline=None)
def test_nothing_is_added_and_the_same_size_is_the_same(shape, target) -> None:
    plane = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    assert np.array_equal(resize(plane, shape), plane)
    found = resize(plane, target)
    assert found.shape == target and found.min() >= plane.min() - 1e-5 and found.max() <= plane.max() + 1e-5
    np.testing.assert_allclose(resize(np.ones(shape), target), 1.0, atol=1e-5)
