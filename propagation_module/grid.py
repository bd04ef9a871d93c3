"""The internal grid: a volume's slices on square pixels, cropped to the body, and the way back to the file's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumes.resampling import AIR, resize, resize_matrix, square_shape
from volumes.volume import Volume
from volumes.windows import windowed

BODY_HU = -500
MARGIN_MM = 20.0  # kept around the body, so that its outline is seen
Box = tuple[int, int, int, int]  # top, bottom, left, right


class InternalGrid:
    """Slices of `volume` on square pixels of `pixel` mm (None: about the file's own), sides multiples of `multiple`.

    Nothing is kept but the volume itself: planes are made when asked for.

    Args:
        native: the part of the file's slices that it shows, see `body_box`.
    """

    def __init__(self, volume: Volume, native: Box, *, pixel: float | None, multiple: int) -> None:
        self.volume, self.native = volume, native
        dz, dy, dx = volume.spacing
        self.pixel = float(pixel if pixel is not None else (dy * dx) ** 0.5)
        self.dz = dz
        top, bottom, left, right = native
        self.inner = square_shape((bottom - top, right - left), (dy, dx), self.pixel)
        self.shape = tuple(-(-side // multiple) * multiple for side in self.inner)
        self._rows = resize_matrix(self.inner[0], bottom - top)
        self._columns = resize_matrix(self.inner[1], right - left)

    def image(self, z: int) -> NDArray[np.float32]:
        """Slice `z`, windowed: 3 x H x W in [0, 1]; beyond the crop it is air."""
        plane = np.full(self.shape, AIR, np.int16)
        plane[: self.inner[0], : self.inner[1]] = np.rint(resize(self._crop(self.volume.array[z]), self.inner))
        return windowed(plane[None])[0]

    def mask(self, mask: NDArray) -> NDArray[np.float32]:
        """A native mask (H, W) here, 0 or 1. One that is too small for the pixels keeps its best ones."""
        share = resize(self._crop(mask) > 0, self.inner)
        out = np.zeros(self.shape, np.float32)
        threshold = min(0.5, 0.5 * float(share.max())) if share.any() else 0.5
        out[: self.inner[0], : self.inner[1]] = share >= threshold
        return out

    def to_native(self, patch: Patch) -> tuple[NDArray[np.float32], tuple[slice, slice]]:
        """A patch's probabilities on the file's pixels, and which rectangle of the slice they fill."""
        top, bottom, left, right = patch.box
        bottom, right = min(bottom, self.inner[0]), min(right, self.inner[1])
        y, rows = _reached(self._rows[:, top:bottom])
        x, columns = _reached(self._columns[:, left:right])
        back: NDArray[np.float32] = np.linalg.multi_dot(
            (rows, patch.probability[: bottom - top, : right - left], columns.T)
        )
        corner = self.native[0] + y, self.native[2] + x
        return back, (slice(corner[0], corner[0] + len(rows)), slice(corner[1], corner[1] + len(columns)))

    def box_about(self, bounds: Sequence[Box], *, margin: int, least: int, multiple: int) -> Box | None:
        """The box around all of `bounds`, `margin` wider, of at least `least` pixels; None around nothing.

        Its corners lie on multiples of `multiple`, which the plane's own sides are too.
        """
        if not bounds:
            return None
        top, bottom, left, right = union(bounds)
        return (
            *_widen(top, bottom, margin, least, multiple, self.shape[0]),
            *_widen(left, right, margin, least, multiple, self.shape[1]),
        )

    def _crop(self, plane: NDArray) -> NDArray:
        top, bottom, left, right = self.native
        return plane[top:bottom, left:right]


@dataclass(frozen=True)
class Patch:
    """Probabilities inside `box` of the internal grid, zero elsewhere."""

    probability: NDArray[np.float32]
    box: Box

    def cut(self, box: Box) -> NDArray[np.float32]:
        """What lies in another box."""
        return cut_box(self.probability, self.box, box, 0.0)

    def bounds(self, threshold: float) -> list[Box]:
        """The box of what is above `threshold`, if anything is."""
        return bounds(self.probability > threshold, self.box)


def cut_box(values: NDArray[np.float32], have: Box, want: Box, fill: float) -> NDArray[np.float32]:
    """`values` of box `have` as box `want` sees them, `fill` where they do not reach."""
    if have == want:
        return values
    out = np.full((want[1] - want[0], want[3] - want[2]), fill, np.float32)
    top, bottom = max(have[0], want[0]), min(have[1], want[1])
    left, right = max(have[2], want[2]), min(have[3], want[3])
    if top < bottom and left < right:
        out[top - want[0] : bottom - want[0], left - want[2] : right - want[2]] = values[
            top - have[0] : bottom - have[0], left - have[2] : right - have[2]
        ]
    return out


def bounds(mask: NDArray[np.bool_], box: Box) -> list[Box]:
    """The box of what is True in `mask`, whose own place is `box`, if anything is."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    top, left = box[0], box[2]
    return [(top + int(rows[0]), top + int(rows[-1]) + 1, left + int(columns[0]), left + int(columns[-1]) + 1)]


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box around at least one box."""
    tops, bottoms, lefts, rights = zip(*boxes, strict=True)
    return min(tops), max(bottoms), min(lefts), max(rights)


def body_box(volume: Volume) -> Box:
    """Native box of all that is denser than air in any slice, `MARGIN_MM` wider; of everything if nothing is."""
    seen = np.zeros(volume.shape[1:], bool)
    for plane in volume.array:
        seen |= plane > BODY_HU
    whole = (0, volume.shape[1], 0, volume.shape[2])
    found = bounds(seen, whole)
    return wider(found[0], volume) if found else whole


def wider(box: Box, volume: Volume) -> Box:
    """A native box, `MARGIN_MM` wider on each side, within the slice."""
    dy, dx = volume.spacing[1:]
    my, mx = round(MARGIN_MM / dy), round(MARGIN_MM / dx)
    return (
        max(0, box[0] - my),
        min(volume.shape[1], box[1] + my),
        max(0, box[2] - mx),
        min(volume.shape[2], box[3] + mx),
    )


def _reached(matrix: NDArray[np.float32]) -> tuple[int, NDArray[np.float32]]:
    """The first row that is not zero, and all rows from it to the last that is not."""
    rows = np.flatnonzero(matrix.any(1))
    if not len(rows):
        return 0, matrix[:0]
    return int(rows[0]), matrix[rows[0] : rows[-1] + 1]


def _widen(low: int, high: int, margin: int, least: int, multiple: int, limit: int) -> tuple[int, int]:
    low, high = max(0, low - margin), min(limit, high + margin)
    size = min(-(-max(high - low // multiple * multiple, least) // multiple) * multiple, limit)
    low = max(0, min(low - (size - (high - low)) // 2, limit - size)) // multiple * multiple
    if low + size < high:
        size += multiple
    return low, low + size
