"""How files of DICOM labels are named."""

from __future__ import annotations

from pathlib import Path

LABEL_FILE_SUFFIXES = (".rtstruct.dcm", ".seg.dcm", ".dcm")
"""A name that ends in rtstruct.dcm is that of an RTSTRUCT; any other .dcm is a DICOM-SEG."""


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM, by its name or, without an ending of its own, by its first bytes."""
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:  # whoever reads it says what is wrong
        return False


def is_label_file_name(path: Path) -> bool:
    """Whether labels at `path` are DICOM."""
    return path.name.lower().endswith(".dcm")


def is_structure_set_name(path: Path) -> bool:
    """Whether an RTSTRUCT is meant, rather than a DICOM-SEG."""
    return path.name.lower().endswith("rtstruct.dcm")
