"""A CT volume in canonical axial order, and the geometry that puts an array back on the file's grid.

Canonical order: array `(D, H, W)`, z rises from inferior to superior, y from anterior to posterior,
x from the patient's right to the left. These are the three axes of the LPS frame that SimpleITK uses,
so an image with the identity direction is canonical as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from volumes.errors import InputError

if TYPE_CHECKING:
    from volumes.dicom.source import DicomSource

Triple = tuple[float, float, float]
Direction = tuple[float, float, float, float, float, float, float, float, float]
Scalar = TypeVar("Scalar", bound=np.generic)

IDENTITY: Direction = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Geometry:
    """The grid of a file, exactly as SimpleITK reports it, and the way between file and canonical order.

    Attributes:
        size_xyz: voxels along the three axes of the file, in SimpleITK's order.
        spacing_xyz: millimetres between voxel centres along the file's axes.
        origin_xyz: LPS position in mm of the file's first voxel.
        direction: direction cosines, row by row; column `i` is the LPS direction of file axis `i`.
        nifti_grid: the grid fields of the NIfTI header that this was read from (`volumes.nifti_header`).
            A NIfTI reader derives the three above from float32 fields; only the same fields give them
            back bit for bit, so they travel along and do not count in comparisons.
    """

    size_xyz: tuple[int, int, int]
    spacing_xyz: Triple
    origin_xyz: Triple
    direction: Direction = IDENTITY
    nifti_grid: bytes | None = field(default=None, compare=False, repr=False)

    @classmethod
    def axial(cls, shape_dhw: tuple[int, int, int], spacing_dhw: Triple) -> Geometry:
        """Geometry of an array that is already canonical: identity direction, origin at zero."""
        depth, height, width = (int(n) for n in shape_dhw)
        dz, dy, dx = (float(s) for s in spacing_dhw)
        return cls((width, height, depth), (dx, dy, dz), (0.0, 0.0, 0.0))

    @cached_property
    def axes(self) -> tuple[int, int, int]:
        """File axis (0 x, 1 y, 2 z) that runs along each LPS axis: `(for L, for P, for S)`.

        The assignment with the greatest sum of |cosines| over all six, so that an oblique scan gives
        each axis away once; at an exact tie (45 degrees) the order nearest to the file's own is kept.
        """
        cosines = np.abs(np.asarray(self.direction, dtype=np.float64).reshape(3, 3))
        best, best_score = (0, 1, 2), -1.0
        for candidate in permutations((0, 1, 2)):
            score = float(sum(cosines[physical, axis] for physical, axis in enumerate(candidate)))
            if score > best_score + 1e-6:
                best, best_score = (candidate[0], candidate[1], candidate[2]), score
        return best

    @cached_property
    def flips(self) -> tuple[bool, bool, bool]:
        """Whether the file runs against the LPS axis: `(L, P, S)`."""
        left, posterior, superior = (
            self.direction[3 * physical + axis] < 0 for physical, axis in enumerate(self.axes)
        )
        return left, posterior, superior

    @property
    def shape_dhw(self) -> tuple[int, int, int]:
        """Shape `(D, H, W)` of the canonical array."""
        left, posterior, superior = self.axes
        return self.size_xyz[superior], self.size_xyz[posterior], self.size_xyz[left]

    @property
    def spacing_dhw(self) -> Triple:
        """Spacing `(dz, dy, dx)` in mm of the canonical array."""
        left, posterior, superior = self.axes
        return self.spacing_xyz[superior], self.spacing_xyz[posterior], self.spacing_xyz[left]

    def to_canonical(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """File order `(z, y, x)`, as SimpleITK's GetArrayFromImage gives it, to canonical `(D, H, W)`.

        Returns a C-contiguous array; it may share memory with the argument.
        """
        expected = self.size_xyz[::-1]
        if array.shape != expected:
            raise ValueError(f"array of shape {array.shape} does not fit the file grid (z, y, x) {expected}")
        return np.ascontiguousarray(self.canonical_view(array))

    def to_file(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Canonical `(D, H, W)` to file order `(z, y, x)`: the exact inverse of `to_canonical`."""
        if array.shape != self.shape_dhw:
            raise ValueError(f"array of shape {array.shape} does not fit the grid (D, H, W) {self.shape_dhw}")
        return np.ascontiguousarray(self.file_view(array))

    def canonical_view(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """An array in file order, of any three lengths, with its axes in canonical order; nothing is copied."""
        return array.transpose(self._numpy_axes)[self._flip_slices]

    def file_view(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """The exact inverse of `canonical_view`."""
        inverse = np.argsort(self._numpy_axes)
        return array[self._flip_slices].transpose(tuple(int(i) for i in inverse))

    def position_of(self, z: float, y: float, x: float) -> Triple:
        """LPS position in mm of the canonical voxel `(z, y, x)`."""
        index = [0.0, 0.0, 0.0]
        for physical, value in enumerate((x, y, z)):
            axis = self.axes[physical]
            index[axis] = self.size_xyz[axis] - 1 - value if self.flips[physical] else value
        steps = np.asarray(index) * np.asarray(self.spacing_xyz)
        point = np.asarray(self.direction).reshape(3, 3) @ steps + np.asarray(self.origin_xyz)
        return float(point[0]), float(point[1]), float(point[2])

    def same_grid(self, other: Geometry) -> bool:
        """Whether size, spacing, origin and direction are the same, bit for bit."""
        return self == other

    def is_close(self, other: Geometry) -> bool:
        """Whether both put every voxel in the same place, up to rounding by a program in between.

        Compared in canonical order, so a file that stores the same voxels along other axes is close.
        No voxel may lie further off than 1e-4 of the grid's diagonal or 5 % of the smallest spacing.
        """
        if self.shape_dhw != other.shape_dhw:
            return False
        diagonal = float(np.linalg.norm(np.multiply(self.size_xyz, self.spacing_xyz)))
        return self.displacement(other) <= min(1e-4 * diagonal, 0.05 * min(self.spacing_xyz))

    def displacement(self, other: Geometry) -> float:
        """Greatest distance in mm between the same canonical voxel on the two grids (of equal shape)."""
        depth, height, width = self.shape_dhw
        # The difference of two affine maps is convex: its greatest norm lies at a corner of the box.
        corners = [(z, y, x) for z in (0, depth - 1) for y in (0, height - 1) for x in (0, width - 1)]
        return max(math.dist(self.position_of(*corner), other.position_of(*corner)) for corner in corners)

    @cached_property
    def _numpy_axes(self) -> tuple[int, int, int]:
        left, posterior, superior = self.axes
        return 2 - superior, 2 - posterior, 2 - left

    @cached_property
    def _flip_slices(self) -> tuple[slice, slice, slice]:
        left, posterior, superior = (slice(None, None, -1 if flip else 1) for flip in self.flips)
        return superior, posterior, left


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT volume.

    Attributes:
        array: int16 Hounsfield units `(D, H, W)` in canonical axial order, C-contiguous.
        geometry: the grid of the file that it came from.
        name: the case's name, for reports and messages.
        source: the DICOM series that it was read from; None for other formats.
    """

    array: npt.NDArray[np.int16]
    geometry: Geometry
    name: str = field(default="volume")
    source: DicomSource | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "array", np.ascontiguousarray(self.array))
        check_array(self.name, self.array, np.dtype(np.int16), self.geometry)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(D, H, W)`."""
        return self.geometry.shape_dhw

    @property
    def spacing(self) -> Triple:
        """`(dz, dy, dx)` in mm."""
        return self.geometry.spacing_dhw


def check_array(name: str, array: npt.NDArray[Any], dtype: np.dtype[Any], geometry: Geometry) -> None:
    """Raise InputError unless `array` has this dtype and the geometry's canonical shape."""
    if array.dtype != dtype:
        raise InputError(
            name,
            found=f"an array of {array.dtype}",
            expected=f"{dtype}",
            fix=f"convert it with .astype('{dtype}')",
        )
    if array.shape != geometry.shape_dhw:
        raise InputError(
            name,
            found=f"an array of shape {array.shape}",
            expected=f"(D, H, W) {geometry.shape_dhw} from its geometry",
            fix="bring the array into canonical order with Geometry.to_canonical",
        )
    if not all(math.isfinite(s) and s > 0 for s in geometry.spacing_xyz):
        raise InputError(
            name,
            found=f"spacing {geometry.spacing_xyz} mm",
            expected="three positive numbers",
            fix="give the real distance between voxel centres",
        )
