"""A small picture of a result, for a list of many: the slice to look at first, and a cut along the body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tools.files import whole_file
from tools.overlay import color_lookup, paint
from volumes.label_map import LabelMap
from volumes.volume import Volume

SIDE = 150  # pixels
GAP = 4
QUALITY = 72  # of the JPEG: about 8 KB a picture, so that a page holds a thousand


def write_thumbnail(
    path: Path,
    volume: Volume,
    labels: LabelMap,
    key_slices: Sequence[int],
    confidence: Mapping[int, npt.NDArray[np.float32]],
) -> None:
    """Write a JPEG, whole or not at all: axial, anterior on top, and coronal, superior on top; right is on the left.

    Args:
        volume: the CT.
        labels: its labels, on the same grid.
        key_slices: slices that were given.
        confidence: label -> float32 `(D,)`.
    """
    z = slice_to_look_at(labels.array, key_slices, confidence)
    y = _middle_row(labels.array)
    colors, (dz, dy, dx) = color_lookup(labels.table), volume.spacing
    depth, height, width = volume.shape
    axial = paint(volume.array[z], labels.array[z], colors, _fitted(height * dy, width * dx))
    along = paint(volume.array[::-1, y], labels.array[::-1, y], colors, _fitted(depth * dz, width * dx))
    _side_by_side(path, [axial, along])


def write_comparison(path: Path, truth: LabelMap, prediction: LabelMap) -> None:
    """Write a JPEG, whole or not at all: truth and prediction on the slice on which most voxels differ.

    Args:
        truth, prediction: on the same grid.
    """
    differs = (truth.array != prediction.array).sum((1, 2))
    z = int(np.argmax(differs)) if differs.any() else int(np.argmax((truth.array > 0).sum((1, 2))))
    _, dy, dx = truth.geometry.spacing_dhw
    size = _fitted(truth.array.shape[1] * dy, truth.array.shape[2] * dx)
    nothing = np.full(truth.array.shape[1:], -1000, np.int16)
    colors = color_lookup(truth.table)
    _side_by_side(path, [paint(nothing, one.array[z], colors, size) for one in (truth, prediction)])


def slice_to_look_at(
    labels: npt.NDArray[np.uint8], key_slices: Sequence[int], confidence: Mapping[int, npt.NDArray[np.float32]]
) -> int:
    """The slice with the least confidence of a structure that is there; without any, the one with most labelled.

    Args:
        labels: uint8 `(D, H, W)`.
        key_slices: left out where there are others.
        confidence: label -> float32 `(D,)`.
    """
    lowest = np.full(len(labels), np.inf, np.float32)
    for value, one in confidence.items():
        there = (labels == value).any((1, 2))
        lowest[there] = np.minimum(lowest[there], one[there])
    lowest[list(key_slices)] = np.inf
    if np.isfinite(lowest).any():
        return int(np.argmin(lowest))
    return int(np.argmax((labels > 0).sum((1, 2))))


def _side_by_side(path: Path, parts: Sequence[Image.Image]) -> None:
    picture = Image.new("RGB", (len(parts) * (SIDE + GAP) - GAP, SIDE))
    for index, part in enumerate(parts):
        left = index * (SIDE + GAP) + (SIDE - part.width) // 2
        picture.paste(part, (left, (SIDE - part.height) // 2))
    with whole_file(path) as temporary:
        picture.save(temporary, format="JPEG", quality=QUALITY, optimize=True)


def _middle_row(labels: npt.NDArray[np.uint8]) -> int:
    """Where a coronal cut shows most of what is labelled."""
    return int(np.argmax((labels > 0).sum((0, 2)))) if labels.any() else labels.shape[1] // 2


def _fitted(height_mm: float, width_mm: float) -> tuple[int, int]:
    """Width and height in pixels of a plane within a square."""
    longest = max(height_mm, width_mm)
    return max(8, round(SIDE * width_mm / longest)), max(8, round(SIDE * height_mm / longest))
