"""How a person counts slices and holds planes, and the way from there to the canonical order and back.

For files and SimpleITK images that is the canonical order itself: slice 0 is the most inferior one, rows run to the
back, columns to the patient's left. For an array it is the array's own: slice 3 is what the array has at index 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from volumes.errors import InputError
from volumes.volume import Geometry

Scalar = TypeVar("Scalar", bound=np.generic)


class Order:
    """An order that differs from the canonical one by turns and flips alone.

    Args:
        geometry: of the array whose order it is; one in canonical order for files and images.
        name: of the volume, for messages.

    Attributes:
        axial: the axis that counts slices.
        reversed: slices count from the superior end.
    """

    def __init__(self, geometry: Geometry, name: str) -> None:
        self._geometry, self._name = geometry, name
        self.axial = 2 - geometry.axes[2]
        self._depth, self.reversed = geometry.shape_dhw[0], geometry.flips[2]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a volume in this order."""
        width, height, depth = self._geometry.size_xyz
        return depth, height, width

    def slice(self, z: int) -> int:
        """A slice's canonical number from its own, and the other way round.

        Raises:
            InputError: no such slice.
        """
        if not 0 <= z < self._depth:
            raise InputError(
                self._name,
                found=f"slice {z}",
                expected=f"a slice from 0 to {self._depth - 1}",
                fix="count slices from 0",
            )
        return self._depth - 1 - int(z) if self.reversed else int(z)

    def along_slices(self, values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """One value a slice `(D,)`, from one order to the other."""
        return values[::-1] if self.reversed else values

    def extent(self, extent: tuple[int, int]) -> tuple[int, int]:
        """First and last slice, from one order to the other; first of all the lower number."""
        first, last = self.slice(extent[0]), self.slice(extent[1])
        return (last, first) if self.reversed else (first, last)

    def plane(self, mask: npt.ArrayLike, z: int) -> npt.NDArray[Any]:
        """A slice's mask as a person holds it, the axis of slices left out, to canonical `(H, W)`.

        Raises:
            InputError: another shape.
        """
        array = np.asarray(mask)
        shape = tuple(n for axis, n in enumerate(self.shape) if axis != self.axial)
        if array.shape != shape:
            raise InputError(
                self._name,
                found=f"a mask of shape {array.shape} on slice {z}",
                expected=f"{shape}",
                fix="give the whole slice, its two axes in the order of the volume's",
            )
        return self._geometry.canonical_view(np.expand_dims(array, self.axial))[0]

    def view(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """A canonical array `(D, H, W)` as a person holds it; nothing is copied, and it cannot be written to."""
        view = self._geometry.file_view(array)
        view.flags.writeable = False
        return view

    @contextmanager
    def told(self) -> Iterator[None]:
        """Messages from below count slices from the inferior end; where that is not the person's way, they say so."""
        try:
            yield
        except InputError as error:
            if not self.reversed:
                raise
            fix = f"{error.fix} (slice numbers in this message count from the other, inferior end)"
            raise InputError(error.where, found=error.found, expected=error.expected, fix=fix) from error
