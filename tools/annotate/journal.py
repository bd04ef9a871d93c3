"""The journal of a case: every action since the last snapshot, on the disk before it is acknowledged.

A record is a mark, the payload's length and CRC-32 (4 bytes each, little endian) and the payload: the action's running
number (8 bytes), its kind (1 byte), the id under which it was asked for, if it had one, and its body. A crash may
leave the last record half-written: it goes, for nobody was told of it yet. Damage before whole records is another
matter: what comes from there on is put aside, never thrown away.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, NamedTuple

from cps.journal import replace_file

Kind = Literal["change", "undo", "redo"]

_KINDS: tuple[Kind, ...] = ("change", "undo", "redo")
_MARK = b"KSR\x01"
_HEAD = struct.Struct("<4sII")
_START = struct.Struct("<QB")
_LENGTH = struct.Struct("<H")
_ASKED = 0x80  # added to the kind: how it was asked for follows, in JSON after its length
_TRIES = 1000  # places looked at for a whole record behind a damaged one; more look like damage anyway


class Asked(NamedTuple):
    """How an action was asked for, so that one that is asked for again is not done twice.

    Args:
        client: the page that asked.
        id: its name of the action.
        title: what was done.
    """

    client: str
    id: str
    title: str


class Record(NamedTuple):
    """One action.

    Args:
        number: the first of a case has 1, each the next one.
        kind: what was done.
        body: the packed change; empty for undo and redo.
        start, end: bytes of the journal that it takes.
        asked: how it was asked for, if it had an id.
    """

    number: int
    kind: Kind
    body: bytes
    start: int
    end: int
    asked: Asked | None = None


class Found(NamedTuple):
    """What a journal holds.

    Args:
        records: whole ones with consecutive numbers, up to the first damage.
        end: bytes up to there.
        damaged: whole records follow behind the damage; otherwise the rest is a last record, half-written.
    """

    records: list[Record]
    end: int
    damaged: bool


def encode(number: int, kind: Kind, body: bytes, asked: Asked | None = None) -> bytes:
    """A record as it stands in the journal."""
    if asked is None:
        payload = _START.pack(number, _KINDS.index(kind)) + body
    else:
        told = json.dumps(asked, separators=(",", ":")).encode("ascii")
        payload = _START.pack(number, _KINDS.index(kind) | _ASKED) + _LENGTH.pack(len(told)) + told + body
    return _HEAD.pack(_MARK, len(payload), zlib.crc32(payload)) + payload


def scan(data: bytes) -> Found:
    """Read a journal's bytes, whatever they are."""
    records: list[Record] = []
    end = 0
    while record := _record(data, end):
        if records and record.number != records[-1].number + 1:
            return Found(records, end, True)
        records.append(record)
        end = record.end
    return Found(records, end, _more(data, end))


class ActionJournal:
    """The file, open for appending; one process at a time.

    Args:
        path: the file; it is made if it is not there, in a folder that is there.

    Attributes:
        found: what it held when it was opened.
        size: bytes of whole records.
        records: how many there are.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            replace_file(path, lambda part: part.write_bytes(b""))
        self._file = path.open("r+b", buffering=0)
        data = self._file.readall()
        self.found = scan(data)
        self.size, self.records = self.found.end, len(self.found.records)
        self._clean = self.size == len(data)

    def append(self, number: int, kind: Kind, body: bytes = b"", asked: Asked | None = None) -> None:
        """Add a record; it is on the disk when this returns.

        Raises:
            OSError: it is not; the journal is as before.
        """
        record = encode(number, kind, body, asked)
        if not self._clean:
            self._truncate(self.size)
        self._clean = False
        try:
            self._file.seek(self.size)
            written = 0
            while written < len(record):
                written += self._file.write(record[written:]) or 0
            os.fsync(self._file.fileno())
        except OSError:
            self._try_truncate()
            raise
        self._clean = True
        self.size += len(record)
        self.records += 1

    def drop_rest(self) -> int:
        """Cut off what follows the whole records; returns how many bytes that were."""
        rest = os.fstat(self._file.fileno()).st_size - self.size
        if rest:
            self._truncate(self.size)
        return rest

    def put_aside(self, start: int, kept: int) -> Path:
        """Move everything from byte `start` on, behind `kept` records, to a file of its own; returns its path."""
        self._file.seek(start)
        rest = self._file.readall()
        aside = free_name(self.path)
        replace_file(aside, lambda part: part.write_bytes(rest))
        self._truncate(start)
        self.size, self.records = start, kept
        return aside

    def close(self) -> None:
        self._file.close()

    def _truncate(self, size: int) -> None:
        os.ftruncate(self._file.fileno(), size)
        os.fsync(self._file.fileno())
        self._clean = True

    def _try_truncate(self) -> None:
        """After an error; if this fails as well, the next `append` has to do it first."""
        try:
            self._truncate(self.size)
        except OSError:
            self._clean = False


def free_name(path: Path) -> Path:
    """A name that is free beside `path` for what is damaged in it: `journal-7.bin` gives `journal-7.damaged-...`."""
    now = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    aside, number = path.with_name(f"{path.stem}.damaged-{now}"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.stem}.damaged-{now}-{number}")
    return aside


def _record(data: bytes, start: int) -> Record | None:
    """The whole record that begins at `start`, or None."""
    if start + _HEAD.size > len(data):
        return None
    mark, length, checksum = _HEAD.unpack_from(data, start)
    begin = start + _HEAD.size
    if mark != _MARK or length < _START.size or begin + length > len(data):
        return None
    payload = memoryview(data)[begin : begin + length]
    if zlib.crc32(payload) != checksum:
        return None
    number, kind = _START.unpack_from(payload)
    rest, asked = payload[_START.size :], None
    if kind & _ASKED:
        if len(rest) < _LENGTH.size:
            return None
        split = _LENGTH.size + _LENGTH.unpack_from(rest)[0]
        asked, rest = _asked(bytes(rest[_LENGTH.size : split])), rest[split:]
        if asked is None:
            return None
    if kind & ~_ASKED >= len(_KINDS):
        return None
    return Record(number, _KINDS[kind & ~_ASKED], bytes(rest), start, begin + length, asked)


def _asked(told: bytes) -> Asked | None:
    try:
        parts = json.loads(told)
    except (ValueError, RecursionError):
        return None
    if not isinstance(parts, list) or len(parts) != 3 or not all(isinstance(part, str) for part in parts):
        return None
    return Asked(*parts)


def _more(data: bytes, start: int) -> bool:
    """Whether whole records follow behind damage at `start`."""
    place = start
    for _ in range(_TRIES):
        place = data.find(_MARK, place + 1)
        if place < 0:
            return False
        if _record(data, place):
            return True
    return True
