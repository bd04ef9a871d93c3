"""Images that clients send to work on without a case: kept for a while, in a folder of the server's own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.annotate.monai_label.forms import ending, keep
from tools.annotate.refusals import Refusal, invalid
from tools.annotate.uploads import check_self_contained
from tools.files import LABEL_SUFFIXES, suffix_of
from volumes.errors import InputError

if TYPE_CHECKING:
    from starlette.datastructures import UploadFile

    from volumes.volume import Volume

MOST_SESSIONS = 4
EXPIRY_SECONDS = 3600.0
MOST_VOXELS = 1 << 30
"""Of an image that is sent: 512 x 512 x 4096. A small file can unpack to more than there is memory for."""


@dataclass
class Session:
    """One image.

    Attributes:
        path: the file, or the folder of a DICOM series.
        name: what the client calls it.
        shape: (D, H, W).
        created, used: seconds since 1970.
    """

    key: str
    path: Path
    name: str
    shape: tuple[int, int, int]
    created: float = field(default_factory=time.time)
    used: float = field(default_factory=time.time)

    def info(self) -> dict[str, Any]:
        """What a client is told; where the file lies is not its business."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "create_ts": int(self.created),
            "last_access_ts": int(self.used),
            "expiry": int(EXPIRY_SECONDS),
        }


class Sessions:
    """The images of all sessions, the one used last at the end."""

    def __init__(self) -> None:
        self._all: OrderedDict[str, Session] = OrderedDict()
        self._folder: Path | None = None

    async def add(self, uploads: Sequence[UploadFile]) -> Session:
        """Take in an image: one file, or the files of a DICOM series.

        Raises:
            Refusal, InputError: it is none.
        """
        if not uploads:
            raise invalid("no file", "a CT volume in a field 'files'", "send one")
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="keyslice-sessions-"))
        key = str(uuid.uuid4())
        folder = self._folder / key
        folder.mkdir()
        try:
            path = await _kept(uploads, folder)
            volume = await asyncio.to_thread(read_image_file, path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        name = Path((uploads[0].filename or "image").replace("\\", "/")).name[:100]
        session = self._all[key] = Session(key, path, name, volume.shape)
        self._make_room()
        return session

    def get(self, key: str) -> Session:
        """A session; raises Refusal if there is none, or none any more."""
        self._make_room()
        if key not in self._all:
            raise Refusal(404, "no such session", "one that was created lately", "create it again: PUT /session/")
        self._all.move_to_end(key)
        self._all[key].used = time.time()
        return self._all[key]

    def remove(self, key: str) -> Session:
        """Forget a session and its image."""
        session = self.get(key)
        self._drop(key)
        return session

    def close(self) -> None:
        """Forget all."""
        self._all.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _make_room(self) -> None:
        for key in [key for key, one in self._all.items() if time.time() - one.used > EXPIRY_SECONDS]:
            self._drop(key)
        while len(self._all) > MOST_SESSIONS:
            self._drop(next(iter(self._all)))

    def _drop(self, key: str) -> None:
        session = self._all.pop(key)
        assert self._folder is not None
        shutil.rmtree(self._folder / session.key, ignore_errors=True)


async def _kept(uploads: Sequence[UploadFile], folder: Path) -> Path:
    if len(uploads) == 1 and suffix_of(Path(uploads[0].filename or ""), (".dcm",)) is None:
        return await keep(uploads[0], folder / f"image{ending(uploads[0], LABEL_SUFFIXES)}")
    series = folder / "series"
    series.mkdir()
    for number, upload in enumerate(uploads):
        await keep(upload, series / f"{number:05}.dcm")
    return series


def read_image_file(path: Path) -> Volume:
    """A CT that a client sent; raises InputError for what is none, or too large."""
    from volumes.formats import read_volume
    from volumes.image_files import read_geometry

    if path.is_file():
        check_self_contained(path)
        size = read_geometry(path)[0].size_xyz
        if size[0] * size[1] * size[2] > MOST_VOXELS:
            raise InputError(
                "image",
                found=f"{size[0]} x {size[1]} x {size[2]} voxels",
                expected=f"at most {MOST_VOXELS}",
                fix="send a part of it",
            )
    return read_volume(path)
