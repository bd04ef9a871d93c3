"""The session folder of one case: every acknowledged action is in it, whatever happens to the process.

A snapshot holds the document up to some action, undo history included; a journal the actions since (`generations`).
Actions are numbered through, so one that is in both counts once: between any two steps of writing a snapshot the folder
can be left as it is. How the document comes back is in `bringing_back`.

One process at a time has a case open. A store is used by one thread at a time, and while `append` is under way nobody
changes the document: it may write a snapshot of it.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from cps.journal import settle, write_whole
from networks.locks import locked
from tools.annotate.bringing_back import BroughtBack, remember
from tools.annotate.changes import Change, Shape
from tools.annotate.document import Document
from tools.annotate.generations import drop_older, files_of, journal_path, remove_leftovers, write_snapshot
from tools.annotate.journal import ActionJournal, Asked
from tools.annotate.packing import damaged
from tools.annotate.proposals_file import SavedProposals, read_proposals, write_proposals
from volumes.errors import InputError
from volumes.labels import Color
from volumes.volume import Volume

COMPACT_RECORDS = 1000  # reopening applies them one by one, 0.3 ms each
COMPACT_BYTES = 8 << 20

_FORMAT = 2
_FORMATS = (1, 2)  # the first had one snapshot and one journal, without numbers


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
        asked: (client, id) of the last actions that had an id, and what was done.
    """

    def __init__(self, folder: Path, shape: Shape, fingerprint: str, *, name: str) -> None:
        self.folder = Path(folder)
        self.notices: list[str] = []
        self._case = {"format": _FORMAT, "name": name, "shape": list(shape), "fingerprint": fingerprint}
        self._shape = shape
        self._open = ExitStack()
        self.asked: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._number = 0  # of the last action
        self._closed = False
        self._patience = 1  # times the usual length of a journal before the next snapshot

    def open(self, labels: Mapping[int, tuple[str, Color]] | None = None) -> Document:
        """Take the folder and bring the document back, or begin a new one.

        Args:
            labels: value -> (name, colour) that a new document begins with.

        Raises:
            InputError: the folder is another CT's, is in use, cannot be written to, or no snapshot in it can be read.
        """
        try:
            self._open.enter_context(_alone(self.folder))
            remove_leftovers(self.folder)
            self._begin(labels)
            return self._bring_back()
        except OSError as error:
            self.close()
            raise _cannot_use(error, self.folder) from error
        except BaseException:
            self.close()
            raise

    def append(self, action: Change | Literal["undo", "redo"], asked: Asked | None = None) -> None:
        """Write what was just done to the document; it is on the disk when this returns.

        Args:
            asked: how it was asked for, if it had an id.

        Raises:
            NotSaved: it is not, as on a full disk.
        """
        number = self._number + 1
        try:
            if isinstance(action, Change):
                self._journal.append(number, "change", action.packed, asked)
            else:
                self._journal.append(number, action, asked=asked)
        except OSError as error:
            line = _one_line(error, self._journal.path)
            raise NotSaved(line.where, found=line.found, expected=line.expected, fix=line.fix) from error
        self._number = number
        if asked is not None:
            remember(self.asked, asked)
        many = self._journal.records >= COMPACT_RECORDS * self._patience
        much = self._journal.size >= max(COMPACT_BYTES * self._patience, self._snapshot_size)
        if (many or much) and self._document.revision == number:
            self._compact()

    def save_proposals(self, proposals: SavedProposals) -> None:
        """Keep what propagation says, so that a reopened case shows it; raises NotSaved."""
        path = self.folder / "proposals.bin"
        if self._closed:  # they may be another process's by now, or of a case that was opened again
            raise NotSaved(path, found="a case that was closed", expected="an open one", fix="open it again")
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
        """The folder for exported files; made if it is not there. Raises InputError if a link leads elsewhere."""
        folder = self.folder / "exports"
        folder.mkdir(exist_ok=True)
        if folder.is_symlink():
            raise InputError(folder, found="a link", expected="a folder of the session's own", fix="remove the link")
        return folder

    def close(self) -> None:
        """Let go of the folder; nothing is written into it any more."""
        self._closed = True
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
        described = self.folder / "case.json"
        if described.exists():
            self._check_case(described)
            return
        if any(path.stat().st_size for _, path in files_of(self.folder, "journal")):
            raise damaged(described, "no such file beside a journal")
        ActionJournal(journal_path(self.folder, 0)).close()
        write_snapshot(self.folder, Document(self._shape, labels))
        self._describe(described)

    def _describe(self, path: Path) -> None:
        write_whole(path, json.dumps(self._case, indent=2, ensure_ascii=False) + "\n")
        settle(path, self.folder.parent)

    def _check_case(self, path: Path) -> None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise damaged(path, "text that is not JSON") from error
        if not isinstance(found, dict) or found.get("format") not in _FORMATS:
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
        if found["format"] != _FORMAT:  # an earlier version must not go on beside it
            self._describe(path)

    def _bring_back(self) -> Document:
        found = BroughtBack(self.folder, self._shape)
        self._document, self._journal, self.asked = found.document, found.journal, found.asked
        self._open.callback(lambda: self._journal.close())
        self.notices += found.notices
        self._number = self._document.revision
        self._snapshot_size = max(path.stat().st_size for _, path in files_of(self.folder, "snapshot"))
        if not found.sound:
            self._compact()
        return self._document

    def _compact(self) -> None:
        """A new journal, then its snapshot. If that fails nothing is lost; it is tried again much later.

        It raises nothing: the action that led here is on the disk and counts.
        """
        number = self._document.revision
        path = journal_path(self.folder, number)
        try:
            journal = self._journal if path == self._journal.path else ActionJournal(path)
            try:
                self._snapshot_size = write_snapshot(self.folder, self._document)
            except BaseException:
                if journal is not self._journal:
                    journal.close()
                    path.unlink()
                raise
        except (OSError, MemoryError) as error:
            self._patience *= 2
            self.notices.append(f"No snapshot could be written, the journal goes on ({_one_line(error, self.folder)}).")
            return
        if journal is not self._journal:
            self._journal.close()
        self._journal, self._patience = journal, 1
        drop_older(self.folder)


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


def _one_line(error: OSError | MemoryError, where: Path) -> InputError:
    from tools.errors import as_input_error

    found: Any = as_input_error(error, where)
    return found


def _cannot_use(error: OSError, folder: Path) -> InputError:
    """A session folder that cannot be made or used; there may be another place for it."""
    line = _one_line(error, folder)
    return InputError(line.where, found=line.found, expected=line.expected, fix=f"{line.fix}, or use --session DIR")
