"""What the key slices alone say of other slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagation_module.priors import LIMIT_MM, shape_between, signed_distance
from volumes.resampling import cut, resize, square_shape


def _disc(radius: float, size: int = 64) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.hypot(y, x) <= radius


def test_distance_is_in_millimetres_and_zero_at_the_outline() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    distance = signed_distance(mask, 2.0)
    assert distance[20, 10] == pytest.approx(1.0)  # half a pixel inside
    assert distance[20, 9] == pytest.approx(-1.0)
    assert distance[20, 19] == pytest.approx(19.0, abs=0.1)
    assert np.array_equal(distance > 0, mask)


def test_empty_and_full_masks() -> None:
    assert (signed_distance(np.zeros((8, 8), bool), 1.0) == -LIMIT_MM).all()
    assert (signed_distance(np.ones((8, 8), bool), 1.0) == LIMIT_MM).all()


@given(st.floats(0.0, 1.0))
def test_between_two_discs_lies_the_disc_between(fraction: float) -> None:
    near, far = signed_distance(_disc(8), 1.0), signed_distance(_disc(20), 1.0)
    area = (shape_between(near, far, fraction) > 0).sum()
    expected = np.pi * (8 + 12 * fraction) ** 2
    assert area == pytest.approx(expected, rel=0.12)


def test_key_slices_themselves_are_met_exactly() -> None:
    a, b = _disc(8), np.roll(_disc(14), 5, axis=0)
    near, far = signed_distance(a, 1.0), signed_distance(b, 1.0)
    assert np.array_equal(shape_between(near, far, 0.0) > 0, a)
    assert np.array_equal(shape_between(near, far, 1.0) > 0, b)


def test_towards_an_absent_slice_it_shrinks_like_a_ball() -> None:
    near = signed_distance(_disc(20), 1.0)
    areas = [int((shape_between(near, None, f) > 0).sum()) for f in (0.0, 0.3, 0.6, 0.9, 1.0)]
    assert areas[0] == _disc(20).sum()
    assert areas == sorted(areas, reverse=True)
    assert areas[2] == pytest.approx(np.pi * (20 * 0.8) ** 2, rel=0.1)  # sqrt(1 - 0.6^2) = 0.8
    assert areas[-1] == 0


@given(st.integers(3, 40), st.integers(3, 40), st.floats(0.4, 5.0), st.floats(0.4, 5.0))
def test_square_pixels_cover_the_same_rectangle(height: int, width: int, dy: float, dx: float) -> None:
    rows, columns = square_shape((height, width), (dy, dx), 1.5)
    assert abs(rows * 1.5 - height * dy) <= 0.75 + 1.5 * (rows == 1)
    assert abs(columns * 1.5 - width * dx) <= 0.75 + 1.5 * (columns == 1)


def test_a_coarse_mask_survives_the_fine_grid_and_back() -> None:
    """Head-neck planning CT has 4 mm pixels: a cord of 3 x 3 pixels must come back as it was."""
    mask = np.zeros((30, 30), bool)
    mask[10:13, 12:15] = True
    mask[20, 20:24] = True
    shape = square_shape(mask.shape, (3.9, 3.9), 1.5)
    fine = resize(mask, shape) >= 0.5
    assert np.array_equal(resize(fine, mask.shape) >= 0.5, mask)


def test_cutting_beyond_the_plane_fills() -> None:
    plane = np.arange(12).reshape(3, 4)
    part = cut(plane, -1, 2, 3, 4, -9)
    assert part.tolist() == [[-9, -9, -9, -9], [2, 3, -9, -9], [6, 7, -9, -9]]
