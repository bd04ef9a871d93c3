"""Voxels as Keyslice keeps them, from any type of number: int16 Hounsfield units, uint8 labels.

One slice is converted after the other, so that the conversion needs no second copy of the volume.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volumes.errors import InputError, not_finite
from volumes.labels import MAX_LABEL
from volumes.volume import Geometry

_INT16 = np.iinfo(np.int16)


def to_hounsfield(planes: Iterable[npt.NDArray[Any]], geometry: Geometry, where: str | Path) -> npt.NDArray[np.int16]:
    """Hounsfield units `(D, H, W)` in canonical order.

    Fractions are rounded, values beyond int16 are set to its ends.

    Args:
        planes: the file's slices `(y, x)` in file order, of any type of number.
        geometry: the file's grid.
        where: the file, for messages.

    Raises:
        InputError: NaN or infinity.
    """
    array = np.empty(geometry.size_xyz[::-1], dtype=np.int16)
    for out, plane in zip(array, planes, strict=True):
        _hounsfield(plane, out, where)
    return geometry.to_canonical(array)


def to_labels(planes: Iterable[npt.NDArray[Any]], geometry: Geometry, where: str | Path) -> npt.NDArray[np.uint8]:
    """Labels `(D, H, W)` in canonical order; arguments as for `to_hounsfield`.

    Raises:
        InputError: values that are no whole numbers from 0 to 255.
    """
    array = np.empty(geometry.size_xyz[::-1], dtype=np.uint8)
    for out, plane in zip(array, planes, strict=True):
        _labels(plane, out, where)
    return geometry.to_canonical(array)


def _hounsfield(plane: npt.NDArray[Any], out: npt.NDArray[np.int16], where: str | Path) -> None:
    if plane.dtype == np.int16:
        out[...] = plane
    elif plane.dtype.kind in "iu":
        # The ends of int16 do not fit the narrower types.
        narrow = np.minimum(plane, np.uint64(_INT16.max)) if plane.dtype == np.uint64 else plane
        out[...] = np.clip(narrow.astype(np.int64), _INT16.min, _INT16.max)
    else:
        _check_finite(plane, where)
        out[...] = np.clip(np.rint(plane), _INT16.min, _INT16.max)


def _labels(plane: npt.NDArray[Any], out: npt.NDArray[np.uint8], where: str | Path) -> None:
    if plane.dtype.kind == "f":
        _check_finite(plane, where)
        fractions = plane != np.rint(plane)
        if fractions.any():
            raise _no_labels(where, f"the value {plane[fractions][0]:g}")
    low, high = plane.min(), plane.max()
    if low < 0 or high > MAX_LABEL:
        raise _no_labels(where, f"the value {low if low < 0 else high:g}")
    out[...] = plane


def _check_finite(plane: npt.NDArray[Any], where: str | Path) -> None:
    if not np.isfinite(plane).all():
        raise not_finite(where)


def _no_labels(where: str | Path, found: str) -> InputError:
    return InputError(
        where,
        found=found,
        expected="whole numbers from 0 to 255",
        fix="give a label map (not an image or probabilities), renumbered to at most 255 labels",
    )
