"""Label maps in DICOM files: DICOM-SEG and RTSTRUCT, told apart by what they are and written by how they are named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from volumes.dicom.equipment import DicomOptions, check_source
from volumes.dicom.extra import load_highdicom, load_pydicom
from volumes.dicom.names import is_structure_set_name
from volumes.errors import InputError

if TYPE_CHECKING:
    from volumes.dicom.source import DicomSource
    from volumes.label_map import LabelMap
    from volumes.labels import LabelTable
    from volumes.volume import Volume

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # binary or fractional; label map


def read_label_file(path: Path, like: Volume | LabelMap | None, table: LabelTable | None) -> LabelMap:
    """Read a DICOM-SEG or RTSTRUCT onto the grid of `like`; what was left out or overlaps is in its `notes`.

    Args:
        like: the volume that the labels belong to; contours have no grid of their own.
        table: chooses structures by name or code and numbers them; None takes all, as the file numbers them.

    Raises:
        InputError: no such file, no volume, or labels that are not the volume's.
    """
    from volumes.dicom.reading import read_dataset
    from volumes.dicom.segmentation_reading import read_segmentation
    from volumes.dicom.structure_set import STORAGE
    from volumes.dicom.structure_set_reading import read_structure_set
    from volumes.dicom.structures import to_label_map

    if like is None:
        raise InputError(
            path,
            found="DICOM labels without the CT that they were drawn on",
            expected="the CT, whose slices they lie on",
            fix="convert them first: keyslice convert labels.dcm --ct SERIES -o labels.nii.gz",
        )
    dataset = read_dataset(path)
    notes: list[str] = []
    if dataset.SOPClassUID in _SEGMENTATIONS:
        structures = read_segmentation(path, dataset, like)
    elif dataset.SOPClassUID == STORAGE:
        structures = read_structure_set(path, dataset, like, notes)
    else:
        raise InputError(
            path,
            found=f"DICOM of another kind ({dataset.SOPClassUID.name})",
            expected="a DICOM-SEG or RTSTRUCT",
            fix="choose another file",
        )
    return to_label_map(structures, like, table, path, notes)


def check_can_write(path: Path, source: DicomSource | None) -> None:
    """Raise InputError unless DICOM labels of a volume with this source can be written to `path`."""
    if is_structure_set_name(path):
        load_pydicom(path)
    else:
        load_highdicom(path)
    check_source(source, path)


def write_label_file(labels: LabelMap, target: Path, path: Path, options: DicomOptions) -> None:
    """Write a DICOM-SEG or RTSTRUCT to `target` and read it back.

    Args:
        path: where it goes afterwards, whose name decides what is written.

    Raises:
        InputError: no label, no series to refer to, a missing package, or a file that reads back differently.
    """
    from volumes.dicom.segmentation import write_segmentation
    from volumes.dicom.structure_set import write_structure_set

    source = check_source(labels.source, path)
    if not labels.array.any():
        raise InputError(
            path, found="no label in the label map", expected="one structure or more", fix="write another format"
        )
    write = write_structure_set if is_structure_set_name(path) else write_segmentation
    write(labels, source, target, options)
    try:
        different = not np.array_equal(read_label_file(target, labels, None).array, labels.array)
    except InputError as error:
        different, reason = True, error.found
    else:
        reason = "other labels"
    if different:
        raise InputError(
            path,
            found=f"a file that reads back differently ({reason})",
            expected="the same label on every voxel",
            fix="write .seg.nrrd, and report this as a fault of Keyslice",
        )
