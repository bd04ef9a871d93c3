"""A DICOM series from a folder, a zip file or one enhanced file, as one volume.

The folder and its subfolders may hold one image series; other objects (structure sets, segmentations, doses, reports)
are passed over. The slices must lie one behind the other at even distances, see `volumes.dicom.stack`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from volumes.dicom.archives import extracted
from volumes.dicom.enhanced import read_frames
from volumes.dicom.source import REFERENCE_TAGS, source_of
from volumes.dicom.stack import Plane, in_order
from volumes.errors import InputError
from volumes.image_files import ImageFile, check_one_volume, geometry_of, unreadable
from volumes.quiet import quiet_itk

_SERIES, _DESCRIPTION, _MODALITY = "0020|000e", "0008|103e", "0008|0060"
_POSITION, _ORIENTATION, _PIXEL_SPACING = "0020|0032", "0020|0037", "0028|0030"
_NOT_SCANS = {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTIMAGE", "PR", "KO", "SR", "DOC", "REG", "FID"}


def read_series(path: Path) -> ImageFile:
    """Read the one image series in a folder, a .zip or an enhanced .dcm; raises InputError."""
    if path.is_file() and path.suffix.lower() == ".zip":
        with extracted(path) as folder:
            return _read_files(_files_in(folder), path)
    return _read_files(_files_in(path) if path.is_dir() else [path], path)


def _files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != "DICOMDIR")


def _read_files(files: list[Path], where: Path) -> ImageFile:
    with quiet_itk():
        planes = [plane for file in files for plane in _read_header(file)]
    series: dict[str, list[Plane]] = {}
    for one in planes:
        series.setdefault(one.tags.get(_SERIES, ""), []).append(one)
    if not series:
        raise InputError(
            where,
            found=f"no DICOM image among {len(files)} files" if len(files) != 1 else "no DICOM image",
            expected="the slices of one CT series",
            fix="give the folder or zip that holds the .dcm files",
        )
    if len(series) > 1:
        names = "; ".join(
            f"'{group[0].tags.get(_DESCRIPTION) or uid}' with {len(group)} slices"
            for uid, group in sorted(series.items())
        )
        raise InputError(
            where,
            found=f"{len(series)} series ({names})",
            expected="one series",
            fix="put each series into a folder of its own",
        )
    if where.is_file() and files == [where] and planes[0].frame is None:
        raise InputError(
            where,
            found="one DICOM file",
            expected="the folder or zip of the series",
            fix=f"give its folder, {where.parent}",
        )
    ordered = in_order(planes, where)
    image = _classic_image(ordered, where) if ordered[0].frame is None else _enhanced_image(ordered, where)
    check_one_volume(image.GetSize(), image.GetNumberOfComponentsPerPixel(), where)
    return ImageFile(image, geometry_of(image, where), source=source_of(ordered))


def _classic_image(planes: list[Plane], where: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(one.file) for one in planes])
    try:
        with quiet_itk():
            return reader.Execute()
    except RuntimeError as error:
        raise unreadable(where, error) from error


def _enhanced_image(planes: list[Plane], where: Path) -> sitk.Image:
    """The frames of one file in the order of the planes, on the grid that a classic series would have."""
    if any(one.file != planes[0].file for one in planes):
        raise InputError(
            where,
            found="several files, with several frames in one of them",
            expected="one enhanced file, or one slice a file",
            fix="join the parts of the series, or convert it to NIfTI",
        )
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(planes[0].file))
    try:
        with quiet_itk():
            stored = reader.Execute()
    except RuntimeError as error:
        raise unreadable(where, error) from error
    image = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(stored)[[one.frame or 0 for one in planes]])
    row, column = np.asarray(planes[0].orientation[:3]), np.asarray(planes[0].orientation[3:])
    positions = np.asarray([one.position for one in planes])
    distance = float(np.linalg.norm(positions[-1] - positions[0])) / (len(planes) - 1)
    image.SetSpacing((planes[0].spacing[1], planes[0].spacing[0], distance))
    image.SetOrigin(positions[0].tolist())
    image.SetDirection(np.column_stack([row, column, np.cross(row, column)]).ravel().tolist())
    return image


def _read_header(file: Path) -> list[Plane]:
    """The slices of a DICOM image; none of a file that is something else."""
    try:
        with file.open("rb") as stream:
            if stream.read(132)[128:] != b"DICM":
                return []
    except OSError as error:
        raise InputError(
            file,
            found=f"a file that cannot be opened ({error.strerror})",
            expected="a readable file",
            fix="check its permissions",
        ) from error
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # a DICOM object without an image: structure set, report, dose record
        return []

    def text(tag: str) -> str:
        return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""

    if text(_MODALITY) in _NOT_SCANS:
        return []
    tags = {tag: text(tag) for tag in (_SERIES, _DESCRIPTION, *REFERENCE_TAGS)}
    size, components = tuple(reader.GetSize()), reader.GetNumberOfComponents()
    if any(n != 1 for n in size[2:]):
        return read_frames(file, size, components, tags)
    position, orientation, spacing = (_numbers(text(tag)) for tag in (_POSITION, _ORIENTATION, _PIXEL_SPACING))
    return [Plane(file, None, size, components, position, orientation, spacing, tags)]


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split("\\")) if text else ()
    except ValueError:
        return ()
