"""A zip file of one DICOM series, unpacked where nothing can lead out of a temporary folder."""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from volumes.errors import InputError


@contextmanager
def extracted(path: Path) -> Iterator[Path]:
    """A temporary folder with the content of a zip file; nothing is ever written outside it.

    Raises:
        InputError: no zip, a damaged or encrypted one, entries that lead out, or no room.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="keyslice-"))
            with zipfile.ZipFile(path) as archive:
                _check_members(archive.infolist(), shutil.disk_usage(folder).free, path)
                archive.extractall(folder)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            found = f"a damaged zip file ({error})"
            raise _bad(path, found, "a zip of one DICOM series", "pack or copy it again") from error
        except OSError as error:
            found = f"a zip file that cannot be unpacked ({error.strerror})"
            fix = "free disk space, or unpack it yourself and give the folder"
            raise _bad(path, found, "a readable zip and room in the temporary folder", fix) from error
        yield Path(folder)


def _check_members(members: Iterable[zipfile.ZipInfo], free_bytes: int, path: Path) -> None:
    total = 0
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        linked = stat.S_ISLNK(member.external_attr >> 16)
        if name.is_absolute() or ".." in name.parts or ":" in member.filename or linked:
            raise _bad(
                path,
                f"the entry '{member.filename}', which leads out of the folder",
                "only files inside the zip",
                "pack the series again",
            )
        if member.flag_bits & 1:
            raise _bad(path, "an encrypted zip file", "one without a password", "unpack it and give the folder")
        total += member.file_size
    if total > free_bytes:
        free = f"at most the {free_bytes / 1e9:.1f} GB that are free"
        raise _bad(path, f"{total / 1e9:.1f} GB of content", free, "free disk space")


def _bad(where: Path, found: str, expected: str, fix: str) -> InputError:
    return InputError(where, found=found, expected=expected, fix=fix)
