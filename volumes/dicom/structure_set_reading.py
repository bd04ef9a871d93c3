"""Regions of interest of an RTSTRUCT, drawn on the slices of a volume.

Contours of one region on one slice are combined by exclusive or, see `volumes.dicom.contours`. They may lie across any
one of the volume's three axes. What encloses no area (points, open lines) is left out, and a note says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from volumes.dicom.codes import TEXT, snomed_from
from volumes.dicom.contours import Contour, area, fill
from volumes.dicom.reading import check_belongs, whole
from volumes.dicom.structure_set import CONTOUR_DATA
from volumes.dicom.structures import Part, Structure
from volumes.errors import InputError
from volumes.label_map import LabelMap
from volumes.labels import Color
from volumes.volume import Geometry, Volume

if TYPE_CHECKING:
    from pydicom import Dataset

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_BETWEEN = 0.25  # of a slice distance: further from the slices, a contour belongs to none

Plane = tuple[int, int]
"""Axis of the file that the plane lies across (0 x, 1 y, 2 z), and the index along it."""


def read_structure_set(path: Path, dataset: Dataset, like: Volume | LabelMap, notes: list[str]) -> list[Structure]:
    """The regions of a file that have closed contours; what is left out is added to `notes`.

    Raises:
        InputError: another series or frame of reference, contours between slices, none at all, or a damaged file.
    """
    with whole(path):
        check_belongs(path, like.source, *_references(dataset))
        colors, contours = _drawn(dataset)
        codes = _codes(dataset)
        structures, without = [], []
        for region in dataset.get("StructureSetROISequence") or []:
            number, name = int(region.ROINumber), str(region.get("ROIName", ""))
            long_name = str(region.get("ROIDescription", ""))
            if len(long_name) > TEXT and long_name.startswith(name):  # as Keyslice writes a long name
                name = long_name
            closed = [one for one in contours.get(number, []) if one.ContourGeometricType in _CLOSED]
            planes = _planes(path, name, closed, like)
            if not planes:
                without.append(name)
                continue
            size = sum(area(one) for group in planes.values() for one in group)
            drawn = partial(_parts, like.geometry, planes)
            structures.append(Structure(name, size, drawn, colors.get(number), codes.get(number), number))
    if without:
        notes.append(f"without closed contours and left out: {', '.join(without)}")
    if not structures:
        raise InputError(
            path, found="no closed contour", expected="regions with closed contours", fix="choose another file"
        )
    return structures


def _references(dataset: Dataset) -> tuple[set[str], set[str]]:
    """UIDs of the frames of reference and of the series that the file refers to."""
    frames = {str(one.get("ReferencedFrameOfReferenceUID", "")) for one in dataset.get("StructureSetROISequence") or []}
    series = set()
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        frames.add(str(frame.get("FrameOfReferenceUID", "")))
        for study in frame.get("RTReferencedStudySequence") or []:
            series |= {str(one.SeriesInstanceUID) for one in study.get("RTReferencedSeriesSequence") or []}
    return frames, series


def _drawn(dataset: Dataset) -> tuple[dict[int, Color], dict[int, list[Any]]]:
    """Colours and contours by the number of their region."""
    colors: dict[int, Color] = {}
    contours: dict[int, list[Any]] = {}
    for item in dataset.get("ROIContourSequence") or []:
        number = int(item.ReferencedROINumber)
        contours.setdefault(number, []).extend(item.get("ContourSequence") or [])
        stored = item.get("ROIDisplayColor")
        if stored is not None and len(stored) == 3:
            red, green, blue = (min(255, max(0, int(channel))) for channel in stored)
            colors[number] = (red, green, blue)
    return colors, contours


def _codes(dataset: Dataset) -> dict[int, Any]:
    return {
        int(item.ReferencedROINumber): snomed_from((), item.get("RTROIIdentificationCodeSequence") or [])
        for item in dataset.get("RTROIObservationsSequence") or []
    }


def _planes(path: Path, name: str, contours: list[Any], like: Volume | LabelMap) -> dict[Plane, list[Contour]]:
    """Contours in pixel coordinates of the planes of the grid that they lie on."""
    geometry = like.geometry
    to_voxels = np.linalg.inv(np.reshape(geometry.direction, (3, 3)) * geometry.spacing_xyz)
    found: dict[Plane, list[Contour]] = {}
    for contour in contours:
        points = _points(contour)
        if not np.isfinite(points).all():
            raise ValueError(f"a contour of '{name}' with a coordinate that is no number")
        if len(points) < 3:
            continue
        voxels = (points - geometry.origin_xyz) @ to_voxels.T
        axis = int(np.ptp(voxels, axis=0).argmin())
        index = int(np.rint(voxels[:, axis].mean()))
        off = float(np.abs(voxels[:, axis] - index).max())
        if off > _BETWEEN or not 0 <= index < geometry.size_xyz[axis]:
            where = "beyond the slices" if off <= _BETWEEN else f"{min(off, 0.5):.2f} of a slice off the slices"
            raise InputError(
                path,
                found=f"a contour of '{name}' that lies {where} of {like.name}",
                expected="contours on its slices",
                fix="give the CT that they were drawn on",
            )
        # As numpy counts axes, rows of a plane run along the later of the file's other two.
        column_axis, row_axis = (one for one in (0, 1, 2) if one != axis)
        found.setdefault((axis, index), []).append(voxels[:, [row_axis, column_axis]])
    return found


def _points(contour: Any) -> npt.NDArray[np.float64]:
    """Points (N, 3) in mm, from the stored text: pydicom would make an object of each number."""
    value = contour.get_item(CONTOUR_DATA).value
    if isinstance(value, bytes):
        value = value.decode("ascii").strip(" \0").split("\\")
    return np.asarray(value, dtype=np.float64).reshape(-1, 3)


def _parts(geometry: Geometry, planes: dict[Plane, list[Contour]], array: npt.NDArray[np.uint8]) -> Iterator[Part]:
    in_file = geometry.file_view(array)
    for (axis, index), contours in sorted(planes.items()):
        view = np.moveaxis(in_file, 2 - axis, 0)[index]
        yield view, fill(contours, view.shape)
