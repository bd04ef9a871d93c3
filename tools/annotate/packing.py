"""Bytes that hold a JSON head and binary parts behind it, masks in few bytes, and files that tell if they are damaged.

Layout: length of the head (4 bytes, little endian), head (JSON, UTF-8), parts. The head says how long each part is.
No length is trusted: everything is checked against the bytes that are there, and unpacking stops at the expected size.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumes.errors import InputError

Mask = NDArray[np.uint8]

_LENGTH = struct.Struct("<I")
_CHECKSUM = 4  # bytes
_LEVEL = 1  # of zlib: a mask of 512 x 512 in 1 ms; level 6 saves a tenth of the bytes and takes three times as long


def pack(head: dict[str, Any], parts: Iterable[bytes] = ()) -> bytes:
    """A head, whose numbers are whole or finite, and parts whose lengths it tells."""
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")
    return b"".join((_LENGTH.pack(len(text)), text, *parts))


def unpack(data: bytes, where: str | Path) -> tuple[dict[str, Any], bytes]:
    """The head and all parts in one; raises InputError if there is no such head."""
    if len(data) < _LENGTH.size:
        raise damaged(where, f"{len(data)} bytes")
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    if end > len(data):
        raise damaged(where, f"{len(data)} bytes where the head alone has {end}")
    try:
        head = json.loads(data[_LENGTH.size : end].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(where, "a head that is not JSON") from error
    if not isinstance(head, dict):
        raise damaged(where, "a head that is no JSON object")
    return head, data[end:]


def split(body: bytes, sizes: object, where: str | Path) -> list[bytes]:
    """Cut `body` into parts of these sizes, which must be just what is there; raises InputError."""
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise damaged(where, "sizes of parts that are not whole numbers")
    if sum(sizes) != len(body):
        raise damaged(where, f"{len(body)} bytes of parts where the head tells of {sum(sizes)}")
    ends = np.cumsum([0, *sizes]).tolist()
    return [body[start:end] for start, end in zip(ends[:-1], ends[1:], strict=True)]


def compress(*arrays: Mask) -> bytes:
    """uint8 arrays of any shape, one after the other."""
    return zlib.compress(b"".join(array.tobytes() for array in arrays), _LEVEL)


def decompress(data: bytes, count: int, where: str | Path) -> Mask:
    """`(count,)` bytes as `compress` took them; raises InputError if there are more or fewer."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(data, count + 1)
    except zlib.error as error:
        raise damaged(where, "a mask that does not unpack") from error
    if len(content) != count or not unpacker.eof or unpacker.unused_data:
        raise damaged(where, f"a mask that is not of {count} pixels")
    return np.frombuffer(content, np.uint8)


def marked(mark: bytes, content: bytes) -> bytes:
    """A file's bytes: what kind of file it is, a checksum, the content."""
    return b"".join((mark, _checksum(content), content))


def unmarked(data: bytes, mark: bytes, where: str | Path) -> bytes:
    """The content that `marked` took; raises InputError if these are other bytes than it gave."""
    start = len(mark) + _CHECKSUM
    content = data[start:]
    if not data.startswith(mark) or _checksum(content) != data[len(mark) : start]:
        raise damaged(where, "other contents than were written")
    return content


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM, "little")


def damaged(where: str | Path, found: str) -> InputError:
    """InputError for something of ours that is not as it was written."""
    return InputError(where, found=found, expected="it as it was written", fix="restore it from a copy")
