"""The planes of a series, one behind the other: sorted along their normal, and refused unless they are even.

What is refused, each with its reason: a missing slice, uneven distances, two slices at one place, planes that are not
parallel or not of one size, and a tilted gantry (slices shifted sideways), whose grid is sheared so that distances in
it are not what they seem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from volumes.errors import InputError
from volumes.image_files import check_one_volume, check_spacing

_UNEVEN = 0.05  # of the slice distance, and 0.02 mm for positions written with few digits
_UNEVEN_MM = 0.02
_DRIFT = 0.1  # of the slice distance: small differences that add up


@dataclass(frozen=True)
class Plane:
    """One slice as its header describes it.

    Attributes:
        file: where it is stored.
        frame: its number in the file, from 0; None in a file of one slice.
        size: columns, rows, in this order.
        components: values a voxel.
        position, orientation: Image Position and Image Orientation (Patient); empty if the header has none.
        spacing: Pixel Spacing, between rows, then between columns.
        tags: text of the header by tag, `0020|000d` and so on.
    """

    file: Path
    frame: int | None
    size: tuple[int, ...]
    components: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    tags: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.file.name if self.frame is None else f"frame {self.frame + 1} of {self.file.name}"


def in_order(planes: Sequence[Plane], where: Path) -> list[Plane]:
    """Planes sorted along their normal; raises InputError unless they make one even stack."""
    first = planes[0]
    for one in planes:
        if one.components != 1:
            check_one_volume((*one.size[:2], len(planes)), one.components, where)
        if len(one.position) != 3 or len(one.orientation) != 6 or len(one.spacing) != 2:
            raise _bad(
                where,
                f"{one.name} without position, orientation or pixel spacing",
                "all three for every slice",
                "export the original CT series, not pictures of it",
            )
        if one.size[:2] != first.size[:2] or not np.allclose(one.spacing, first.spacing, rtol=1e-4):
            raise _bad(
                where,
                f"{one.name} with another matrix or pixel spacing than {first.name}",
                "slices of one size",
                "put each series into a folder of its own",
            )
        if not np.allclose(one.orientation, first.orientation, atol=1e-3):
            raise _bad(
                where,
                f"{one.name} in another orientation than {first.name}",
                "parallel slices",
                "put each series into a folder of its own",
            )
    if len(planes) < 2:
        raise _bad(where, "one slice", "a series of at least 2 slices", "give the whole series")
    check_spacing(first.spacing, where)
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    positions = np.asarray([one.position for one in planes], dtype=np.float64)
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    _check_stack(heights[order], positions[order], normal, where)
    return [planes[int(index)] for index in order]


def _check_stack(heights: np.ndarray, positions: np.ndarray, normal: np.ndarray, where: Path) -> None:
    """Raise InputError unless sorted heights (mm) are evenly spaced and the slices lie straight behind
    each other."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    tolerance = _UNEVEN * usual + _UNEVEN_MM
    if steps.min() < 1e-3:
        raise _bad(
            where,
            f"two slices at the same place ({heights[int(steps.argmin())]:.2f} mm)",
            "one slice at each place",
            "remove the copies, or separate the phases",
        )
    if steps.max() > 1.5 * usual:
        at = int(steps.argmax())
        gap = f"a gap of {steps[at]:.2f} mm after {heights[at]:.2f} mm"
        raise _bad(where, f"missing slices ({gap})", f"a slice every {usual:.2f} mm", "export the whole series")
    if np.abs(steps - usual).max() > tolerance:
        raise _bad(
            where,
            f"slices {steps.min():.2f} to {steps.max():.2f} mm apart",
            "even distances",
            "resample the series to even distances",
        )
    even = heights[0] + np.arange(len(heights)) * (heights[-1] - heights[0]) / (len(heights) - 1)
    drift = float(np.abs(heights - even).max())
    if drift > _DRIFT * usual + _UNEVEN_MM:
        raise _bad(
            where,
            f"slices up to {drift:.2f} mm off an even grid",
            "even distances",
            "resample the series to even distances",
        )
    sideways = positions - positions[0] - np.outer(heights - heights[0], normal)
    shift = float(np.linalg.norm(sideways, axis=1).max())
    if shift > max(0.5, 0.01 * float(heights[-1] - heights[0])):
        found = f"slices shifted sideways by up to {shift:.1f} mm (tilted gantry)"
        fix = "correct the tilt, for example with dcm2niix"
        raise _bad(where, found, "slices straight behind each other", fix)


def _bad(where: Path, found: str, expected: str, fix: str) -> InputError:
    return InputError(where, found=found, expected=expected, fix=fix)
