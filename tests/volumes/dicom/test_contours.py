"""Masks to contours and back: exact both ways, with holes and islands, whichever way a program fills them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import gaussian_filter, label
from skimage.draw import polygon2mask

from volumes.dicom.contours import fill, outlines

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


@settings(max_examples=80, deadline=None)
@given(masks)
def test_filling_outlines_gives_the_mask_back(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(fill(outlines(mask), mask.shape), mask)


@settings(max_examples=50, deadline=None)
@given(masks)
def test_every_part_is_one_contour_and_parts_share_no_pixel(mask: np.ndarray) -> None:
    contours = outlines(mask)
    assert len(contours) == label(mask)[1]
    filled = [fill([one], mask.shape) for one in contours]
    # United, as programs do that know no exclusive or: keyholes keep holes open and islands in them closed.
    np.testing.assert_array_equal(np.any([*filled, np.zeros_like(mask)], axis=0), mask)
    assert sum(int(one.sum()) for one in filled) == int(mask.sum())


@settings(max_examples=40, deadline=None)
@given(masks)
def test_another_program_fills_the_same(mask: np.ndarray) -> None:
    filled = [polygon2mask(mask.shape, one) for one in outlines(mask)]
    np.testing.assert_array_equal(np.any([*filled, np.zeros_like(mask)], axis=0), mask)


def test_organ_like_shapes_with_holes() -> None:
    noise = gaussian_filter(np.random.default_rng(3).random((120, 130)), 3)
    mask = noise > np.median(noise)
    assert label(~mask)[1] > 5
    np.testing.assert_array_equal(fill(outlines(mask), mask.shape), mask)


def test_outlines_run_half_a_pixel_outside_the_outermost_centres() -> None:
    mask = np.zeros((8, 9), bool)
    mask[2:5, 3:8] = True
    (contour,) = outlines(mask)
    assert contour.min(axis=0).tolist() == [1.5, 2.5] and contour.max(axis=0).tolist() == [4.5, 7.5]
    assert len(contour) == 8  # straight sides have no points between their ends


@pytest.mark.parametrize("radius", [1.3, 4.0, 17.6])
@pytest.mark.parametrize("centre", [(20.0, 21.0), (20.31, 20.77)])
def test_a_circle_is_filled_to_within_half_a_pixel(radius: float, centre: tuple[float, float]) -> None:
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    circle = np.column_stack([np.sin(angles), np.cos(angles)]) * radius + centre
    mask = fill([circle], (41, 42))
    distance = np.hypot(*(np.indices(mask.shape) - np.reshape(centre, (2, 1, 1)))) - radius
    assert mask[distance < -0.01].all() and not mask[distance > 0.01].any()
    edge = np.concatenate(outlines(mask))
    assert np.abs(np.hypot(*(edge - centre).T) - radius).max() <= 0.51


def test_inner_contours_are_taken_out_and_islands_put_back() -> None:
    def square(low: float, high: float) -> np.ndarray:
        return np.array([(low, low), (low, high), (high, high), (high, low)])

    separate = fill([square(0.5, 9.5), square(2.5, 7.5), square(4.5, 5.5)], (11, 11))
    expected = np.zeros((11, 11), bool)
    expected[1:10, 1:10] = True
    expected[3:8, 3:8] = False
    expected[5, 5] = True
    np.testing.assert_array_equal(separate, expected)
    np.testing.assert_array_equal(fill(outlines(expected), (11, 11)), expected)


def test_contours_that_share_a_line_share_no_pixel() -> None:
    left = np.array([(1.0, 1.0), (1.0, 4.0), (6.0, 5.0), (6.0, 1.0)])
    right = np.array([(1.0, 4.0), (1.0, 8.0), (6.0, 8.0), (6.0, 5.0)])
    one, other = fill([left], (9, 10)), fill([right], (9, 10))
    assert one.any() and other.any() and not (one & other).any()
    np.testing.assert_array_equal(one | other, fill([left, right], (9, 10)))


def test_what_lies_beyond_the_picture_is_cut_off() -> None:
    big = np.array([(-20.0, -30.0), (-20.0, 50.0), (40.0, 50.0), (40.0, -30.0)])
    assert fill([big], (4, 5)).all()
    beside = np.array([(1.0, 7.0), (1.0, 9.0), (3.0, 9.0)])
    assert not fill([beside], (4, 5)).any()
