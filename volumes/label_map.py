"""A labelled volume: one label number for every voxel, with names and colours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from volumes.labels import LabelTable
from volumes.volume import Geometry, Triple, check_array

if TYPE_CHECKING:
    from volumes.dicom.source import DicomSource


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Labels on a volume's grid.

    Attributes:
        array: uint8 `(D, H, W)` in canonical axial order, C-contiguous; 0 is background.
        geometry: the grid, the same as that of the volume that it belongs to.
        table: names and colours; it may list labels that do not occur in `array`.
        name: the case or file, for messages.
        source: the DICOM series of the volume; needed to write DICOM.
        notes: what a person should know of how it was read.
    """

    array: npt.NDArray[np.uint8]
    geometry: Geometry
    table: LabelTable
    name: str = field(default="label map")
    source: DicomSource | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "array", np.ascontiguousarray(self.array))
        check_array(self.name, self.array, np.dtype(np.uint8), self.geometry)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(D, H, W)`."""
        return self.geometry.shape_dhw

    @property
    def spacing(self) -> Triple:
        """`(dz, dy, dx)` in mm."""
        return self.geometry.spacing_dhw

    def present(self) -> tuple[int, ...]:
        """Labels that occur, sorted."""
        return labels_in(self.array)


def labels_in(array: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    """Labels other than background in a uint8 array of any shape, sorted.

    Counted slice by slice: a count over all at once would widen the array to int64 first.
    """
    seen = np.zeros(256, dtype=bool)
    for part in array if array.ndim == 3 else (array,):
        seen |= np.bincount(part.ravel(), minlength=256) > 0
    seen[0] = False
    return tuple(int(value) for value in np.flatnonzero(seen))
