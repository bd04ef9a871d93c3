"""Where outputs go: refused before the work starts, written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from volumes.dicom.names import LABEL_FILE_SUFFIXES
from volumes.errors import InputError

LABEL_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Formats of label maps that are images; the longest ending that fits counts."""

ALL_LABEL_SUFFIXES = (*LABEL_SUFFIXES, *LABEL_FILE_SUFFIXES)
"""Formats of label maps, DICOM-SEG and RTSTRUCT among them."""

VOLUME_SUFFIXES = (*LABEL_SUFFIXES, ".zip")
"""Formats of CT volumes that are one file (a DICOM series may also be a folder)."""

_NUMBERS = re.compile(r"\[\n[-+.,eE\d\s]+\]")
"""A list of numbers, one a line, as json indents it; strings in JSON hold no line break, so none matches."""


def suffix_of(path: Path, suffixes: Sequence[str]) -> str | None:
    """Which of `suffixes` the file name ends in, or None."""
    lower = path.name.lower()
    return next((s for s in sorted(suffixes, key=len, reverse=True) if lower.endswith(s)), None)


def stem_of(path: Path) -> str:
    """File name without its image ending: `a/CASE.nii.gz` -> `CASE`, and a folder's name as it is."""
    suffix = suffix_of(path, (*VOLUME_SUFFIXES, *LABEL_FILE_SUFFIXES))
    return path.name[: -len(suffix)] if suffix else path.name


def check_output_file(path: Path, *, suffixes: Sequence[str], overwrite: bool) -> None:
    """Raise InputError unless `path` can be written: ending, folder, permission, nothing there to lose."""
    if suffix_of(path, suffixes) is None:
        raise InputError(
            path,
            found=f"the ending '{''.join(path.suffixes) or 'none'}'",
            expected=f"one of {', '.join(suffixes)}",
            fix="name the output with one of these endings",
        )
    if path.is_dir():
        raise InputError(path, found="a folder", expected="a file name for the output", fix="name a file")
    check_writable_folder(path.parent)
    if path.exists() and not overwrite:
        raise InputError(
            path,
            found="an existing file",
            expected="a name that is free",
            fix="pass --overwrite to replace it or choose another name",
        )


def check_writable_folder(folder: Path) -> None:
    """Raise InputError unless `folder` is a folder in which files can be made."""
    if not folder.exists():
        raise InputError(
            folder, found="no such folder", expected="an existing folder", fix=f"mkdir -p {folder}"
        )
    if not folder.is_dir():
        raise InputError(folder, found="a file", expected="a folder", fix="name a folder for the output")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            folder,
            found="no write permission",
            expected="a folder that can be written to",
            fix="change its permissions or write elsewhere",
        )


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path` that takes its place when the block ends without an error."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files for the owner alone; the output gets what the person's umask says.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = str(path)  # the name the person knows, not the temporary one
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` whole or not at all. Numbers must be finite: NaN is no JSON."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    text = _NUMBERS.sub(lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
    with whole_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
