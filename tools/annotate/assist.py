"""Painting with help, on one slice: each function turns a hint into a mask that a person sees before it counts.

All take HU as int16 `(H, W)` and give a bool mask `(H, W)`; pixel centres lie at whole numbers. Masks from a box or
scribbles are in `assist_masks`. Loading this takes a second (OpenCV, SciPy, scikit-image): do it before someone waits.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from skimage.draw import polygon2mask

from tools.annotate.assist_masks import from_box, from_scribbles
from volumes.errors import InputError

__all__ = ["fill", "from_box", "from_scribbles", "polygon", "threshold", "wand"]

Hounsfield = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]

HOLE = 0.02  # of a wand's area: noise inside an organ leaves smaller holes, vessels in a liver larger ones
SEED_RADIUS = 2  # pixels around a wand's seed whose mean HU a tolerance is about: one pixel is mostly noise


def wand(
    plane: Hounsfield,
    seed: tuple[int, int],
    low: float | None = None,
    high: float | None = None,
    tolerance: float | None = None,
    max_radius: float | None = None,
) -> Mask:
    """The connected region of an HU range that the seed lies in, its small holes filled; 5 ms at 512 x 512.

    Args:
        seed: (y, x).
        low, high: the range, both inside; or
        tolerance: HU on both sides of the mean around the seed.
        max_radius: pixels from the seed that it may reach; None for any.

    Returns:
        Empty if the seed's own HU is not in the range.

    Raises:
        InputError: a seed outside the slice, or neither a range nor a tolerance.
    """
    y, x = _inside(plane.shape, seed)
    if tolerance is not None and low is None and high is None and tolerance >= 0:
        around = plane[max(0, y - SEED_RADIUS) : y + SEED_RADIUS + 1, max(0, x - SEED_RADIUS) : x + SEED_RADIUS + 1]
        middle = float(np.median(around))
        low, high = middle - tolerance, middle + tolerance
    if low is None or high is None or not low <= high:
        raise _bad("wand", f"low {low}, high {high}, tolerance {tolerance}", "low <= high, or a tolerance of 0 or more")
    # A tolerance is about the neighbourhood, so the seed itself may be an outlier that would not count.
    allowed = within(plane, low, high)
    allowed[y, x] |= tolerance is not None
    if max_radius is not None:
        allowed &= _disc(plane.shape, (y, x), max_radius)
    region = _region(allowed, (y, x))
    return _without_small_holes(region, HOLE * region.sum())


def threshold(plane: Hounsfield, pixels: Mask, low: float, high: float) -> Mask:
    """Those of a stroke's pixels (H, W) whose HU is in the range, both ends inside.

    Raises:
        InputError: pixels of another shape, or a range that is none.
    """
    if pixels.shape != plane.shape:
        raise _bad("threshold", f"pixels of shape {pixels.shape}", f"{plane.shape}")
    if not low <= high:
        raise _bad("threshold", f"low {low}, high {high}", "low <= high")
    return pixels.astype(bool) & within(plane, low, high)


def fill(mask: npt.NDArray[np.uint8], seed: tuple[int, int]) -> Mask:
    """The region of one value in a label mask (H, W) that the seed (y, x) lies in, connected along edges.

    Raises:
        InputError: a seed outside the slice.
    """
    y, x = _inside(mask.shape, seed)
    return _region(mask == mask[y, x], (y, x))


def polygon(points: Sequence[tuple[float, float]], shape: tuple[int, int]) -> Mask:
    """Pixels whose centre lies in a closed polygon; where it crosses itself, every other part.

    Args:
        points: (y, x) of its corners, which may lie outside the slice.
        shape: (H, W).

    Raises:
        InputError: fewer than three corners, or one that is no number.
    """
    corners = np.asarray(points, np.float64)
    if corners.ndim != 2 or corners.shape[0] < 3 or corners.shape[1] != 2 or not np.isfinite(corners).all():
        raise _bad("polygon", f"{len(points)} corners", "at least three, each (y, x)")
    return np.asarray(polygon2mask(shape, corners), bool)


def within(plane: Hounsfield, low: float, high: float) -> Mask:
    """Pixels in an HU range, both ends inside."""
    return np.asarray((plane >= low) & (plane <= high))


def _region(allowed: Mask, seed: tuple[int, int]) -> Mask:
    """The part of `allowed` that is connected with the seed along edges."""
    _, parts = cv2.connectedComponents(allowed.astype(np.uint8), connectivity=4)
    here = parts[seed]
    return np.asarray(parts == here) if here else np.zeros(allowed.shape, bool)


def _without_small_holes(region: Mask, largest: float) -> Mask:
    """Holes of at most so many pixels filled; what touches the slice's border is none."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats((~region).astype(np.uint8), connectivity=4)
    height, width = region.shape
    left, top, wide, tall, area = (stats[:, column] for column in range(5))
    enclosed = (left > 0) & (top > 0) & (left + wide < width) & (top + tall < height)
    fills = enclosed & (area <= largest)
    fills[0] = False  # the region itself
    return region | fills[parts] if count > 1 else region


def _disc(shape: tuple[int, ...], middle: tuple[int, int], radius: float) -> Mask:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((y - middle[0]) ** 2 + (x - middle[1]) ** 2 <= radius * radius)


def _inside(shape: tuple[int, ...], seed: tuple[int, int]) -> tuple[int, int]:
    y, x = int(seed[0]), int(seed[1])
    if not (0 <= y < shape[0] and 0 <= x < shape[1]):
        raise _bad("seed", f"({y}, {x})", f"a pixel of {shape[0]} x {shape[1]}")
    return y, x


def _bad(where: str, found: str, expected: str) -> InputError:
    return InputError(where, found=found, expected=expected, fix="correct the request")
