"""The document of a session folder brought back from its newest snapshot that can be read and the journals after it.

Nothing is thrown away: what cannot be read or does not follow is put aside under another name, with a notice.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from tools.annotate.changes import Change, Shape
from tools.annotate.document import Document
from tools.annotate.generations import files_of, journal_path, put_aside, read_snapshot, snapshot_path
from tools.annotate.journal import ActionJournal, Asked, Record
from tools.annotate.packing import damaged
from volumes.errors import InputError

MOST_ASKED = 200
"""Actions of which is known how they were asked for; a page asks again for the last one only."""


class BroughtBack:
    """A document, as the files of a folder tell it.

    Args:
        folder: that of one case, which no other process has open.
        shape: (D, H, W) of the volume.

    Attributes:
        document: as it was left.
        journal: open, for what is done next.
        asked: (client, id) of the last actions, and what was done; the newest last.
        notices: what was found damaged, and what became of it.
        sound: the newest snapshot and one journal are all that it takes; otherwise a new snapshot is wanted.

    Raises:
        InputError: no snapshot can be read. Nothing has changed then.
        OSError: the folder cannot be read or written.
    """

    def __init__(self, folder: Path, shape: Shape) -> None:
        self._folder = folder
        self.notices: list[str] = []
        self.asked: OrderedDict[tuple[str, str], str] = OrderedDict()
        self.sound = True
        begun = self._newest_snapshot(shape)
        journal = self._replay(begun)
        if journal is None:
            journal = ActionJournal(journal_path(folder, self.document.revision))
        self.journal = journal

    def _newest_snapshot(self, shape: Shape) -> int:
        """Read it; returns its number."""
        bad: list[Path] = []
        first: InputError | OSError | None = None
        for number, path in reversed(files_of(self._folder, "snapshot")):
            try:
                self.document = read_snapshot(path, shape)
            except (InputError, OSError) as error:
                bad.append(path)
                first = first or error
                continue
            for one in bad:
                self._not_sound(
                    f"{one.name} was damaged and put aside as {put_aside(one).name}; the snapshot before it and the "
                    "journals since then took its place."
                )
            return number
        raise first or damaged(snapshot_path(self._folder, 0), "no such file")

    def _replay(self, begun: int) -> ActionJournal | None:
        """Apply what the snapshot does not hold; returns the journal to go on with, None for a new one."""
        journals = files_of(self._folder, "journal")
        if begun not in (number for number, _ in journals):
            self._not_sound(
                f"{journal_path(self._folder, begun).name} is missing: what was done after action "
                f"{self.document.revision}, if anything, is not here."
            )
        last: ActionJournal | None = None
        for place, (number, path) in enumerate(journals):
            journal = ActionJournal(path)
            if number < begun:  # the snapshot holds all of it
                self._remember(journal.found.records)
                journal.close()
                continue
            if last is not None:
                self.sound = False
                last.close()
            last = journal
            whole = self._apply(journal)
            if not whole:
                for _, rest in journals[place + 1 :]:
                    if rest.stat().st_size:
                        self.notices.append(f"{rest.name}, which comes after it, was put aside as well.")
                        put_aside(rest)
                break
        if last is not None and self._end(last) != self.document.revision:
            last.close()  # what comes next must not follow on a gap
            last = None
        return last

    def _apply(self, journal: ActionJournal) -> bool:
        """Whether all of a journal could be applied; what could not was put aside."""
        found, document = journal.found, self.document
        for place, record in enumerate(found.records):
            if record.number <= document.revision:
                continue
            if record.number > document.revision + 1 or not _applied(document, record):
                self._cut(journal, record.start, place)
                return False
        self._remember(found.records)
        if found.damaged:
            self._cut(journal, found.end, len(found.records))
            return False
        if rest := journal.drop_rest():
            self.notices.append(
                f"The last action had been written only in part when the program ended ({rest} bytes) and was "
                "dropped; it had not been acknowledged."
            )
        return True

    def _cut(self, journal: ActionJournal, start: int, kept: int) -> None:
        self._remember(journal.found.records[:kept])
        aside = journal.put_aside(start, kept)
        self._not_sound(
            f"The journal is damaged after action {self.document.revision}; all before is here, the rest was put "
            f"aside in {aside.name}."
        )

    def _end(self, journal: ActionJournal) -> int | None:
        """How many actions there were after the last one in a journal; None for an empty one without a number."""
        if journal.records:
            return journal.found.records[journal.records - 1].number
        return next((number for number, path in files_of(self._folder, "journal") if path == journal.path), None)

    def _remember(self, records: list[Record]) -> None:
        for record in records:
            if record.asked is not None:
                remember(self.asked, record.asked)

    def _not_sound(self, notice: str) -> None:
        self.sound = False
        self.notices.append(notice)


def remember(asked: OrderedDict[tuple[str, str], str], one: Asked) -> None:
    """Keep how an action was asked for, and forget those of long ago."""
    asked[one.client, one.id] = one.title
    while len(asked) > MOST_ASKED:
        asked.popitem(last=False)


def _applied(document: Document, record: Record) -> bool:
    """Whether the action could be applied."""
    try:
        if record.kind == "change":
            document.act(Change.unpacked(record.body, document.shape, "journal"))
            return True
        return (document.undo() if record.kind == "undo" else document.redo()) is not None
    except InputError:
        return False
