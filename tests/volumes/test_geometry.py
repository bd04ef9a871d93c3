"""Canonical order and its inverse."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from volumes import Geometry, InputError, Volume

ORDERS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def axis_direction(order: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[float, ...]:
    """Direction cosines with file axis i along LPS axis order[0][i], against it where order[1][i] is -1."""
    matrix = np.zeros((3, 3))
    for axis, (physical, sign) in enumerate(zip(*order, strict=True)):
        matrix[physical, axis] = sign
    return tuple(matrix.ravel())


def oblique_direction(seed: int, degrees: float) -> tuple[float, ...]:
    """An axis order turned by up to so many degrees about a random axis (Rodrigues' formula)."""
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    start = np.asarray(axis_direction(ORDERS[int(rng.integers(48))])).reshape(3, 3)
    return tuple((turn @ start).ravel())


sizes = st.tuples(*[st.integers(1, 5)] * 3)
numbers = st.tuples(*[st.floats(0.1, 9)] * 3)


@given(sizes, numbers, st.sampled_from(ORDERS))
def test_every_axis_order_is_inverted_exactly(size, spacing, order) -> None:
    geometry = Geometry(size, spacing, (1.0, 2.0, 3.0), axis_direction(order))
    array = np.arange(np.prod(size), dtype=np.int16).reshape(size[::-1])
    canonical = geometry.to_canonical(array)
    assert canonical.flags.c_contiguous
    assert canonical.shape == geometry.shape_dhw
    np.testing.assert_array_equal(geometry.to_file(canonical), array)


@given(sizes, numbers, numbers, st.integers(0, 10_000), st.floats(0, 180))
def test_oblique_grids_are_inverted_and_voxels_stay_where_they_are(
    size, spacing, origin, seed, degrees
) -> None:
    geometry = Geometry(size, spacing, origin, oblique_direction(seed, degrees))
    array = np.arange(np.prod(size), dtype=np.int16).reshape(size[::-1])
    canonical = geometry.to_canonical(array)
    np.testing.assert_array_equal(geometry.to_file(canonical), array)

    image = sitk.Image([int(n) for n in size], sitk.sitkInt16)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(geometry.direction)
    z, y, x = (int(n) - 1 for n in geometry.shape_dhw)
    for voxel in ((0, 0, 0), (z, 0, 0), (0, y, 0), (0, 0, x), (z, y, x)):
        index = np.argwhere(array == canonical[voxel])[0][::-1]
        point = image.TransformIndexToPhysicalPoint([int(i) for i in index])
        np.testing.assert_allclose(geometry.position_of(*voxel), point, atol=1e-9)


@given(st.integers(0, 10_000), st.floats(0, 44))
def test_canonical_axes_rise_to_superior_posterior_left(seed, degrees) -> None:
    geometry = Geometry((4, 5, 6), (1.0, 1.5, 2.0), (0.0, 0.0, 0.0), oblique_direction(seed, degrees))
    start = np.asarray(geometry.position_of(0, 0, 0))
    for step, physical in (((1, 0, 0), 2), ((0, 1, 0), 1), ((0, 0, 1), 0)):
        moved = np.asarray(geometry.position_of(*step)) - start
        assert moved[physical] > 0
        assert np.linalg.norm(moved) == pytest.approx(geometry.spacing_dhw[step.index(1)])


def test_identity_direction_is_canonical() -> None:
    geometry = Geometry.axial((3, 4, 5), (2.0, 0.5, 0.75))
    assert geometry.size_xyz == (5, 4, 3)
    assert geometry.shape_dhw == (3, 4, 5)
    assert geometry.spacing_dhw == (2.0, 0.5, 0.75)
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    np.testing.assert_array_equal(geometry.to_canonical(array), array)


def test_an_exact_tie_keeps_the_file_order() -> None:
    half = np.sqrt(0.5)
    direction = (half, -half, 0.0, half, half, 0.0, 0.0, 0.0, 1.0)
    assert Geometry((2, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), direction).axes == (0, 1, 2)


def test_same_grid_is_exact_and_is_close_forgives_rounding() -> None:
    grid = Geometry((100, 100, 50), (0.8, 0.8, 2.5), (-40.0, 3.0, 7.0))
    rounded = Geometry((100, 100, 50), (0.8 + 1e-8, 0.8, 2.5), (-40.0, 3.0, 7.0 + 1e-5))
    shifted = Geometry((100, 100, 50), (0.8, 0.8, 2.5), (-40.0, 3.0, 8.0))
    stretched = Geometry((100, 100, 50), (0.81, 0.8, 2.5), (-40.0, 3.0, 7.0))
    assert grid.same_grid(grid) and not grid.same_grid(rounded)
    assert grid.is_close(rounded)
    assert not grid.is_close(shifted) and not grid.is_close(stretched)


def test_is_close_knows_the_same_grid_stored_along_other_axes() -> None:
    grid = Geometry((4, 5, 6), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0))
    flipped = Geometry((4, 5, 6), (1.0, 1.0, 2.0), (3.0, 4.0, 0.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    assert grid.is_close(flipped) and not grid.same_grid(flipped)


def test_a_volume_must_fit_its_geometry() -> None:
    geometry = Geometry.axial((3, 4, 5), (2.0, 1.0, 1.0))
    assert Volume(np.zeros((3, 4, 5), np.int16), geometry).spacing == (2.0, 1.0, 1.0)
    with pytest.raises(InputError, match="shape"):
        Volume(np.zeros((3, 5, 4), np.int16), geometry)
    with pytest.raises(InputError, match="float32"):
        Volume(np.zeros((3, 4, 5), np.float32), geometry)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="spacing"):
        Volume(np.zeros((3, 4, 5), np.int16), Geometry.axial((3, 4, 5), (0.0, 1.0, 1.0)))
