"""The header of an enhanced multi-frame CT: where each of its frames lies (PS3.3 A.38, C.7.6.16).

What SimpleITK says of such a file is taken from one frame, so positions are read with pydicom. SimpleITK scales all
voxels alike: frames that are scaled each in its own way are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from volumes.dicom.extra import load_pydicom
from volumes.dicom.stack import Plane
from volumes.errors import InputError


def read_frames(file: Path, size: tuple[int, ...], components: int, tags: dict[str, str]) -> list[Plane]:
    """The frames of a file as planes, in the file's order.

    Args:
        size: columns, rows, frames.
        components: values a voxel.
        tags: text of the header, which all frames share.

    Raises:
        InputError: pydicom is missing, no functional groups, or frames with scales of their own.
    """
    pydicom = load_pydicom(file)
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True)
    except Exception as error:  # pydicom raises whatever a damaged header leads it to
        raise _bad(file, f"a header that cannot be read ({error})", "copy or export it again") from error
    shared = header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    if len(own) != size[2]:
        raise _bad(
            file,
            f"{size[2]} frames and {len(own)} positions",
            "export the series as classic or enhanced CT, or convert it to NIfTI",
        )
    scales = {_scale(frame, shared[0]) for frame in own}
    if len(scales) > 1:
        raise _bad(file, "frames that are scaled each in its own way", "export the series as classic CT")
    return [
        Plane(
            file,
            number,
            size[:2],
            components,
            _numbers(frame, shared[0], "PlanePositionSequence", "ImagePositionPatient"),
            _numbers(frame, shared[0], "PlaneOrientationSequence", "ImageOrientationPatient"),
            _numbers(frame, shared[0], "PixelMeasuresSequence", "PixelSpacing"),
            tags,
        )
        for number, frame in enumerate(own)
    ]


def functional_group(frame: Any, shared: Any, sequence: str) -> Any:
    """The item of a functional group of a multi-frame file, the frame's own or that of all; None if there is none."""
    items = frame.get(sequence) or shared.get(sequence)
    return items[0] if items else None


def _numbers(frame: Any, shared: Any, sequence: str, keyword: str) -> tuple[float, ...]:
    group = functional_group(frame, shared, sequence)
    values = None if group is None else group.get(keyword)
    return () if values is None else tuple(float(value) for value in values)


def _scale(frame: Any, shared: Any) -> tuple[float, float]:
    group = functional_group(frame, shared, "PixelValueTransformationSequence")
    if group is None:
        return 1.0, 0.0
    return float(group.get("RescaleSlope", 1)), float(group.get("RescaleIntercept", 0))


def _bad(file: Path, found: str, fix: str) -> InputError:
    return InputError(file, found=found, expected="an enhanced CT with a place for each frame", fix=fix)
