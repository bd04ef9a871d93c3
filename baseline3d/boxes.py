"""Which part of a volume is looked at: all of it, what is denser than air, or the patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from volumes.volume import Volume

Box = tuple[slice, slice, slice]
Crop = Literal["none", "dense", "body"]

_COARSE_MM = 4.0  # of the grid on which the body is found


def box_of(volume: Volume, crop: Crop, threshold: float, margin: float) -> Box:
    """The part (D, H, W) of `volume` that is looked at; all of it where there is nothing but air.

    Args:
        crop: `none`; `dense`: the box of all that is denser than `threshold`; `body`: the box of the connected part
            of it in the middle of the volume, or else the largest (Zhang 2.1, systems 3.1).
        threshold: HU.
        margin: mm about the box.
    """
    whole = slice(0, volume.shape[0]), slice(0, volume.shape[1]), slice(0, volume.shape[2])
    if crop == "none":
        return whole
    found = _dense(volume, threshold) if crop == "dense" else _body(volume, threshold)
    if found is None:
        return whole
    return with_margin(found, volume.shape, volume.spacing, margin)


def with_margin(box: Box, shape: Sequence[int], spacing: Sequence[float], margin: float) -> Box:
    """A box with so many mm about it, as far as a volume of `shape` (D, H, W) and `spacing` (dz, dy, dx) in mm goes."""
    depth, height, width = (
        slice(max(0, side.start - round(margin / step)), min(count, side.stop + round(margin / step)))
        for side, step, count in zip(box, spacing, shape, strict=True)
    )
    return depth, height, width


def overhang(inner: Box, outer: Box, spacing: Sequence[float]) -> float:
    """How many mm `inner` reaches beyond `outer`, on the side on which that is most; 0 where it lies within."""
    return max(
        max(b.start - a.start, a.stop - b.stop, 0) * step for a, b, step in zip(inner, outer, spacing, strict=True)
    )


def _dense(volume: Volume, threshold: float) -> Box | None:
    """The box of all voxels that are denser."""
    along_z = np.zeros(volume.shape[0], bool)
    along_y, along_x = np.zeros(volume.shape[1], bool), np.zeros(volume.shape[2], bool)
    for z, hu in enumerate(volume.array):
        dense = hu > threshold
        along_z[z] = dense.any()
        along_y |= dense.any(1)
        along_x |= dense.any(0)
    if not along_z.any():
        return None
    depth, height, width = (
        slice(int(at[0]), int(at[-1]) + 1) for at in map(np.flatnonzero, (along_z, along_y, along_x))
    )
    return depth, height, width


def _body(volume: Volume, threshold: float) -> Box | None:
    """The box of the connected part in the middle, or else the largest: without the table, in most scans.

    Found on every few voxels: a body is large.
    """
    from scipy import ndimage

    steps = [max(1, int(_COARSE_MM / step)) for step in volume.spacing]
    parts, count = ndimage.label(volume.array[:: steps[0], :: steps[1], :: steps[2]] > threshold)
    if not count:
        return None
    middle = int(parts[tuple(side // 2 for side in parts.shape)])
    chosen = middle or int(np.bincount(parts.ravel())[1:].argmax()) + 1
    box = ndimage.find_objects(parts)[chosen - 1]
    depth, height, width = (
        slice(max(0, (side.start - 1) * step + 1), min(length, side.stop * step))
        for side, step, length in zip(box, steps, volume.shape, strict=True)
    )
    return depth, height, width
