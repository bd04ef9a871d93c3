"""A DICOM series from a folder or a zip file, as one volume.

The folder and its subfolders may hold one image series; other objects (structure sets, reports) are passed
over. The slices must lie one behind the other at even distances.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import SimpleITK as sitk

from volumes.errors import InputError
from volumes.image_files import ImageFile, check_one_volume, check_spacing, geometry_of, unreadable
from volumes.quiet import quiet_itk

_SERIES, _DESCRIPTION = "0020|000e", "0008|103e"
_POSITION, _ORIENTATION, _PIXEL_SPACING = "0020|0032", "0020|0037", "0028|0030"
_UNEVEN = 0.05  # of the slice distance, and 0.02 mm for positions written with few digits
_UNEVEN_MM = 0.02


@dataclass(frozen=True)
class _Slice:
    file: Path
    series: str
    description: str
    size: tuple[int, ...]
    components: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]


def read_series(path: Path) -> ImageFile:
    """Read the one image series in a folder or a .zip; raises InputError."""
    if path.is_dir():
        return _read_folder(path, path)
    with _extracted(path) as folder:
        return _read_folder(folder, path)


def _read_folder(folder: Path, where: Path) -> ImageFile:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != "DICOMDIR")
    with quiet_itk():
        slices = [one for one in (_read_header(file) for file in files) if one is not None]
    series: dict[str, list[_Slice]] = {}
    for one in slices:
        series.setdefault(one.series, []).append(one)
    if not series:
        raise InputError(
            where,
            found=f"no DICOM image among {len(files)} files",
            expected="the slices of one CT series",
            fix="give the folder or zip that holds the .dcm files",
        )
    if len(series) > 1:
        names = "; ".join(
            f"'{group[0].description or uid}' with {len(group)} slices"
            for uid, group in sorted(series.items())
        )
        raise InputError(
            where,
            found=f"{len(series)} series ({names})",
            expected="one series",
            fix="put each series into a folder of its own",
        )
    ordered = _in_order(next(iter(series.values())), where)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(one.file) for one in ordered])
    try:
        with quiet_itk():
            image = reader.Execute()
    except RuntimeError as error:
        raise unreadable(where, error) from error
    check_one_volume(image.GetSize(), image.GetNumberOfComponentsPerPixel(), where)
    return ImageFile(image, geometry_of(image, where))


def _read_header(file: Path) -> _Slice | None:
    """Header of a DICOM image; None for a file that is something else."""
    try:
        with file.open("rb") as stream:
            if stream.read(132)[128:] != b"DICM":
                return None
    except OSError as error:
        found = f"a file that cannot be opened ({error.strerror})"
        raise _bad(file, found, "a readable file", "check its permissions") from error
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # a DICOM object without an image: structure set, report, dose record
        return None

    def text(tag: str) -> str:
        return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""

    return _Slice(
        file,
        text(_SERIES),
        text(_DESCRIPTION),
        tuple(reader.GetSize()),
        reader.GetNumberOfComponents(),
        _numbers(text(_POSITION)),
        _numbers(text(_ORIENTATION)),
        _numbers(text(_PIXEL_SPACING)),
    )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split("\\")) if text else ()
    except ValueError:
        return ()


def _in_order(slices: list[_Slice], where: Path) -> list[_Slice]:
    """Slices sorted along their normal; raises InputError unless they make one even stack."""
    first = slices[0]
    for one in slices:
        if len(one.size) > 2 and any(n != 1 for n in one.size[2:]):
            raise _bad(
                where,
                f"several frames in one file ({one.file.name})",
                "one slice a file",
                "export the series as classic (not enhanced) CT, or convert it to NIfTI",
            )
        if one.components != 1:
            check_one_volume((*one.size[:2], len(slices)), one.components, where)
        if len(one.position) != 3 or len(one.orientation) != 6:
            raise _bad(
                where,
                f"{one.file.name} without position or orientation",
                "both in every slice",
                "export the original CT series, not pictures of it",
            )
        if one.size[:2] != first.size[:2] or not np.allclose(one.spacing, first.spacing, rtol=1e-4):
            raise _bad(
                where,
                f"{one.file.name} with another matrix or pixel spacing than {first.file.name}",
                "slices of one size",
                "put each series into a folder of its own",
            )
        if not np.allclose(one.orientation, first.orientation, atol=1e-3):
            raise _bad(
                where,
                f"{one.file.name} in another orientation than {first.file.name}",
                "parallel slices",
                "put each series into a folder of its own",
            )
    if len(slices) < 2:
        raise _bad(where, "one slice", "a series of at least 2 slices", "give the whole series")
    check_spacing(first.spacing, where)
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    positions = np.asarray([one.position for one in slices], dtype=np.float64)
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    _check_stack(heights[order], positions[order], normal, where)
    return [slices[int(index)] for index in order]


def _check_stack(heights: np.ndarray, positions: np.ndarray, normal: np.ndarray, where: Path) -> None:
    """Raise InputError unless sorted heights (mm) are evenly spaced and the slices lie straight behind
    each other."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    tolerance = _UNEVEN * usual + _UNEVEN_MM
    if steps.min() < 1e-3:
        raise _bad(
            where,
            f"two slices at the same place ({heights[int(steps.argmin())]:.2f} mm)",
            "one slice at each place",
            "remove the copies, or separate the phases",
        )
    if steps.max() > 1.5 * usual:
        at = int(steps.argmax())
        gap = f"a gap of {steps[at]:.2f} mm after {heights[at]:.2f} mm"
        raise _bad(
            where, f"missing slices ({gap})", f"a slice every {usual:.2f} mm", "export the whole series"
        )
    if np.abs(steps - usual).max() > tolerance:
        raise _bad(
            where,
            f"slices {steps.min():.2f} to {steps.max():.2f} mm apart",
            "even distances",
            "resample the series to even distances",
        )
    sideways = positions - positions[0] - np.outer(heights - heights[0], normal)
    shift = float(np.linalg.norm(sideways, axis=1).max())
    if shift > max(0.5, 0.01 * float(heights[-1] - heights[0])):
        found = f"slices shifted sideways by up to {shift:.1f} mm (tilted gantry)"
        fix = "correct the tilt, for example with dcm2niix"
        raise _bad(where, found, "slices straight behind each other", fix)


