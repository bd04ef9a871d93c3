"""One image file, read with SimpleITK and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from volumes import nifti_header, segments
from volumes.errors import InputError
from volumes.labels import LabelTable
from volumes.quiet import quiet_itk
from volumes.volume import Direction, Geometry, Triple

if TYPE_CHECKING:
    from volumes.dicom.source import DicomSource

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
SPACING_MM = (0.01, 100.0)
"""Spacing that can be meant: below, metres were written for millimetres; above, no CT is that coarse."""


@dataclass(frozen=True, eq=False)
class ImageFile:
    """A checked image: three axes, one value a voxel.

    Attributes:
        image: SimpleITK's image, in file order.
        geometry: its grid.
        table: label names and colours stored in the file, if any.
        source: the DICOM series that it was read from.
    """

    image: sitk.Image
    geometry: Geometry
    table: LabelTable | None = None
    source: DicomSource | None = None


def suffix_of(path: Path) -> str:
    """The format's file ending, lower case, or "" if it is none that Keyslice reads."""
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def read_image(path: Path) -> ImageFile:
    """Read a .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd; raises InputError."""
    suffix = check_readable(path)
    header = nifti_header.read_header(path, path) if suffix in (".nii", ".nii.gz") else None
    if header is not None:
        check_spacing(header.spacing, path)
    if suffix in (".mha", ".mhd"):
        _check_meta_numbers(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
            check_one_volume(reader.GetSize(), reader.GetNumberOfComponents(), path)
            image = reader.Execute()
    except RuntimeError as error:
        raise unreadable(path, error) from error
    if image.GetDimension() == 4:  # the fourth axis has one entry
        image = image[:, :, :, 0]
    geometry = geometry_of(image, path, header.grid if header else None)
    if header is not None:
        return ImageFile(image, geometry, segments.from_xml(header.extension, str(path)))
    metadata = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Segment")}
    if suffix in (".mha", ".mhd"):
        metadata = {key: segments.unescape(text) for key, text in metadata.items()}
    return ImageFile(image, geometry, segments.from_metadata(metadata, str(path)))


def checked_image(image: sitk.Image, where: str | Path) -> ImageFile:
    """An image that is in memory already, checked as those that are read; raises InputError."""
    check_one_volume(image.GetSize(), image.GetNumberOfComponentsPerPixel(), where)
    if image.GetDimension() == 4:  # the fourth axis has one entry
        image = image[:, :, :, 0]
    metadata = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Segment")}
    return ImageFile(image, geometry_of(image, where), segments.from_metadata(metadata, str(where)))


def image_in_file_order(array: npt.NDArray[Any], geometry: Geometry) -> sitk.Image:
    """SimpleITK's image of an array `(z, y, x)` in file order, on that grid bit for bit; the array is copied."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_xyz)
    image.SetOrigin(geometry.origin_xyz)
    image.SetDirection(geometry.direction)
    return image


def read_geometry(path: Path) -> tuple[Geometry, int]:
    """Grid of an image file and the bytes of all its voxels, from its header; raises InputError.

    Fast, whatever the size of the file: the voxels are not looked at.
    """
    check_readable(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(path, error) from error
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    check_one_volume(size, components, path)
    # A fourth axis, of one entry, stands in the header's grid too, which then is not that of the volume.
    geometry = read_image(path).geometry if reader.GetDimension() == 4 else geometry_of(reader, path)
    return geometry, math.prod(size) * sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()


def check_readable(path: Path) -> str:
    """The file's format ending; raises InputError if there is no such file or no such format."""
    if not path.exists():
        raise InputError(path, found="no such file", expected="an image file", fix="check the path")
    suffix = suffix_of(path)
    if not path.is_file() or not suffix:
        raise InputError(
            path,
            found="a folder" if path.is_dir() else f"a file that ends in '{path.suffix}'",
            expected=f"an image file ({', '.join(SUFFIXES)})",
            fix="convert it, or correct the path",
        )
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise InputError(
            path,
            found=f"a file that cannot be opened ({error.strerror})",
            expected="a readable file",
            fix="check its permissions",
        ) from error
    if empty:
        raise InputError(path, found="an empty file", expected="an image", fix="copy or download it again")
    return suffix


def check_one_volume(size: tuple[int, ...], components: int, where: str | Path) -> None:
    """Raise InputError unless the image has three axes, of which one may be one voxel long, and one value a voxel."""
    shape = " x ".join(str(n) for n in size)
    if len(size) > 3 and any(n != 1 for n in size[3:]):
        raise InputError(
            where,
            found=f"an image with {len(size)} axes ({shape})",
            expected="one volume with 3 axes",
            fix="save one time point or phase as a file of its own",
        )
    if components != 1:
        raise InputError(
            where,
            found=f"{components} values a voxel (colour or vector image)",
            expected="one value a voxel",
            fix="save a grey-value image, or a segmentation as one label map without layers",
        )
    if len(size) < 3 or sorted(size[:3])[1] < 2:
        raise InputError(
            where,
            found=f"an image of {shape} voxels ({'one slice' if len(size) == 2 else 'no slice'})",
            expected="a volume with 3 axes, at least 2 voxels along two of them",
            fix="give the whole volume",
        )


def check_spacing(spacing: tuple[float, ...], where: str | Path) -> None:
    """Raise InputError unless every spacing is within `SPACING_MM`."""
    low, high = SPACING_MM
    if not all(low <= step <= high for step in spacing):
        text = " x ".join(f"{step:g}" for step in spacing)
        raise InputError(
            where,
            found=f"spacing {text} mm",
            expected=f"{low:g} to {high:g} mm along each axis",
            fix="correct the spacing in the file's header",
        )


def geometry_of(
    image: sitk.Image | sitk.ImageFileReader, where: str | Path, nifti_grid: bytes | None = None
) -> Geometry:
    """Grid of a three-dimensional image; raises InputError for spacing or directions that cannot be meant."""
    spacing: Triple = image.GetSpacing()
    origin: Triple = image.GetOrigin()
    direction: Direction = image.GetDirection()
    check_spacing(spacing, where)
    if not all(math.isfinite(value) for value in origin):
        raise InputError(where, found=f"origin {origin}", expected="finite numbers", fix="correct the header")
    cosines = np.asarray(direction).reshape(3, 3)
    # A tilted gantry makes the axes oblique to each other, which is fine; parallel or unscaled ones are not.
    norms = np.linalg.norm(cosines, axis=0)
    if not (
        np.isfinite(cosines).all() and np.abs(norms - 1).max() < 1e-3 and abs(np.linalg.det(cosines)) > 0.1
    ):
        raise InputError(
            where,
            found=f"axis directions {np.round(cosines.T, 4).tolist()}",
            expected="three unit vectors that are not in one plane",
            fix="correct the direction (orientation) in the file's header",
        )
    return Geometry(image.GetSize(), spacing, origin, direction, nifti_grid)


def planes(image: sitk.Image) -> Iterator[np.ndarray]:
    """The file's slices `(y, x)` one by one, views that live as long as the image."""
    yield from sitk.GetArrayViewFromImage(image)


def unreadable(where: str | Path, error: RuntimeError) -> InputError:
    """InputError for SimpleITK's exception, with the last line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = re.sub(
        r"^(sitk::ERROR|ITK ERROR|Reason):\s*(\w+\(0x[0-9a-f]+\):\s*)?", "", lines[-1] if lines else ""
    )
    if "orthonormal" in str(error):
        return InputError(
            where,
            found="axes that are not at right angles to each other",
            expected="orthonormal directions, which is all that NIfTI readers take",
            fix="resample the image, or convert it to .nrrd from its source",
        )
    if "spacing is not supported" in str(error):
        return InputError(
            where,
            found="spacing of zero or not a number",
            expected=f"{SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm along each axis",
            fix="correct the spacing in the file's header",
        )
    return InputError(
        where,
        found=f"a file that is damaged, cut short or no image ({reason[:160]})",
        expected=f"a whole image file ({', '.join(SUFFIXES)}) or a DICOM series",
        fix="copy or export it again",
    )


def _check_meta_numbers(path: Path) -> None:
    """MetaIO reads `nan` as 0 and turns a negative spacing into a flip; neither is what the file says."""
    with path.open("rb") as stream:
        head = stream.read(1 << 16).split(b"ElementDataFile")[0].decode("latin-1")
    for field in ("ElementSpacing", "ElementSize", "Offset", "Origin", "Position", "TransformMatrix"):
        match = re.search(rf"(?m)^{field}\s*=\s*(.*)$", head)
        if match is None:
            continue
        try:
            numbers = [float(word) for word in match.group(1).split()]
        except ValueError:
            numbers = [math.nan]
        if field in ("ElementSpacing",):
            check_spacing(tuple(numbers[:3]), path)
        if not all(math.isfinite(number) for number in numbers):
            raise InputError(
                path,
                found=f"{field} = {match.group(1).strip()}",
                expected="numbers",
                fix="correct the header",
            )
