"""Slices on square pixels and back: how every network's internal grid is made."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

AIR = -1024


def resize(plane: NDArray, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A plane (h, w) resampled to `shape` over the same rectangle, pixel centres aligned.

    Along an axis that shrinks the pixels that fall together are averaged, as partial volume does; along one that
    grows, linear interpolation.
    """
    height, width = shape
    out = plane.astype(np.float32)
    if (height < plane.shape[0]) == (width < plane.shape[1]):
        return _resized(out, shape)
    return _resized(_resized(out, (height, plane.shape[1])), shape)


def resized_labels(plane: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels (H, W) on a grid of `shape` over the same rectangle: those of the nearest pixel.

    Not by cv2's INTER_NEAREST, which measures from pixel corners and so moves labels by up to half a pixel.
    """
    if plane.shape == shape:
        return plane
    return np.asarray(cv2.resize(plane, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def square_shape(shape: tuple[int, int], spacing: tuple[float, float], pixel: float) -> tuple[int, int]:
    """Height and width that give `pixel` mm square pixels to a plane of `shape` and `spacing` (dy, dx) mm."""
    return (max(1, round(shape[0] * spacing[0] / pixel)), max(1, round(shape[1] * spacing[1] / pixel)))


def cut(plane: NDArray, top: int, left: int, height: int, width: int, fill: int) -> NDArray:
    """The rectangle of `plane`, `fill` where it reaches beyond it."""
    out = np.full((height, width), fill, dtype=plane.dtype)
    y0, y1 = max(0, top), min(plane.shape[0], top + height)
    x0, x1 = max(0, left), min(plane.shape[1], left + width)
    if y0 < y1 and x0 < x1:
        out[y0 - top : y1 - top, x0 - left : x1 - left] = plane[y0:y1, x0:x1]
    return out


def resize_matrix(length: int, size: int) -> NDArray[np.float32]:
    """What `resize` does along one axis of `length` pixels that become `size`, as a matrix (size, length).

    Resampling is linear and separable, so a part of a plane is resampled with a part of the matrix.
    """
    return _resized(np.eye(length, dtype=np.float32), (size, length))


def _resized(plane: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """By the method of the axis that changes, where only one does."""
    method = cv2.INTER_AREA if shape[0] * shape[1] < plane.size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(plane, (shape[1], shape[0]), interpolation=method), np.float32)
