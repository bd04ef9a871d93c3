"""The session folder of one case: every acknowledged action is in it, whatever happens to the process.

`snapshot.bin` holds the document up to some action, undo history included, and is replaced in one step; `journal.bin`
holds the actions since. Actions are numbered through, so one that is in both counts once: between any two steps of
writing a snapshot the folder can be left as it is.

One process at a time has a case open. A store is used by one thread at a time, and while `append` is under way nobody
changes the document: it may write a snapshot of it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from cps.journal import replace_file, settle, write_whole
from networks.locks import locked
from tools.annotate.changes import Change, Shape
from tools.annotate.document import Document
from tools.annotate.journal import ActionJournal, Record
from tools.annotate.packing import damaged
from tools.annotate.proposals_file import SavedProposals, read_proposals, write_proposals
from volumes.errors import InputError
from volumes.labels import Color
from volumes.volume import Volume

COMPACT_RECORDS = 1000  # reopening applies them one by one, 0.3 ms each
COMPACT_BYTES = 8 << 20

_FORMAT = 1
_SNAPSHOT = b"KEYSLICE SNAPSHOT\n"


class NotSaved(InputError):
    """An action could not be written to the disk and does not count: take it back (`Document.take_back`)."""


class Store:
    """The session folder of one case.

    Args:
        folder: it is made with `open` if it is not there.
        shape: (D, H, W) of the volume.
        fingerprint: of the volume (`fingerprint`): a folder belongs to one CT.
        name: of the volume, for people.

    Attributes:
        notices: lines to show to the person: what was found damaged, and what became of it.
    """

    def __init__(self, folder: Path, shape: Shape, fingerprint: str, *, name: str) -> None:
        self.folder = Path(folder)
        self.notices: list[str] = []
        self._case = {"format": _FORMAT, "name": name, "shape": list(shape), "fingerprint": fingerprint}
        self._shape = shape
        self._open = ExitStack()
        self._number = 0  # of the last action
        self._patience = 1  # times the usual length of a journal before the next snapshot

    def open(self, labels: Mapping[int, tuple[str, Color]] | None = None) -> Document:
        """Take the folder and bring the document back, or begin a new one.

        Args:
            labels: value -> (name, colour) that a new document begins with.

        Raises:
            InputError: the folder is another CT's, is in use, cannot be written to, or its snapshot is damaged.
        """
        try:
            self._open.enter_context(_alone(self.folder))
            self._begin(labels)
            return self._bring_back()
        except OSError as error:
            self.close()
            raise _one_line(error, self.folder) from error
        except BaseException:
            self.close()
            raise

    def append(self, action: Change | Literal["undo", "redo"]) -> None:
        """Write what was just done to the document; it is on the disk when this returns.

        Raises:
            NotSaved: it is not, as on a full disk.
        """
        number = self._number + 1
        try:
            if isinstance(action, Change):
                self._journal.append(number, "change", action.packed)
            else:
                self._journal.append(number, action)
        except OSError as error:
            line = _one_line(error, self._journal.path)
            raise NotSaved(line.where, found=line.found, expected=line.expected, fix=line.fix) from error
        self._number = number
        many = self._journal.records >= COMPACT_RECORDS * self._patience
        much = self._journal.size >= max(COMPACT_BYTES * self._patience, self._snapshot_size)
        if (many or much) and self._document.revision == number:
            self._compact()

    def save_proposals(self, proposals: SavedProposals) -> None:
        """Keep what propagation says, so that a reopened case shows it; raises NotSaved."""
        path = self.folder / "proposals.bin"
        try:
            write_proposals(path, proposals)
        except OSError as error:
            line = _one_line(error, path)
            raise NotSaved(line.where, found=line.found, expected=line.expected, fix=line.fix) from error

    def load_proposals(self) -> SavedProposals | None:
        """What was kept; None, with a notice if it is damaged: it can be computed again."""
        path = self.folder / "proposals.bin"
        try:
            return read_proposals(path, self._shape) if path.exists() else None
        except (InputError, OSError) as error:
            self.notices.append(f"The saved proposals cannot be read and are to be computed again ({error}).")
            return None

    @property
    def exports(self) -> Path:
        """The folder for exported files; made if it is not there."""
        folder = self.folder / "exports"
        folder.mkdir(exist_ok=True)
        return folder

    def close(self) -> None:
        """Let go of the folder."""
        self._open.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # How it is done.

    def _begin(self, labels: Mapping[int, tuple[str, Color]] | None) -> None:
        """The files of a new case, the last of them case.json; those of an old one are checked."""
        described, snapshot, journal = (self.folder / name for name in ("case.json", "snapshot.bin", "journal.bin"))
        if described.exists():
            self._check_case(described)
            if not snapshot.exists():
                raise damaged(snapshot, "no such file")
            return
        if journal.exists() and journal.stat().st_size:
            raise damaged(described, "no such file beside a journal")
        _write_snapshot(snapshot, Document(self._shape, labels))
        write_whole(described, json.dumps(self._case, indent=2, ensure_ascii=False) + "\n")
        settle(described, self.folder.parent)

    def _check_case(self, path: Path) -> None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise damaged(path, "text that is not JSON") from error
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise InputError(
                path, found="another format", expected=f"format {_FORMAT}", fix="open it with the version that wrote it"
            )
        for key in ("shape", "fingerprint"):
            if found.get(key) != self._case[key]:
                raise InputError(
                    path,
                    found=f"the session of another CT, {found.get('name')} {found.get('shape')}"[:200],
                    expected=f"that of {self._case['name']} {self._case['shape']}",
                    fix="open that CT, or use --session for another folder",
                )

    def _bring_back(self) -> Document:
        snapshot = self.folder / "snapshot.bin"
        self._document = _read_snapshot(snapshot, self._shape)
        self._snapshot_size = snapshot.stat().st_size
        self._journal = ActionJournal(self.folder / "journal.bin")
        self._open.callback(self._journal.close)
        held = self._document.revision
        self._replay()
        if self._document.revision == held and self._journal.size:
            self._journal.clear()  # all of it is in the snapshot, and what comes next must not follow on a gap
        self._number = self._document.revision
        return self._document

    def _replay(self) -> None:
        """Apply what the snapshot does not hold; what cannot be read or applied goes or is put aside."""
        found = self._journal.found
        for place, record in enumerate(found.records):
            if record.number <= self._document.revision:
                continue
            if record.number > self._document.revision + 1 or not _apply(self._document, record):
                self._put_aside(record.start, place)
                return
        if found.damaged:
            self._put_aside(found.end, len(found.records))
        elif rest := self._journal.drop_rest():
            self.notices.append(
                f"The last action had been written only in part when the program ended ({rest} bytes) and was "
                "dropped; it had not been acknowledged."
            )

    def _put_aside(self, start: int, kept: int) -> None:
        aside = self._journal.put_aside(start, kept)
        self.notices.append(
            f"The journal is damaged after action {self._document.revision}; all before is here, the rest was put "
            f"aside in {aside.name}."
        )

    def _compact(self) -> None:
        """A new snapshot, then an empty journal. If that fails nothing is lost; it is tried again much later.

        It raises nothing: the action that led here is on the disk and counts.
        """
        try:
            self._snapshot_size = _write_snapshot(self.folder / "snapshot.bin", self._document)
            self._journal.clear()
            self._patience = 1
        except (OSError, MemoryError) as error:
            self._patience *= 2
            self.notices.append(f"No snapshot could be written, the journal goes on ({_one_line(error, self.folder)}).")


def fingerprint(volume: Volume) -> str:
    """Digest of a CT's voxels and grid, in hexadecimal; 0.2 s for 512 x 512 x 300."""
    grid = volume.geometry
    hashed = hashlib.blake2b(repr((grid.size_xyz, grid.spacing_xyz, grid.origin_xyz, grid.direction)).encode())
    hashed.update(volume.array.data)
    return hashed.hexdigest()[:32]


