"""From masks to closed contours and back, in the pixel coordinates of one slice.

A contour runs half-way between the centres of pixels that are in and pixels that are out (marching squares), so that
it keeps the area, and filling it by pixel centres gives the mask back exactly. Outlines through the centres of the
outermost pixels, as some programs write them, lose half a pixel all round.

Holes are written by the keyhole technique, which the standard prescribes for contours of type CLOSED_PLANAR
(PS3.3 C.8.8.6.3): outer and inner outline are one contour, joined by a channel of no width. It reads the same in
programs that fill by parity, by winding number, or that unite all contours of a slice; separate inner contours are
filled up by the last. Reading takes both: contours of one structure on one slice are combined by exclusive or.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Contour = npt.NDArray[np.float64]
"""Corners (N, 2) of a closed polygon as (row, column), pixel centres at whole numbers; the last joins the first."""


def outlines(mask: npt.NDArray[np.bool_]) -> list[Contour]:
    """Contours of a mask (H, W), one for each of its parts; pixels that touch at a corner alone are two parts."""
    from scipy.ndimage import find_objects, label
    from skimage.measure import find_contours

    parts, _ = label(mask)
    found = []
    for number, box in enumerate(find_objects(parts), 1):
        part = np.pad(parts[box] == number, 1)
        shift = np.array([box[0].start - 1, box[1].start - 1], dtype=np.float64)
        curves = find_contours(part, 0.5, fully_connected="low")
        rings = sorted((_corners(curve[:-1]) + shift for curve in curves), key=area, reverse=True)
        found.append(_keyholed(rings[0], rings[1:]))
    return found


def fill(contours: Iterable[Contour], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Mask (H, W) of the pixels whose centres lie in an odd number of the contours.

    What lies beyond the picture is left out. A centre on a contour belongs to one side of it, the same for both of two
    contours that share the line.
    """
    height, width = shape
    crossings = np.zeros((height, width + 1), dtype=np.int64)
    for contour in contours:
        start, end = contour, np.roll(contour, -1, axis=0)
        # From above to below, so that a line that is passed in both directions is crossed at the very same place.
        down = (start[:, 0] < end[:, 0])[:, None]
        top, bottom = np.where(down, start, end), np.where(down, end, start)
        first = np.clip(np.ceil(top[:, 0]), 0, height).astype(np.int64)
        last = np.clip(np.ceil(bottom[:, 0]), 0, height).astype(np.int64)
        counts = last - first
        edge = np.repeat(np.arange(len(contour)), counts)
        rows = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        (r0, c0), (r1, c1) = top[edge].T, bottom[edge].T
        columns = np.ceil(c0 + (rows - r0) / (r1 - r0) * (c1 - c0))
        np.add.at(crossings, (rows, np.clip(columns, 0, width).astype(np.int64)), 1)
    return crossings[:, :width].cumsum(axis=1) % 2 == 1


def area(contour: Contour) -> float:
    """What a contour encloses, in pixels."""
    rows, columns = contour.T
    return abs(float(np.dot(rows, np.roll(columns, -1)) - np.dot(columns, np.roll(rows, -1)))) / 2


def _corners(ring: Contour) -> Contour:
    """A ring without the points on straight lines between two others."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def _keyholed(outer: Contour, holes: list[Contour]) -> Contour:
    """One contour of an outline and those of its holes.

    Each hole is joined from the left end of its top edge, straight to the left, with the next contour there. That one
    begins higher up, or as high and further left, so in this order it is joined already. The channel lies half-way
    between two rows of pixels: no centre is on it.
    """
    ring = outer
    for start, hole in sorted(((_top_left(hole), hole) for hole in holes), key=lambda one: tuple(one[1][one[0]])):
        row, column = hole[start]
        edge, at = _next_on_the_left(ring, row, column)
        door = np.array([[row, at]])
        there_and_back = np.concatenate([door, np.roll(hole, -start, axis=0), hole[start : start + 1], door])
        ring = np.concatenate([ring[: edge + 1], there_and_back, ring[edge + 1 :]])
    distinct = (ring != np.roll(ring, 1, axis=0)).any(axis=1)
    return ring[distinct]


def _top_left(ring: Contour) -> int:
    return int(np.lexsort((ring[:, 1], ring[:, 0]))[0])


def _next_on_the_left(ring: Contour, row: float, column: float) -> tuple[int, float]:
    """The edge of a ring that is met first on the way left from a point, by its first corner, and the column."""
    start, end = ring, np.roll(ring, -1, axis=0)
    level = start[:, 0] == end[:, 0]
    height = np.where(level, 1.0, end[:, 0] - start[:, 0])
    crossed = start[:, 1] + (row - start[:, 0]) / height * (end[:, 1] - start[:, 1])
    at = np.where(level, np.maximum(start[:, 1], end[:, 1]), crossed)
    meets = (np.minimum(start[:, 0], end[:, 0]) <= row) & (row <= np.maximum(start[:, 0], end[:, 0])) & (at < column)
    edge = int(np.argmax(np.where(meets, at, -np.inf)))
    assert meets[edge], "a hole that is not inside"
    return edge, float(at[edge])
