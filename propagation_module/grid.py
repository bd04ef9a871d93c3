"""The internal grid: a volume's slices on square pixels, cropped to the body, and the way back to the file's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from propagation_module.resampling import AIR, resize, square_shape
from volumes.key_slices import KeySlices
from volumes.volume import Volume
from volumes.windows import windowed

BODY_HU = -500
MARGIN_MM = 20.0  # kept around the body, so that its outline is seen
Box = tuple[int, int, int, int]  # top, bottom, left, right, in internal pixels


class InternalGrid:
    """Slices of `volume` on square pixels of `pixel` mm (None: about the file's own), sides multiples of `multiple`.

    Nothing is kept but the volume itself: planes are made when asked for.
    """

    def __init__(self, volume: Volume, key_slices: KeySlices, *, pixel: float | None, multiple: int) -> None:
        self.volume = volume
        dz, dy, dx = volume.spacing
        self.pixel = float(pixel if pixel is not None else (dy * dx) ** 0.5)
        self.dz = dz
        self._native = _body(volume, key_slices)
        top, bottom, left, right = self._native
        self.inner = square_shape((bottom - top, right - left), (dy, dx), self.pixel)
        self.shape = tuple(-(-side // multiple) * multiple for side in self.inner)

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
        plane = np.zeros(self.shape, np.float32)
        top, bottom, left, right = patch.box
        plane[top:bottom, left:right] = patch.probability
        native_top, native_bottom, native_left, native_right = self._native
        size = (native_bottom - native_top, native_right - native_left)
        back = resize(plane[: self.inner[0], : self.inner[1]], size)
        return back, (slice(native_top, native_bottom), slice(native_left, native_right))

    def box_about(self, *maps: NDArray[np.bool_], margin: int, least: int) -> Box | None:
        """The box around all that is True, `margin` pixels wider, at least `least` pixels, on multiples of 8."""
        union = np.logical_or.reduce(maps)
        rows, columns = np.flatnonzero(union.any(1)), np.flatnonzero(union.any(0))
        if not len(rows):
            return None
        top, bottom = _widen(int(rows[0]), int(rows[-1]) + 1, margin, least, self.shape[0])
        left, right = _widen(int(columns[0]), int(columns[-1]) + 1, margin, least, self.shape[1])
        return top, bottom, left, right

    def _crop(self, plane: NDArray) -> NDArray:
        top, bottom, left, right = self._native
        return plane[top:bottom, left:right]


@dataclass(frozen=True)
class Patch:
    """Probabilities inside `box` of the internal grid, zero elsewhere."""

    probability: NDArray[np.float32]
    box: Box

    def paste(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """On a whole plane of `shape`."""
        plane = np.zeros(shape, np.float32)
        top, bottom, left, right = self.box
        plane[top:bottom, left:right] = self.probability
        return plane


def _widen(low: int, high: int, margin: int, least: int, limit: int) -> tuple[int, int]:
    margin = max(margin, (least - (high - low) + 1) // 2)
    low, high = max(0, low - margin) // 8 * 8, min(limit, -(-(high + margin) // 8) * 8)
    if high - low < least:  # at the rim: grow inwards
        low, high = max(0, min(low, limit - least)) // 8 * 8, min(limit, max(high, -(-least // 8) * 8))
    return low, high


def _body(volume: Volume, key_slices: KeySlices) -> Box:
    """Native box of all that is denser than air in any slice or labelled on a key slice."""
    seen = np.zeros(volume.shape[1:], bool)
    for plane in volume.array:
        seen |= plane > BODY_HU
    for z in key_slices.slices():
        seen |= key_slices.mask(z) > 0
    if not seen.any():
        return 0, volume.shape[1], 0, volume.shape[2]
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    dy, dx = volume.spacing[1:]
    my, mx = round(MARGIN_MM / dy), round(MARGIN_MM / dx)
    return (
        max(0, int(rows[0]) - my),
        min(volume.shape[1], int(rows[-1]) + 1 + my),
        max(0, int(columns[0]) - mx),
        min(volume.shape[2], int(columns[-1]) + 1 + mx),
    )
