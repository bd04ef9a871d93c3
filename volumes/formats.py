"""From file to `Volume` and `LabelMap`, and from `LabelMap` to file.

Reads NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd) and a DICOM series (folder, .zip or one
enhanced file); label maps also from DICOM-SEG and RTSTRUCT (`volumes.dicom`). Writes label maps as .nii.gz, .nii,
.nrrd, .seg.nrrd, .mha or .dcm.

Voxels: int16 Hounsfield units after the file's own rescaling; fractions are rounded to the nearest whole
number; values beyond int16 are set to its ends, which lie outside every window, so no tool can tell the
difference (metal above, padding such as -100000 below); NaN and infinity are refused.

The grid of a written label map, read back with SimpleITK, is bit for bit that of the input file if both are
of one format, and always for .mha. NIfTI has 32-bit header fields and NRRD stores spacing times direction,
so across formats the nearest grid that the format can hold is written; `write_label_map` returns how far
that is.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from volumes import nifti_header, nrrd_header, segments
from volumes.dicom.equipment import DicomOptions
from volumes.dicom.label_files import read_label_file, write_label_file
from volumes.dicom.names import is_dicom_file, is_label_file_name
from volumes.dicom.series import read_series
from volumes.errors import InputError
from volumes.image_files import ImageFile, image_in_file_order, planes, read_image, suffix_of
from volumes.label_map import LabelMap, labels_in
from volumes.labels import LabelTable
from volumes.quiet import quiet_itk
from volumes.volume import Geometry, Volume
from volumes.voxels import to_hounsfield, to_labels

OUTPUT_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".dcm")
GRID_TOLERANCE_MM = 1e-2
"""Greatest distance of a written grid from the input's; rounding to 32 bits stays below 1e-4 mm."""

_LAST_BIT_MM = 1e-15


def read_volume(path: str | Path) -> Volume:
    """Read a CT volume; raises InputError for anything that is not one."""
    path = Path(path)
    source = _read(path)
    array = to_hounsfield(planes(source.image), source.geometry, path)
    return Volume(array, source.geometry, case_name(path), source.source)


def read_label_map(
    path: str | Path, like: Volume | LabelMap | None = None, table: LabelTable | None = None
) -> LabelMap:
    """Read a label map: whole numbers from 0 to 255.

    Args:
        path: image file, DICOM-SEG or RTSTRUCT.
        like: the volume that the labels belong to. They must lie on its grid, up to rounding by the program
            that wrote them; the result has exactly its geometry. DICOM labels need it.
        table: names and colours; None takes those stored in the file, else default ones. Of DICOM labels, only
            structures in the table are read, and get its numbers.
    """
    path = Path(path)
    if path.is_file() and not suffix_of(path) and is_dicom_file(path):
        return read_label_file(path, like, table)
    return label_map_of(_read(path), path, like, table)


def label_map_of(
    source: ImageFile, where: str | Path, like: Volume | LabelMap | None = None, table: LabelTable | None = None
) -> LabelMap:
    """The label map in a checked image; `like` and `table` as for `read_label_map`, `where` for messages."""
    geometry = source.geometry
    canonical = to_labels(planes(source.image), geometry, where)
    if like is not None:
        check_grid(where, geometry, like.geometry, like.name)
        geometry = like.geometry
    names = table if table is not None else source.table
    if names is None:
        names = LabelTable((), name=str(where))
    series = None if like is None else like.source
    return LabelMap(canonical, geometry, names.covering(labels_in(canonical)), str(where), series)


def write_label_map(
    label_map: LabelMap, path: str | Path, overwrite: bool = False, dicom: DicomOptions | None = None
) -> float:
    """Write a label map on its own grid, whole or not at all.

    Names and colours go into the file: 3D Slicer's segment keys in .nrrd, .seg.nrrd and .mha, a label table
    in a header extension in NIfTI, coded segments or regions in DICOM.

    Args:
        dicom: how a .dcm is written; it needs `label_map.source`.

    Returns:
        Greatest distance in mm of a written voxel from where it belongs: 0.0 where the grid is the same
        bit for bit.
    """
    path = Path(path)
    suffix = check_output(path, overwrite)
    temporary = _temporary(path, suffix)
    try:
        if suffix == ".dcm":
            write_label_file(label_map, temporary, path, dicom or DicomOptions())
            shift = 0.0
        else:
            shift = _write_checked(label_map, temporary, suffix, path)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritten(path, f"a write error ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    return shift


def check_output(path: str | Path, overwrite: bool = False) -> str:
    """Raise InputError unless a label map can be written there; returns the format's ending.

    Cheap, so that a command can call it before its real work.
    """
    path = Path(path)
    suffix = ".dcm" if is_label_file_name(path) else suffix_of(path)
    if suffix not in OUTPUT_SUFFIXES:
        raise InputError(
            path,
            found=f"an output that ends in '{path.suffix}'",
            expected=f"one of {', '.join(OUTPUT_SUFFIXES)} (.seg.nrrd, .seg.dcm and .rtstruct.dcm included)",
            fix="choose another ending",
        )
    folder = path.parent
    if not folder.is_dir():
        raise InputError(
            path,
            found=f"no folder {folder}",
            expected="an existing folder",
            fix="create it, or correct the path",
        )
    if path.is_dir():
        raise InputError(path, found="a folder", expected="a file name", fix="add a file name to the path")
    if path.exists() and not overwrite:
        raise InputError(path, found="an existing file", expected="a new file", fix="use --overwrite or another name")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            path,
            found=f"no permission to write in {folder}",
            expected="a writable folder",
            fix="choose another folder, or change its permissions",
        )
    return suffix


