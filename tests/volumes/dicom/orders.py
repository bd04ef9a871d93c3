"""All axis orders that a DICOM series can have, some oblique ones, and voxels that are told apart by their values."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.spatial.transform import Rotation

Axis = tuple[float, ...]
_AXES: list[Axis] = [tuple(sign * row) for row in np.eye(3) for sign in (1, -1)]

STRAIGHT = [
    (row, column, reverse)
    for row, column, reverse in product(_AXES, _AXES, (False, True))
    if abs(np.dot(row, column)) < 0.5
]
"""Directions of rows and columns, and whether files are numbered against the order of the slices."""


def _turned(angles: tuple[float, float, float], straight: tuple[Axis, Axis, bool]) -> tuple[Axis, Axis, bool]:
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    row, column, reverse = straight
    return tuple(np.round(turn @ row, 10)), tuple(np.round(turn @ column, 10)), reverse


OBLIQUE = [
    _turned(angles, STRAIGHT[index])
    for angles, index in zip([(12, -7, 20), (-30, 25, 3), (40, 40, -15), (5, 0, 0)], (0, 13, 26, 47), strict=True)
]


def different_values(shape: tuple[int, int, int] = (5, 6, 7)) -> np.ndarray:
    """HU that no two voxels share, in no order, (slices, rows, columns)."""
    count = int(np.prod(shape))
    return (np.random.default_rng(0).permutation(count) - 1000).astype(np.int16).reshape(shape)
