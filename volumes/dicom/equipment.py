"""What every DICOM file that Keyslice writes says of itself, and identifiers for it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, get_args

from volumes.dicom.source import DicomSource
from volumes.errors import InputError

Made = Literal["MANUAL", "SEMIAUTOMATIC", "AUTOMATIC"]

MANUFACTURER = "Keyslice"
SERIES_NUMBER = 100  # beside the numbers that scanners give
UTF8 = "ISO_IR 192"


@dataclass(frozen=True)
class DicomOptions:
    """How a label map is written as DICOM.

    Attributes:
        empty_frames: a DICOM-SEG has a frame for every segment on every slice, also where it is not.
        made: who drew it: a person, a program after a person's key slices, or a program.
    """

    empty_frames: bool = False
    made: Made = "SEMIAUTOMATIC"


def made_named(name: str) -> Made:
    """Who drew labels, by its name in lower case; raises InputError for another."""
    known: tuple[Made, ...] = get_args(Made)
    for one in known:
        if one.lower() == name:
            return one
    raise InputError(
        f"--made {name}",
        found="an unknown word",
        expected=f"one of {', '.join(one.lower() for one in known)}",
        fix="choose one of these",
    )


def software_version() -> str:
    """The version of Keyslice."""
    try:
        return version("keyslice")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


def new_uid() -> str:
    """A UID that nobody had before, from a random UUID (PS3.5 B.2), which needs no registered root."""
    from pydicom.uid import generate_uid

    return str(generate_uid(prefix=None))


def check_source(source: DicomSource | None, where: Path) -> DicomSource:
    """The series that a file can refer to; raises InputError if there is none, or it lacks what that takes."""
    if source is None:
        raise InputError(
            where,
            found="a CT that is no DICOM series",
            expected="the series that a DICOM output can refer to",
            fix="give the CT as a DICOM folder or zip (`keyslice convert --ct`), or write .nii.gz or .seg.nrrd",
        )
    missing = [
        name
        for name, value in (
            ("Study Instance UID", source.study_uid),
            ("Series Instance UID", source.series_uid),
            ("Frame of Reference UID", source.frame_of_reference_uid),
            ("SOP Class UID", source.sop_class_uid),
            ("SOP Instance UID", all(source.instances)),
        )
        if not value
    ]
    if missing:
        raise InputError(
            where,
            found=f"a CT series without one {missing[0]} for all slices",
            expected="a series that can be referred to",
            fix="export the original series, or write .nii.gz or .seg.nrrd",
        )
    return source
