"""The journal's bytes, cut and bent everywhere."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from tools.annotate.journal import ActionJournal, encode, scan

BODIES = [b"first", b"", b"x" * 300, b"KSR\x01 looks like a mark", b""]


def records() -> list[bytes]:
    kinds = ("change", "undo", "change", "change", "redo")
    return [encode(7 + place, kind, body) for place, (kind, body) in enumerate(zip(kinds, BODIES, strict=True))]  # type: ignore[arg-type]


def test_records_come_back() -> None:
    found = scan(b"".join(records()))
    assert [one.number for one in found.records] == [7, 8, 9, 10, 11]
    assert [one.kind for one in found.records] == ["change", "undo", "change", "change", "redo"]
    assert [one.body for one in found.records] == BODIES
    assert not found.damaged and found.end == sum(map(len, records()))


def test_a_journal_cut_anywhere_has_all_whole_records() -> None:
    data, ends = b"".join(records()), np.cumsum([len(one) for one in records()])
    for length in range(len(data) + 1):
        found = scan(data[:length])
        assert len(found.records) == int((ends <= length).sum())
        assert not found.damaged and found.end == max([0, *ends[ends <= length]])


@pytest.mark.parametrize(
    "tail", [b"\0" * 4096, b"\xff" * 40, b"KSR\x01", b"KSR\x01\xff\xff\xff\xff\0\0\0\0" + b"a" * 99]
)
def test_what_a_crash_leaves_behind_the_last_record_is_no_damage(tail: bytes) -> None:
    data = b"".join(records())
    found = scan(data + tail)
    assert len(found.records) == 5 and found.end == len(data) and not found.damaged


def test_a_bent_bit_anywhere_is_seen_and_told_from_a_cut_end() -> None:
    data, ends = b"".join(records()), [0, *np.cumsum([len(one) for one in records()]).tolist()]
    for bit in range(8 * len(data)):
        bent = bytearray(data)
        bent[bit // 8] ^= 1 << bit % 8
        found = scan(bytes(bent))
        before = sum(end <= bit // 8 for end in ends) - 1
        assert len(found.records) == before and found.end == ends[before]
        assert found.damaged == (before < 4), "damage in the last record alone looks like one half-written"


def test_a_number_that_is_left_out_is_damage() -> None:
    data = records()
    found = scan(data[0] + data[2])
    assert len(found.records) == 1 and found.damaged


def test_random_bytes_end_quickly() -> None:
    noise = b"KSR\x01\x20\0\0\0" * 500_000
    assert scan(noise) == ([], 0, True), "marks without end are put aside, not searched for ever"
    assert not scan(np.random.default_rng(0).bytes(1 << 20)).records


def test_an_append_after_a_cut_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "journal.bin"
    path.write_bytes(b"".join(records())[:-3])
    journal = ActionJournal(path)
    assert len(journal.found.records) == 4 and journal.records == 4
    journal.append(11, "undo")
    journal.close()
    assert path.read_bytes() == b"".join([*records()[:4], encode(11, "undo", b"")])


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_failed_append_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    journal = ActionJournal(tmp_path / "journal.bin")
    journal.append(1, "change", b"one")
    before = journal.path.read_bytes()
    real = os.fsync
    if step == "fsync":
        failing = iter([True])

        def broken(handle: int) -> None:
            if next(failing, False):
                raise OSError(errno.EIO, "Input/output error")
            real(handle)

        monkeypatch.setattr(os, "fsync", broken)
    else:
        file = journal._file

        class Full:
            """Takes ten bytes, then the disk is full."""

            room = 10

            def __getattr__(self, name: str) -> object:
                return getattr(file, name)

            def write(self, data: bytes) -> int:
                if not self.room:
                    raise OSError(errno.ENOSPC, "No space left on device")
                written = file.write(data[: self.room])
                self.room -= written
                return written

        monkeypatch.setattr(journal, "_file", Full())
    with pytest.raises(OSError):
        journal.append(2, "change", b"two, which is longer")
    assert journal.path.read_bytes() == before
    monkeypatch.undo()
    journal.append(2, "undo")
    assert [one.number for one in scan(journal.path.read_bytes()).records] == [1, 2]


def test_a_failed_append_that_cannot_be_cut_off_is_cut_off_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = ActionJournal(tmp_path / "journal.bin")
    journal.append(1, "change", b"one")

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    monkeypatch.setattr(os, "ftruncate", broken)
    for _ in range(2):
        with pytest.raises(OSError):
            journal.append(2, "change", b"two")
    monkeypatch.undo()
    journal.append(2, "redo")
    found = scan(journal.path.read_bytes())
    assert [(one.number, one.kind) for one in found.records] == [(1, "change"), (2, "redo")] and not found.damaged
