"""Label maps that come from a page: their headers must not lead to other files of this machine."""

from __future__ import annotations

from pathlib import Path

from tools.files import LABEL_SUFFIXES, suffix_of
from volumes.errors import InputError

_HEADER = 1 << 20  # bytes in which a text header ends
_NRRD, _META = (".nrrd", ".seg.nrrd", ".nhdr"), (".mha", ".mhd")


def check_self_contained(path: Path) -> None:
    """Raise InputError for an image file whose header says that its voxels are in another file.

    NRRD and MetaImage can: `data file: /etc/passwd` would be read as voxels.
    """
    suffix = suffix_of(path, LABEL_SUFFIXES)
    if suffix not in _NRRD + _META:
        return
    with path.open("rb") as file:
        text = file.read(_HEADER).decode("latin-1")
    # Read more widely than the formats are meant, since their readers are lenient: any line counts, spaces do not.
    lines = ["".join(line.lower().split()) for line in text.replace("\r", "\n").split("\n")]
    if suffix in _META:
        named = [line for line in lines if line.startswith("elementdatafile=")]
        apart = named != ["elementdatafile=local"]
    else:
        apart = any(line.startswith("datafile:") for line in lines)
    if apart:
        raise InputError(
            "import",
            found="a header whose voxels are in another file",
            expected="one file that holds all",
            fix="save it as .nii.gz or .seg.nrrd",
        )
