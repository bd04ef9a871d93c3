"""What a NumPy array cannot say of itself: which way each of its axes runs, and how far apart its voxels are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from volumes.errors import InputError
from volumes.image_files import check_spacing
from volumes.volume import Geometry

Side = Literal["superior", "inferior", "posterior", "anterior", "left", "right"]
"""A side of the patient: superior is the head's, posterior the back's, left and right are the patient's own."""

_LPS: dict[str, tuple[float, float, float]] = {
    "left": (1.0, 0.0, 0.0),
    "right": (-1.0, 0.0, 0.0),
    "posterior": (0.0, 1.0, 0.0),
    "anterior": (0.0, -1.0, 0.0),
    "superior": (0.0, 0.0, 1.0),
    "inferior": (0.0, 0.0, -1.0),
}


@dataclass(frozen=True, kw_only=True)
class Axes:
    """How an array lies in the patient. There is no default: an array of the wrong orientation looks right.

        Axes(toward=("superior", "posterior", "left"), spacing=(3.0, 0.8, 0.8))

    says: `array[0]` is the lowest slice and the slices rise to the head, 3 mm apart; the rows of a slice run from the
    chest to the back, its columns from the patient's right to the left. That is an axial CT as screens show it.

    Args:
        toward: for each axis of the array, in order, the side of the patient towards which its index grows.
        spacing: millimetres between voxel centres along each axis of the array, in the same order.

    Raises:
        InputError: sides that are no three axes, or a spacing that cannot be meant.
    """

    toward: tuple[Side, Side, Side]
    spacing: tuple[float, float, float]

    def __post_init__(self) -> None:
        toward, spacing = self.toward, self.spacing
        if isinstance(toward, str) or not isinstance(toward, Sequence) or len(toward) != 3:
            raise _bad("toward", repr(toward), "three sides, one for each axis of the array")
        for side in toward:
            if side not in _LPS:
                raise _bad("toward", repr(side), f"words among {', '.join(get_args(Side))}")
        if len({_along(side) for side in toward}) != 3:
            raise _bad("toward", ", ".join(toward), "one axis up or down, one front to back, one side to side")
        try:
            numbers = tuple(float(step) for step in spacing)
        except TypeError:
            numbers = ()
        if len(numbers) != 3:
            raise _bad("spacing", repr(spacing), "three numbers in mm, in the order of the array's axes")
        check_spacing(numbers, "axes.spacing")
        object.__setattr__(self, "toward", tuple(toward))
        object.__setattr__(self, "spacing", numbers)

    @property
    def axial(self) -> int:
        """Which axis of the array counts axial slices."""
        return [_along(side) for side in self.toward].index(2)

    def geometry(self, shape: tuple[int, ...]) -> Geometry:
        """The grid of an array of three axes, its first voxel at the origin; the array is in its file order."""
        columns = [_LPS[side] for side in reversed(self.toward)]  # file axis 0 is the array's last
        direction = tuple(columns[axis][physical] for physical in range(3) for axis in range(3))
        size, spacing = tuple(int(n) for n in reversed(shape)), tuple(reversed(self.spacing))
        return Geometry(size, spacing, (0.0, 0.0, 0.0), direction)  # type: ignore[arg-type]  # lengths are checked


def _along(side: str) -> int:
    """Which LPS axis a side is on."""
    return [step != 0 for step in _LPS[side]].index(True)


def _bad(name: str, found: str, expected: str) -> InputError:
    return InputError(
        f"axes.{name}",
        found=found,
        expected=expected,
        fix='for an axial CT as screens show it: Axes(toward=("superior", "posterior", "left"), spacing=(dz, dy, dx))',
    )
