"""A DICOM file of labels, opened and checked to belong to the volume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from volumes.dicom.extra import load_pydicom
from volumes.dicom.source import DicomSource
from volumes.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset


_DEFLATED_BYTES = 4_000_000  # zlib packs up to 1032 to 1, and pydicom unpacks all at once
_UNDEFINED = 0xFFFFFFFF  # the length of an element that ends with a delimiter


def read_dataset(path: Path) -> Dataset:
    """The file with all that it holds; raises InputError for a file that is none, or cut short."""
    pydicom = load_pydicom(path)
    if not path.exists():
        raise InputError(path, found="no such file", expected="a DICOM-SEG or RTSTRUCT", fix="check the path")
    with whole(path):
        syntax = pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID
        if syntax.is_deflated and path.stat().st_size > _DEFLATED_BYTES:
            raise InputError(
                path,
                found=f"a deflated file of {path.stat().st_size / 1e6:.1f} MB, which may unpack to 1000 times as much",
                expected=f"at most {_DEFLATED_BYTES / 1e6:.0f} MB",
                fix="export it without compression",
            )
        dataset: Dataset = pydicom.dcmread(path)
        _ = dataset.SOPClassUID
        # pydicom takes what there is of the last element.
        last = dataset.get_item(max(dataset.keys()))
        if isinstance(last.value, bytes) and len(last.value) < getattr(last, "length", 0) < _UNDEFINED:
            raise ValueError("the end is missing")
        return dataset


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Whatever pydicom makes of damaged content while the block runs is told as an InputError."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except PermissionError as error:
        raise InputError(
            path, found="a file that may not be read", expected="a readable file", fix="check its permissions"
        ) from error
    except Exception as error:  # broken elements are decoded when they are first touched, with errors of any class
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(
            path,
            found=f"a file that is damaged, cut short or no DICOM ({reason})",
            expected="a whole DICOM-SEG or RTSTRUCT",
            fix="copy or export it again",
        ) from error


def check_belongs(path: Path, source: DicomSource | None, frames_of_reference: set[str], series: set[str]) -> None:
    """Raise InputError if a file refers to another frame of reference or series than the volume's.

    Args:
        source: of the volume; None for one that is no DICOM series, where only positions can tell.
        frames_of_reference, series: UIDs that the file refers to; empty where it names none.
    """
    if source is None:
        return
    for what, found, own in (
        ("frame of reference", frames_of_reference, source.frame_of_reference_uid),
        ("series", series, source.series_uid),
    ):
        if own and found - {""} and own not in found:
            raise InputError(
                path,
                found=f"labels of another {what} ({', '.join(sorted(found - {''}))})",
                expected=f"the CT's, {own}",
                fix="give the CT series that they were drawn on",
            )
