"""What a label map needs to know of the DICOM series that it belongs to, and nothing more.

A DICOM-SEG or RTSTRUCT lies in the study of its series and names the slices that it was drawn on. For that the
standard requires the attributes below (type 1 and 2 of the Patient and General Study modules, PS3.3 C.7.1.1 and
C.7.2.1; the referring physician, which may be empty, stays empty). Nothing else of a header is kept, so nothing else
can reach a file that is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from volumes.dicom.stack import Plane

STUDY_TAGS = {
    "PatientName": "0010|0010",
    "PatientID": "0010|0020",
    "PatientBirthDate": "0010|0030",
    "PatientSex": "0010|0040",
    "StudyDate": "0008|0020",
    "StudyTime": "0008|0030",
    "StudyID": "0020|0010",
    "AccessionNumber": "0008|0050",
}
"""Attributes that are copied into what is written, besides UIDs."""

_CHARSET, _CLASS, _INSTANCE = "0008|0005", "0008|0016", "0008|0018"
_STUDY, _SERIES, _FRAME_OF_REFERENCE = "0020|000d", "0020|000e", "0020|0052"
REFERENCE_TAGS = (*STUDY_TAGS.values(), _CHARSET, _CLASS, _INSTANCE, _STUDY, _SERIES, _FRAME_OF_REFERENCE)
"""What is read of every header for a `DicomSource`."""

_NAME_PARTS = {ord("^"), ord("=")}  # a character set begins anew after them

_FORMS = {
    "PatientBirthDate": r"\d{8}",
    "PatientSex": r"[MFO]",
    "StudyDate": r"\d{8}",
    "StudyTime": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?",
}
"""Values of another form, as careless programs write them, would make an invalid file: they are left empty."""


@dataclass(frozen=True, eq=False)
class DicomSource:
    """A series, as its label maps refer to it.

    Attributes:
        study_uid, series_uid, frame_of_reference_uid: empty where the series has none.
        sop_class_uid: CT Image Storage, Enhanced CT Image Storage or the like.
        instances: SOP Instance UID of each slice, in the order of the grid's file (axis z of `Geometry.to_file`).
        frames: for an enhanced series, the number from 1 of each slice in its one instance; None for a classic one.
        positions: Image Position (Patient) of each slice, as the headers have it.
        orientation: Image Orientation (Patient).
        pixel_spacing: between rows, then between columns, in mm.
        shape: rows and columns.
        study: text of `STUDY_TAGS` by keyword, as the header has it; bytes that are no UTF-8 as surrogates.
        charset: Specific Character Set of that text.
    """

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    sop_class_uid: str
    instances: tuple[str, ...]
    frames: tuple[int, ...] | None
    positions: tuple[tuple[float, ...], ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]
    shape: tuple[int, int]
    study: Mapping[str, str] = field(repr=False)
    charset: str = ""

    def decoded_study(self) -> dict[str, str]:
        """`study` as proper text, with values left empty that have no valid form. Needs pydicom."""
        from pydicom.charset import convert_encodings, decode_bytes

        encodings = convert_encodings(self.charset.split("\\") if self.charset else None)
        found = {}
        for keyword in STUDY_TAGS:
            text = self.study.get(keyword, "")
            text = decode_bytes(text.encode("utf-8", "surrogateescape"), encodings, _NAME_PARTS)
            form = _FORMS.get(keyword)
            found[keyword] = text if form is None or re.fullmatch(form, text) else ""
        return found


def source_of(planes: Sequence[Plane]) -> DicomSource:
    """The source that sorted planes of one series make."""
    first = planes[0]
    frames = None if first.frame is None else tuple((one.frame or 0) + 1 for one in planes)

    def common(tag: str) -> str:
        """A value that all slices share: a UID that only some have would be wrong for the others."""
        values = {one.tags.get(tag, "") for one in planes}
        return values.pop() if len(values) == 1 else ""

    return DicomSource(
        study_uid=common(_STUDY),
        series_uid=common(_SERIES),
        frame_of_reference_uid=common(_FRAME_OF_REFERENCE),
        sop_class_uid=common(_CLASS),
        instances=tuple(one.tags.get(_INSTANCE, "") for one in planes),
        frames=frames,
        positions=tuple(one.position for one in planes),
        orientation=first.orientation,
        pixel_spacing=first.spacing,
        shape=(first.size[1], first.size[0]),
        study={keyword: first.tags.get(tag, "") for keyword, tag in STUDY_TAGS.items()},
        charset=first.tags.get(_CHARSET, ""),
    )
