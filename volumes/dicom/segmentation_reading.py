"""Segments of a DICOM-SEG, binary or a label map, drawn on the slices of a volume.

A frame lies where its position says, whatever the order of frames and whichever way round its rows and columns run:
on a slice of the volume, or across the slices. Frames of a part of a slice are taken as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from volumes.dicom.codes import TEXT, snomed_from
from volumes.dicom.enhanced import functional_group
from volumes.dicom.reading import check_belongs, whole
from volumes.dicom.segmentation import LABEL_ELEMENT, PRIVATE_CREATOR, PRIVATE_GROUP
from volumes.dicom.structures import Part, Structure
from volumes.errors import InputError
from volumes.label_map import LabelMap
from volumes.labels import Color
from volumes.volume import Geometry, Volume

if TYPE_CHECKING:
    from pydicom import Dataset

_OFF = 0.1  # of a voxel: further from the voxels of the volume, it is another grid
_BETWEEN = 0.25  # of a slice distance: series are taken whose slices lie as far as 0.1 from even distances

View = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]


def read_segmentation(path: Path, dataset: Dataset, like: Volume | LabelMap) -> list[Structure]:
    """The segments of a file.

    Raises:
        InputError: fractional segments, another series, frame of reference or grid, or a damaged file.
    """
    with whole(path):
        kind = dataset.SegmentationType
        if kind not in ("BINARY", "LABELMAP"):
            raise InputError(
                path,
                found=f"{str(kind).lower()} segments, which give each voxel a share",
                expected="binary segments",
                fix="export the segmentation as binary, with a threshold of your choice",
            )
        series = {str(one.SeriesInstanceUID) for one in dataset.get("ReferencedSeriesSequence") or []}
        check_belongs(path, like.source, {str(dataset.get("FrameOfReferenceUID", ""))}, series)
        views = _views(path, dataset, like.geometry, like.name)
        sizes, frames = _occurrences(dataset)
        structures = []
        for item in dataset.SegmentSequence:
            number = int(item.SegmentNumber)
            if number == 0:  # the background of a label map
                continue
            value = number if kind == "LABELMAP" else None
            drawn = partial(_parts, path, dataset, views, frames[number], value)
            structures.append(_structure(item, sizes[number], drawn, value))
        return structures


def _occurrences(dataset: Dataset) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Of each segment its voxels, and the frames that it occurs in."""
    described = [int(one.SegmentNumber) for one in dataset.SegmentSequence]
    sizes: dict[int, int] = dict.fromkeys(described, 0)
    frames: dict[int, list[int]] = {number: [] for number in described}
    shared, own = _functional_groups(dataset)
    label_map = dataset.SegmentationType == "LABELMAP"
    for index, (group, pixels) in enumerate(zip(own, _decoded(dataset, range(len(own))), strict=True)):
        if label_map:
            numbers, counts = np.unique(pixels[pixels > 0], return_counts=True)
            found = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        else:
            number = int(functional_group(group, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)
            found = {number: int(np.count_nonzero(pixels))}
        for number, count in found.items():
            if number not in sizes:
                raise ValueError(f"segment {number} is not described")
            if count:
                sizes[number] += count
                frames[number].append(index)
    return sizes, frames


def _parts(
    path: Path,
    dataset: Dataset,
    views: list[View],
    frames: list[int],
    value: int | None,
    array: npt.NDArray[np.uint8],
) -> Iterator[Part]:
    """Masks of one segment; `value` is its number in a label map."""
    with whole(path):
        for index, pixels in zip(frames, _decoded(dataset, frames), strict=True):
            yield views[index](array), pixels != 0 if value is None else pixels == value


def _structure(
    item: Any, size: int, parts: Callable[[npt.NDArray[np.uint8]], Iterator[Part]], value: int | None
) -> Structure:
    name, long_name = str(item.get("SegmentLabel", "")), str(item.get("SegmentDescription", ""))
    if len(long_name) > TEXT and long_name.startswith(name):  # as Keyslice writes a long name
        name = long_name
    code = snomed_from(
        item.get("SegmentedPropertyCategoryCodeSequence") or [],
        item.get("SegmentedPropertyTypeCodeSequence") or [],
        item.get("SegmentedPropertyTypeModifierCodeSequence") or [],
    )
    return Structure(name, size, parts, _color(item), code, _label_of(item) or value)


def _color(item: Any) -> Color | None:
    stored = item.get("RecommendedDisplayCIELabValue")
    if stored is None or len(stored) != 3:
        return None
    from skimage.color import lab2rgb

    lightness, a, b = (float(value) for value in stored)
    lab = (lightness * 100 / 0xFFFF, a * 255 / 0xFFFF - 128, b * 255 / 0xFFFF - 128)
    red, green, blue = (round(255 * float(channel)) for channel in lab2rgb(lab))
    return red, green, blue


def _label_of(item: Any) -> int | None:
    """The label's number that Keyslice keeps in a private element; None in files of others."""
    try:
        return int(item.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)[LABEL_ELEMENT].value)
    except KeyError:
        return None


