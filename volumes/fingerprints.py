"""What can be said of image files without decoding them: whether they are whole, and which hold the same."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from volumes.errors import InputError

_GZIP = b"\x1f\x8b"
_TRAILER_BYTES = 8  # of a gzip file: CRC-32 and length of what is packed in it (RFC 1952, section 2.3.1)
_CHUNK = 1 << 22


def check_whole(path: Path, voxel_bytes: int) -> None:
    """Raise InputError for a file that is too short to hold `voxel_bytes` bytes of voxels.

    A gzip file states its unpacked length, modulo 2^32, at its end; a file that was cut off states nonsense there.
    What stands beside the voxels, the header and its extensions, is taken to be less than 64 MiB.
    """
    trailer = _trailer(path)
    if trailer is not None:
        stated = int.from_bytes(trailer[4:], "little")
        whole = (stated - voxel_bytes) % (1 << 32) < 1 << 26
    else:
        # Of the files that are not gzip, those of the other formats may be packed in their own way.
        whole = not path.name.lower().endswith(".nii") or path.stat().st_size >= voxel_bytes
    if not whole:
        raise InputError(
            path,
            found="a file that is cut short",
            expected=f"{voxel_bytes} bytes of voxels in it, as its header says",
            fix="copy or download it again",
        )


def same_contents(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of two or more files that hold the same bytes, however well they were packed."""
    alike: dict[object, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        alike[_trailer(path) or path.stat().st_size].append(path)
    groups: list[list[Path]] = []
    for candidates in alike.values():
        if len(candidates) > 1:
            same: dict[bytes, list[Path]] = defaultdict(list)
            for path in candidates:
                same[_digest(path)].append(path)
            groups += [group for group in same.values() if len(group) > 1]
    return groups


def fingerprint(path: Path) -> str:
    """What tells a file from another of the same name: its size, and the checksum of what is packed in it.

    Of a gzip file that is known without unpacking it, and stays the same wherever it is copied; of any other file the
    time of its last change stands for it.
    """
    trailer, state = _trailer(path), path.stat()
    return f"{path.name} {state.st_size} {trailer.hex() if trailer is not None else state.st_mtime_ns}"


def _trailer(path: Path) -> bytes | None:
    """The last bytes of a gzip file; None for any other."""
    with path.open("rb") as stream:
        if stream.read(2) != _GZIP:
            return None
        end = stream.seek(0, 2)
        stream.seek(max(0, end - _TRAILER_BYTES))
        return stream.read()


def _digest(path: Path) -> bytes:
    found = hashlib.sha256()
    try:
        with gzip.open(path) if _trailer(path) is not None else path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                found.update(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            path, found=f"a damaged file ({error})", expected="a whole one", fix="copy or download it again"
        ) from error
    return found.digest()
