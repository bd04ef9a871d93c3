"""The files of a session folder by generation: a snapshot, and the journal of what was done after it.

`snapshot-N.bin` holds the document after N actions, undo history included; `journal-N.bin` the actions from N + 1 on.
A generation begins with its journal, empty, so that a snapshot without its journal tells that one was taken away. Two
generations are kept: from the former snapshot and both journals all is there again if the newer snapshot was damaged.
Files without a number are those of an earlier version, before any generation.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Literal

from cps.journal import replace_file
from tools.annotate.changes import Shape
from tools.annotate.document import Document
from tools.annotate.journal import free_name
from tools.annotate.packing import marked, unmarked

KEPT = 2
"""Generations."""

_NAME = re.compile(r"(snapshot|journal)(?:-(\d{1,18}))?\.bin")
_SNAPSHOT = b"KEYSLICE SNAPSHOT\n"


def files_of(folder: Path, kind: Literal["snapshot", "journal"]) -> list[tuple[int, Path]]:
    """Number and path of the snapshots or journals in a folder, the oldest first."""
    named = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(name[2] or 0), path) for name, path in named if name is not None and name[1] == kind)


def snapshot_path(folder: Path, number: int) -> Path:
    """Where the snapshot after so many actions is."""
    return folder / f"snapshot-{number}.bin"


def journal_path(folder: Path, number: int) -> Path:
    """Where the actions after that snapshot are."""
    return folder / f"journal-{number}.bin"


def write_snapshot(folder: Path, document: Document) -> int:
    """Write the snapshot of a document, whole or not at all; returns its size in bytes.

    Raises:
        OSError: it is not there, or the disk holds something else than was written.
    """
    path, content = snapshot_path(folder, document.revision), marked(_SNAPSHOT, document.to_state())
    replace_file(path, lambda part: part.write_bytes(content))
    if path.read_bytes() != content:
        path.unlink()
        raise OSError(errno.EIO, "the disk holds other contents than were written", str(path))
    return len(content)


def read_snapshot(path: Path, shape: Shape) -> Document:
    """The document of a snapshot.

    Args:
        shape: of the volume, (D, H, W).

    Raises:
        InputError: the file is not as it was written, or of another shape.
        OSError: it cannot be read.
    """
    state = unmarked(path.read_bytes(), _SNAPSHOT, path)
    return Document.from_state(state, shape, path)


def drop_older(folder: Path) -> None:
    """Remove what is older than the generations that are kept. What cannot be removed stays until the next time."""
    snapshots = files_of(folder, "snapshot")
    oldest = snapshots[-min(KEPT, len(snapshots))][0]
    for number, path in snapshots + files_of(folder, "journal"):
        if number < oldest:
            with suppress(OSError):
                path.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process was writing, or had been sent, and nobody looks at any more.

    Args:
        folder: that of one case, which no other process has open.
    """
    for path in (*folder.glob(".part-*"), *folder.glob(".import-*"), *folder.glob("exports/.*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def put_aside(path: Path) -> Path:
    """Give a damaged file another name, under which nobody takes it for what it was; returns the new path."""
    aside = free_name(path)
    os.replace(path, aside)
    return aside