def _decoded(dataset: Dataset, frames: Iterable[int]) -> Iterator[npt.NDArray[Any]]:
    """Pixels (rows, columns) of frames, one after the other."""
    from pydicom.pixels import iter_pixels

    wanted = list(frames)
    if int(dataset.BitsAllocated) == 1 and not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        yield from _unpacked(dataset, wanted)
    elif wanted:  # pydicom takes no frames for all
        yield from iter_pixels(dataset, indices=wanted, raw=True)


def _unpacked(dataset: Dataset, frames: list[int]) -> Iterator[npt.NDArray[np.uint8]]:
    """Frames of single bits, which follow each other without a gap (PS3.5 8.1.1); pydicom 3.0.2 loses the last bits."""
    shape = (int(dataset.Rows), int(dataset.Columns))
    count = shape[0] * shape[1]
    packed = np.frombuffer(dataset.PixelData, np.uint8)
    if 8 * len(packed) < count * int(dataset.NumberOfFrames):
        raise ValueError(f"{len(packed)} bytes of pixels")
    for frame in frames:
        begin, end = frame * count, (frame + 1) * count
        bits = np.unpackbits(packed[begin // 8 : -(-end // 8)], bitorder="little")
        yield bits[begin % 8 :][:count].reshape(shape)


def _functional_groups(dataset: Dataset) -> tuple[Any, list[Any]]:
    own = list(dataset.PerFrameFunctionalGroupsSequence)
    if len(own) != int(dataset.NumberOfFrames):
        raise ValueError(f"{dataset.NumberOfFrames} frames, {len(own)} described")
    return dataset.SharedFunctionalGroupsSequence[0], own


def _views(path: Path, dataset: Dataset, geometry: Geometry, name: str) -> list[View]:
    """For each frame, the view of labels (D, H, W) on the grid that its pixels (rows, columns) lie on."""
    shared, own = _functional_groups(dataset)
    size = (int(dataset.Rows), int(dataset.Columns))
    to_voxels = np.linalg.inv(np.reshape(geometry.direction, (3, 3)) * geometry.spacing_xyz)
    views = []
    for index, group in enumerate(own):
        place = functional_group(group, shared, "PlanePositionSequence").ImagePositionPatient
        cosines = np.asarray(
            functional_group(group, shared, "PlaneOrientationSequence").ImageOrientationPatient, dtype=float
        )
        row_mm, column_mm = (float(mm) for mm in functional_group(group, shared, "PixelMeasuresSequence").PixelSpacing)
        start = to_voxels @ (np.asarray(place, dtype=float) - geometry.origin_xyz)
        # Image Orientation gives the direction along a row first, in which columns are counted.
        steps = (to_voxels @ (cosines[3:] * row_mm), to_voxels @ (cosines[:3] * column_mm))
        view = _view(geometry, start, steps, size)
        if view is None:
            raise InputError(
                path,
                found=f"frame {index + 1} on another grid ({size[0]} x {size[1]} of {row_mm:g} x {column_mm:g} mm)",
                expected=f"frames on the voxels of {name}, {geometry.shape_dhw} (D, H, W)",
                fix="give the CT that they were drawn on, or resample them to it (nearest)",
            )
        views.append(view)
    return views


def _view(
    geometry: Geometry,
    start: npt.NDArray[np.float64],
    steps: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    size: tuple[int, int],
) -> View | None:
    """The view of a frame that begins at voxel `start` (x, y, z) and goes on by `steps` a row and a column.

    None if its pixels are not voxels of the grid.
    """
    whole_steps = [np.rint(step) for step in steps]
    across = [int(np.abs(step).argmax()) for step in whole_steps]
    if across[0] == across[1] or any(np.abs(step).sum() != 1 for step in whole_steps):
        return None
    normal = 3 - sum(across)
    first = np.rint(start)
    last = start + sum(step * (count - 1) for step, count in zip(steps, size, strict=True))
    whole_last = first + sum(step * (count - 1) for step, count in zip(whole_steps, size, strict=True))
    allowed = np.full(3, _OFF)
    allowed[normal] = _BETWEEN
    limits = np.asarray(geometry.size_xyz) - 1
    for exact, voxel in ((start, first), (last, whole_last)):
        if (np.abs(exact - voxel) > allowed).any() or (voxel < 0).any() or (voxel > limits).any():
            return None
    box: list[int | slice] = [0, 0, 0]  # as numpy counts axes: z, y, x
    box[2 - normal] = int(first[normal])
    for axis, step, count in zip(across, whole_steps, size, strict=True):
        begin, sign = int(first[axis]), int(step[axis])
        end = begin + sign * count
        box[2 - axis] = slice(begin, None if end < 0 else end, sign)
    turned = across[0] < across[1]  # rows run along x and columns along y, or the like

    def view(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        plane = geometry.file_view(array)[tuple(box)]
        return plane.T if turned else plane

    return view
