"""The NIfTI-1 header fields that SimpleITK does not check, keep or expose.

Three things are done on the bytes, with the layout of nifti1.h (https://nifti.nimh.nih.gov/nifti-1):
- reading: a truncated file, NaN voxels and a pixdim of zero pass SimpleITK silently (measured with 2.5:
  missing voxels come out as leftover memory, NaN as 0, zero spacing as 1 mm), so they are looked for here;
- the grid: SimpleITK turns float32 fields into direction cosines and back with rounding (measured: 49 of 60
  oblique grids came back changed by up to 7e-8), so the fields of the input are copied into the output;
- the label names: SimpleITK writes no header extension, so it is inserted here.
"""

from __future__ import annotations

import errno
import gzip
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from volumes.errors import InputError, not_finite

HEADER_BYTES = 348
_EXTENSION_CODE = 30  # NIFTI_ECODE_CARET: label tables in XML
_CHUNK = 1 << 22
_FLOATS = {16: "f4", 64: "f8"}  # NIfTI datatype to numpy
# (offset, struct format) of the fields that place the grid: pixdim, xyzt_units, qform_code .. srow_z
_GRID_FIELDS = ((76, "8f"), (123, "B"), (252, "2h"), (256, "18f"))
_GRID_FORMAT = "<8fB2h18f"


@dataclass(frozen=True)
class NiftiHeader:
    """What the checks need from a header.

    Attributes:
        grid: the grid fields, packed little-endian, for `Geometry.nifti_grid`.
        spacing: pixdim of the first three axes as stored.
        extension: content of the first text extension, "" if there is none.
    """

    grid: bytes
    spacing: tuple[float, float, float]
    extension: str


def read_header(path: Path, where: str | Path) -> NiftiHeader | None:
    """Read the header of a .nii or .nii.gz; None for NIfTI-2, whose fields lie elsewhere.

    Raises InputError if the file is not NIfTI, ends before its last voxel or holds NaN or infinity.
    """
    try:
        with _open(path) as stream:
            head = stream.read(HEADER_BYTES + 4)
            order = _byte_order(head, where)
            if order is None:
                return None
            start = max(int(struct.unpack_from(order + "f", head, 108)[0]), HEADER_BYTES)
            sizes = struct.unpack_from(order + "8h", head, 40)
            kind, bits = struct.unpack_from(order + "2h", head, 70)
            voxels = math.prod(max(1, size) for size in sizes[1 : 1 + max(0, min(7, sizes[0]))])
            size_bytes = start + voxels * bits // 8
            between = stream.read(max(0, start - len(head)))
            length, finite = _scan(stream, len(head) + len(between), size_bytes, _FLOATS.get(kind), order)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _truncated(where, f"compressed data that end too early or are damaged ({error})") from error
    if length < size_bytes:
        raise _truncated(
            where, f"{length} bytes (uncompressed)", f"{size_bytes} bytes for the voxels it declares"
        )
    if not finite:
        raise not_finite(where)
    flagged = len(head) > HEADER_BYTES and head[HEADER_BYTES] != 0
    values = [
        value for offset, form in _GRID_FIELDS for value in struct.unpack_from(order + form, head, offset)
    ]
    spacing = struct.unpack_from(order + "3f", head, 80)
    text = _extension(between, order) if flagged else ""
    return NiftiHeader(struct.pack(_GRID_FORMAT, *values), spacing, text)


def finish(source: Path, target: Path, grid: bytes | None, extension: str) -> None:
    """Copy a .nii that SimpleITK wrote to `target`, with the given grid fields and text extension.

    `target` is compressed if it ends in .gz (level 6, no time stamp: the same labels give the same bytes).
    """
    with source.open("rb") as stream:
        head = bytearray(stream.read(HEADER_BYTES))
        if len(head) < HEADER_BYTES:  # SimpleITK writes on regardless when the disk is full
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        order = "<" if struct.unpack_from("<i", head, 0)[0] == HEADER_BYTES else ">"
        stream.seek(int(struct.unpack_from(order + "f", head, 108)[0]))
        if grid is not None:
            values = iter(struct.unpack(_GRID_FORMAT, grid))
            for offset, form in _GRID_FIELDS:
                count = struct.calcsize(form) // struct.calcsize(form[-1])
                struct.pack_into(order + form, head, offset, *(next(values) for _ in range(count)))
        block = _pack_extension(extension, order)
        struct.pack_into(order + "f", head, 108, float(HEADER_BYTES + len(block)))
        with target.open("wb") as raw:
            if target.name.endswith(".gz"):
                with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
                    _copy(bytes(head) + block, stream, packed)
            else:
                _copy(bytes(head) + block, stream, raw)


def _copy(head: bytes, stream: IO[bytes], target: IO[bytes] | gzip.GzipFile) -> None:
    target.write(head)
    while chunk := stream.read(_CHUNK):
        target.write(chunk)


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")


def _scan(
    stream: IO[bytes] | gzip.GzipFile, length: int, size_bytes: int, floats: str | None, order: str
) -> tuple[int, bool]:
    """Read on to the end: bytes in all, and whether the voxels of a floating type are all finite."""
    finite = True
    while chunk := stream.read(_CHUNK):
        if floats is not None:
            inside = chunk[: max(0, size_bytes - length)]
            whole = inside[: len(inside) // int(floats[-1]) * int(floats[-1])]
            finite = finite and bool(np.isfinite(np.frombuffer(whole, order + floats)).all())
        length += len(chunk)
    return length, finite


def _byte_order(head: bytes, where: str | Path) -> str | None:
    for order in "<>":
        size = struct.unpack_from(order + "i", head.ljust(4, b"\0"), 0)[0]
        if size == 540:
            return None
        if size == HEADER_BYTES and len(head) >= HEADER_BYTES and head[344:347] in (b"n+1", b"\0\0\0"):
            return order
    if head[344:347] == b"ni1":
        raise InputError(
            where,
            found="one half of an .hdr/.img pair",
            expected="a NIfTI file in one piece",
            fix="convert it to .nii.gz",
        )
    raise InputError(
        where,
        found="content that is not a NIfTI image",
        expected="a NIfTI header of 348 bytes",
        fix="check that the file is complete and that its ending tells its format",
    )


def _extension(content: bytes, order: str) -> str:
    if len(content) < 8:
        return ""
    size, _code = struct.unpack_from(order + "2i", content, 0)
    return content[8 : max(8, size)].rstrip(b"\0 ").decode("utf-8", errors="replace")


def _pack_extension(text: str, order: str) -> bytes:
    """The four extension flag bytes and one extension, padded to a multiple of 16 as the standard asks."""
    if not text:
        return bytes(4)
    content = text.encode("utf-8")
    size = -(-(8 + len(content)) // 16) * 16
    return b"\1\0\0\0" + struct.pack(order + "2i", size, _EXTENSION_CODE) + content.ljust(size - 8, b"\0")


def _truncated(where: str | Path, found: str, expected: str = "a whole file") -> InputError:
    return InputError(where, found=found, expected=expected, fix="copy or download the file again")