def check_grid(where: str | Path, geometry: Geometry, like: Geometry, name: str) -> None:
    """Raise InputError unless labels' `geometry` is that of the volume `name`, up to rounding in between."""
    if geometry.is_close(like):
        return
    if geometry.shape_dhw != like.shape_dhw:
        found, expected = f"{geometry.shape_dhw} voxels (D, H, W)", f"{like.shape_dhw}"
    else:
        found = f"a grid that lies up to {like.displacement(geometry):.3g} mm off"
        found += f" (spacing {_text(geometry.spacing_dhw)} mm)"
        expected = f"the grid of {name} (spacing {_text(like.spacing_dhw)} mm)"
    raise InputError(where, found=found, expected=expected, fix="resample the labels to the volume (nearest)")


def case_name(path: str | Path) -> str:
    """File or folder name without the format's ending."""
    path = Path(path)
    for ending in (".seg.nrrd", suffix_of(path), ".zip"):
        if ending and path.name.lower().endswith(ending):
            return path.name[: -len(ending)] or path.name
    return path.name


def _read(path: Path) -> ImageFile:
    if path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip"):
        return read_series(path)
    if path.is_file() and not suffix_of(path) and is_dicom_file(path):
        return read_series(path)
    return read_image(path)


def _text(numbers: tuple[float, ...]) -> str:
    return " x ".join(f"{number:.6g}" for number in numbers)


def _temporary(path: Path, suffix: str) -> Path:
    """A new, empty, hidden file beside `path`, with the permissions of a normal file."""
    try:
        handle, name = tempfile.mkstemp(prefix=".keyslice-", suffix=suffix, dir=path.parent)
        os.close(handle)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
    except OSError as error:
        raise _unwritten(path, f"a write error ({error.strerror})") from error
    return Path(name)


def _write_checked(label_map: LabelMap, temporary: Path, suffix: str, path: Path) -> float:
    """Write an image file to `temporary` and read it back; returns how far its grid is off, in mm."""
    array = label_map.geometry.to_file(label_map.array)
    table = label_map.table.covering(label_map.present())
    _write(temporary, suffix, array, label_map.geometry, table, path)
    written = _read_back(temporary, path)
    shift = label_map.geometry.displacement(written.geometry)
    if shift > GRID_TOLERANCE_MM:
        raise InputError(
            path,
            found=f"a grid that {suffix} can only hold with an error of {shift:.3g} mm",
            expected="the input's grid",
            fix="write .nrrd or .mha",
        )
    if not np.array_equal(sitk.GetArrayViewFromImage(written.image), array):
        raise _unwritten(path, "a file that reads back differently")
    # Grids that differ in a last bit may put the corners at the same place: not zero, all the same.
    return 0.0 if label_map.geometry.same_grid(written.geometry) else max(shift, _LAST_BIT_MM)


def _write(
    temporary: Path,
    suffix: str,
    array: npt.NDArray[np.uint8],
    geometry: Geometry,
    table: LabelTable,
    path: Path,
) -> None:
    """Write labels in file order to `temporary`."""
    image = image_in_file_order(array, geometry)
    if suffix in (".nii", ".nii.gz"):
        # An uncompressed copy for SimpleITK to write; its header is completed on the way to `temporary`.
        plain = temporary.with_name(temporary.name.removesuffix(suffix) + "-plain.nii")
        try:
            _write_image(image, plain, False, path)
            nifti_header.finish(plain, temporary, geometry.nifti_grid, segments.to_xml(table) if table else "")
        finally:
            plain.unlink(missing_ok=True)
        return
    for key, value in segments.to_metadata(table, array).items():
        image.SetMetaData(key, segments.escape(value) if suffix == ".mha" else value)
    _write_image(image, temporary, True, path)
    if suffix == ".nrrd":
        nrrd_header.make_exact(temporary, geometry)


def _write_image(image: sitk.Image, target: Path, compress: bool, path: Path) -> None:
    try:
        with quiet_itk():
            sitk.WriteImage(image, str(target), compress)
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise InputError(
                path,
                found="axes that are not at right angles, which NIfTI cannot hold",
                expected="a format that can",
                fix="write .nrrd or .mha",
            ) from error
        raise _unwritten(path, "a write error") from error


def _read_back(temporary: Path, path: Path) -> ImageFile:
    try:
        return read_image(temporary)
    except InputError as error:
        raise _unwritten(path, f"a file that does not read back ({error.found})") from error


def _unwritten(path: Path, found: str) -> InputError:
    return InputError(
        path,
        found=found,
        expected="a complete label map on disk",
        fix="free disk space, or choose another folder",
    )
