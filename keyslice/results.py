"""What comes back: labels in the kind and on the grid of what went in, and how sure they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from volumes.formats import write_label_map
from volumes.image_files import planes
from volumes.label_map import LabelMap
from volumes.labels import LabelTable
from volumes.volume import Geometry
from volumes.voxels import to_labels

if TYPE_CHECKING:
    import SimpleITK as sitk

    from volumes.dicom.source import DicomSource

    Labels = TypeVar("Labels", sitk.Image, npt.NDArray[np.uint8])
else:
    Labels = TypeVar("Labels")


@dataclass(frozen=True, eq=False)
class Result(Generic[Labels]):
    """A labelled volume.

    Attributes:
        labels: label numbers, 0 for background. A uint8 array in the order of the array that came in; for a file or a
            SimpleITK image a SimpleITK image on its grid, bit for bit. What is changed here is what `save` writes.
        confidence: for each label number, a float32 array `(D,)` in [0, 1]: the Dice to expect on each slice, 1 where
            it was given. Slices count as in the array that came in, else from 0 at the most inferior one.
        key_slices: slices that carried labels, counted likewise.
        names: numbers, names and colours.
        warnings: what a person should know, one sentence each.
        report: of `segment`: which key slices were taken, and why; slices count from the most inferior one.
        source: the DICOM series that the CT came from, which DICOM labels refer to.
    """

    labels: Labels
    confidence: Mapping[int, npt.NDArray[np.float32]]
    key_slices: tuple[int, ...]
    names: LabelTable
    warnings: tuple[str, ...]
    geometry: Geometry = field(repr=False)
    name: str
    report: Mapping[str, Any] = field(default_factory=dict, repr=False)
    source: DicomSource | None = field(default=None, repr=False)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> float:
        """Write the labels, names and colours among them, whole or not at all.

        Formats: .nii.gz, .nii, .nrrd, .seg.nrrd, .mha; .seg.dcm and .rtstruct.dcm of a CT that is a DICOM series.

        Returns:
            Greatest distance in mm of a written voxel from where it belongs: 0.0 where the grid is the same bit for
            bit, see `volumes.formats`.

        Raises:
            InputError: it cannot be written there; nothing has changed then.
        """
        return write_label_map(self.label_map(), Path(path), overwrite=overwrite)

    def label_map(self) -> LabelMap:
        """The labels in canonical order, with grid and names."""
        labels = self.labels
        array = to_labels(labels if isinstance(labels, np.ndarray) else planes(labels), self.geometry, self.name)
        return LabelMap(array, self.geometry, self.names, self.name, self.source)
