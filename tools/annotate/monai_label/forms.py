"""What MONAI Label's clients send: forms of files and of parameters in JSON."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile

from tools.annotate.bodies import Color, Name, Slice
from tools.annotate.refusals import Refusal, invalid
from tools.files import suffix_of

if TYPE_CHECKING:
    from volumes.labels import LabelTable

MOST_FILES = 4096
"""Of one form: a DICOM series has one for each slice."""
_MOST_FIELDS = 16
_FIELD_LIMIT = 1 << 20
"""Bytes of a field that is no file."""

Extension = Literal[".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha"]


class LabelInfo(BaseModel):
    """What a client calls a number in its label map. One without a number has that of its place in the list."""

    model_config = ConfigDict(frozen=True)

    name: Name
    idx: Annotated[int | None, Field(ge=0, le=255)] = None
    color: Color | None = None


class Params(BaseModel):
    """Parameters that count here; clients send more.

    Attributes:
        label_info: names of the labels in the file that is sent.
        key_slices: those that count, 0 the most inferior; None for all that show a label.
        complete: a label that is missing on a key slice is absent there.
        result_extension: format of the label map in the answer.
    """

    model_config = ConfigDict(frozen=True)

    label_info: Annotated[list[LabelInfo] | None, Field(max_length=512)] = None
    key_slices: Annotated[list[Slice] | None, Field(max_length=1 << 16)] = None
    complete: bool = False
    result_extension: Extension = ".nii.gz"

    def table(self) -> LabelTable | None:
        """The names as a table, None where the client gives none.

        Raises:
            InputError: a number or a name twice.
        """
        from volumes.labels import Label, LabelTable, distinct_color

        if not self.label_info:
            return None
        numbered = [(place if one.idx is None else one.idx, one) for place, one in enumerate(self.label_info, 1)]
        return LabelTable(
            (
                Label(value, one.name, distinct_color(value) if one.color is None else _color(one.color))
                for value, one in numbered
                if value > 0  # some clients name the background, too
            ),
            name="label_info",
        )


@dataclass(frozen=True, eq=False)
class Form:
    """A form that was received.

    Attributes:
        params: its parameters.
        files: by the name of their field.
    """

    params: Params
    files: dict[str, list[UploadFile]]

    def file(self, *fields: str) -> UploadFile | None:
        """The first file in one of these fields."""
        return next((self.files[field][0] for field in fields if self.files.get(field)), None)


@asynccontextmanager
async def received(request: Request) -> AsyncIterator[Form]:
    """The form of a request; its files are there as long as the block lasts.

    Raises:
        Refusal: it is no form, or its parameters do not fit.
    """
    reading = request.form(max_files=MOST_FILES, max_fields=_MOST_FIELDS, max_part_size=_FIELD_LIMIT)
    try:
        sent = await reading
    except FormParserError as error:  # of the parser below Starlette, which passes some of them on
        raise Refusal(400, "a form that cannot be read", "multipart/form-data", "correct the request") from error
    try:
        files: dict[str, list[UploadFile]] = {}
        for field, value in sent.multi_items():
            if isinstance(value, UploadFile):
                files.setdefault(field, []).append(value)
        params = sent.get("params")
        yield Form(_params(params if isinstance(params, str) else "{}"), files)
    finally:
        await sent.close()


def ending(upload: UploadFile, suffixes: tuple[str, ...]) -> str:
    """Which of these endings a file that was sent has where it comes from; raises Refusal for another one."""
    suffix = suffix_of(Path(upload.filename or ""), suffixes)
    if suffix is None:
        raise invalid("a file name with another ending", f"one of {', '.join(suffixes)}", "choose another format")
    return suffix


async def keep(upload: UploadFile, path: Path) -> Path:
    """Write a file that was sent to a path of ours."""
    await asyncio.to_thread(_copy, upload, path)
    return path


def _copy(upload: UploadFile, path: Path) -> None:
    upload.file.seek(0)
    with path.open("wb") as file:
        shutil.copyfileobj(upload.file, file, 1 << 20)


def _params(text: str) -> Params:
    try:
        return Params.model_validate_json(text or "{}")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])[:100]
        raise invalid(f"params that do not fit: {place}", str(first["msg"])[:200], "correct the params") from error


def _color(parts: list[int]) -> tuple[int, int, int]:
    return parts[0], parts[1], parts[2]