def _alone(folder: Path) -> ExitStack:
    """Be the only process at the case, until the stack is closed."""
    stack = ExitStack()
    try:
        stack.enter_context(locked(folder, wait=False))
    except InputError as error:
        raise InputError(
            folder,
            found="another keyslice annotate with this case open",
            expected="to be the only one",
            fix="use the page of the other one, or end it first",
        ) from error
    return stack


def _apply(document: Document, record: Record) -> bool:
    """Whether the action could be applied."""
    try:
        if record.kind == "change":
            document.act(Change.unpacked(record.body, document.shape, "journal.bin"))
            return True
        return (document.undo() if record.kind == "undo" else document.redo()) is not None
    except InputError:
        return False


def _write_snapshot(path: Path, document: Document) -> int:
    """Replace the snapshot in one step; returns its size in bytes."""
    state = document.to_state()
    content = b"".join((_SNAPSHOT, zlib.crc32(state).to_bytes(4, "little"), state))
    replace_file(path, lambda part: part.write_bytes(content))
    return len(content)


def _read_snapshot(path: Path, shape: Shape) -> Document:
    content = path.read_bytes()
    start = len(_SNAPSHOT) + 4
    state = content[start:]
    if not content.startswith(_SNAPSHOT) or zlib.crc32(state).to_bytes(4, "little") != content[len(_SNAPSHOT) : start]:
        raise damaged(path, "other contents than were written")
    return Document.from_state(state, shape, path)


def _one_line(error: OSError | MemoryError, where: Path) -> InputError:
    from tools.errors import as_input_error

    found: Any = as_input_error(error, where)
    return found