def _bad(where: Path, found: str, expected: str, fix: str) -> InputError:
    return InputError(where, found=found, expected=expected, fix=fix)


@contextmanager
def _extracted(path: Path) -> Iterator[Path]:
    """A temporary folder with the content of a zip file; nothing is ever written outside it."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="keyslice-"))
            with zipfile.ZipFile(path) as archive:
                _check_members(archive.infolist(), shutil.disk_usage(folder).free, path)
                archive.extractall(folder)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            found = f"a damaged zip file ({error})"
            raise _bad(path, found, "a zip of one DICOM series", "pack or copy it again") from error
        except OSError as error:
            found = f"a zip file that cannot be unpacked ({error.strerror})"
            fix = "free disk space, or unpack it yourself and give the folder"
            raise _bad(path, found, "a readable zip and room in the temporary folder", fix) from error
        yield Path(folder)


def _check_members(members: Iterable[zipfile.ZipInfo], free_bytes: int, path: Path) -> None:
    total = 0
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        linked = stat.S_ISLNK(member.external_attr >> 16)
        if name.is_absolute() or ".." in name.parts or ":" in member.filename or linked:
            raise _bad(
                path,
                f"the entry '{member.filename}', which leads out of the folder",
                "only files inside the zip",
                "pack the series again",
            )
        if member.flag_bits & 1:
            raise _bad(
                path, "an encrypted zip file", "one without a password", "unpack it and give the folder"
            )
        total += member.file_size
    if total > free_bytes:
        free = f"at most the {free_bytes / 1e9:.1f} GB that are free"
        raise _bad(path, f"{total / 1e9:.1f} GB of content", free, "free disk space")
