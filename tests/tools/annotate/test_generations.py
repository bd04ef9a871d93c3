"""Snapshots and journals that are damaged or gone: what can be brought back is, and what cannot is said."""

from __future__ import annotations

import errno
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

import tools.annotate.store as store_module
from tools.annotate.document import Document
from tools.annotate.generations import snapshot_path, write_snapshot
from tools.annotate.journal import Asked, encode, scan
from tools.annotate.store import Store

SHAPE = (4, 6, 7)
NOTHING = np.zeros(SHAPE[1:], np.uint8)
EVERY = 5  # actions from one snapshot to the next


def store_at(folder: Path) -> Store:
    return Store(folder, SHAPE, "ab", name="ct.nii.gz")


def paint(document: Document, number: int) -> object:
    pixels = np.random.default_rng(number).random(SHAPE[1:]) < 0.3
    change = document.paint(number % 4, 1 + number // 4 % 2, pixels, NOTHING)
    assert change is not None
    return change


def session(folder: Path, actions: int) -> bytes:
    """A session of so many strokes, each under an id; its state."""
    with store_at(folder) as store:
        document = store.open({1: ("liver", (1, 2, 3)), 2: ("spleen", (4, 5, 6))})
        for number in range(actions):
            store.append(paint(document, number), Asked("page", str(number), "a stroke"))  # type: ignore[arg-type]
        return document.to_state()


def reopened(folder: Path) -> tuple[bytes, list[str]]:
    with store_at(folder) as store:
        return store.open().to_state(), store.notices


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*-*.bin"))


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "COMPACT_RECORDS", EVERY)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("damage", ["bent", "cut", "empty", "gone"])
def test_a_damaged_snapshot_loses_nothing(tmp_path: Path, damage: str) -> None:
    state = session(tmp_path, 13)
    assert names(tmp_path) == ["journal-10", "journal-5", "snapshot-10", "snapshot-5"]
    newest = tmp_path / "snapshot-10.bin"
    content = newest.read_bytes()
    if damage == "gone":
        newest.unlink()
    else:
        bent = content[:60] + bytes([content[60] ^ 1]) + content[61:]
        newest.write_bytes({"bent": bent, "cut": content[:-7], "empty": b""}[damage])
    found, notices = reopened(tmp_path)
    assert found == state
    assert bool(notices) == (damage != "gone") and len(list(tmp_path.glob("snapshot-10.damaged-*"))) == len(notices)
    assert reopened(tmp_path) == (state, []), "there is a sound snapshot again"
    assert (tmp_path / "snapshot-13.bin").exists()


@pytest.mark.usefixtures("often")
def test_damage_in_both_brings_back_what_can_be(tmp_path: Path) -> None:
    session(tmp_path, 13)
    states = [session(tmp_path.with_name(f"other {count}"), count) for count in range(14)]
    (tmp_path / "snapshot-10.bin").write_bytes(b"")
    former = tmp_path / "journal-5.bin"
    content = former.read_bytes()
    middle = len(content) // 2
    former.write_bytes(content[:middle] + b"??" + content[middle + 2 :])
    found, notices = reopened(tmp_path)
    assert found in states[6:10]
    assert ["snapshot-10" in line or "action" in line for line in notices[:2]] == [True, True]
    assert len(list(tmp_path.glob("*.damaged-*"))) == 3, "the snapshot, half a journal, and the journal that follows"
    assert reopened(tmp_path) == (found, [])


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("actions", [3, 13])
def test_a_journal_that_is_gone_is_noticed(tmp_path: Path, actions: int) -> None:
    session(tmp_path, actions)
    base = actions // EVERY * EVERY
    (tmp_path / f"journal-{base}.bin").unlink()
    found, (notice,) = reopened(tmp_path)
    assert f"journal-{base}.bin is missing" in notice and f"after action {base}" in notice
    assert reopened(tmp_path) == (found, []), "told once"
    with store_at(tmp_path) as store:
        document = store.open()
        assert document.revision == base
        store.append(paint(document, 40))  # type: ignore[arg-type]
        state = document.to_state()
    assert reopened(tmp_path) == (state, [])


@pytest.mark.usefixtures("often")
def test_an_old_snapshot_beside_newer_journals_leaves_them_where_they_can_be_found(tmp_path: Path) -> None:
    """As when a person copies files back from a backup."""
    session(tmp_path, 3)
    old = (tmp_path / "snapshot-0.bin").read_bytes()
    shutil.rmtree(tmp_path)
    session(tmp_path, 13)
    for path in tmp_path.glob("snapshot-*.bin"):
        path.unlink()
    (tmp_path / "snapshot-0.bin").write_bytes(old)
    _, notices = reopened(tmp_path)
    assert any("journal-0.bin is missing" in line for line in notices)
    assert len(list(tmp_path.glob("journal-*.damaged-*"))) == 2


@pytest.mark.usefixtures("often")
def test_only_two_generations_are_kept(tmp_path: Path) -> None:
    state = session(tmp_path, 27)
    assert names(tmp_path) == ["journal-20", "journal-25", "snapshot-20", "snapshot-25"]
    assert reopened(tmp_path) == (state, [])


def test_a_snapshot_that_the_disk_holds_otherwise_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes
    with monkeypatch.context() as bad_disk:
        bad_disk.setattr(Path, "write_bytes", lambda path, data: write(path, data[:-1] + b"?"))
        with pytest.raises(OSError) as told:
            write_snapshot(tmp_path, Document(SHAPE))
    assert told.value.errno == errno.EIO and not snapshot_path(tmp_path, 0).exists()


@pytest.mark.usefixtures("often")
def test_ids_outlive_snapshots_and_restarts(tmp_path: Path) -> None:
    session(tmp_path, 7)
    for _ in range(2):
        with store_at(tmp_path) as store:
            document = store.open()
            assert [id for _, id in store.asked] == list("0123456")
            assert set(store.asked.values()) == {"a stroke"}
    with store_at(tmp_path) as store:
        document = store.open()
        document.undo()
        store.append("undo", Asked("page \U0001f9e0", 'x"\n', "é"))
    with store_at(tmp_path) as store:
        store.open()
        assert list(store.asked.items())[-1] == (("page \U0001f9e0", 'x"\n'), "é")


def test_ids_of_long_ago_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.annotate.bringing_back.MOST_ASKED", 4)
    session(tmp_path, 9)
    with store_at(tmp_path) as store:
        store.open()
        assert [id for _, id in store.asked] == list("5678")


def test_a_session_of_the_first_format_goes_on(tmp_path: Path) -> None:
    state = session(tmp_path, 6)
    (tmp_path / "snapshot-0.bin").rename(tmp_path / "snapshot.bin")
    (tmp_path / "journal-0.bin").rename(tmp_path / "journal.bin")
    described = tmp_path / "case.json"
    described.write_text(described.read_text(encoding="utf-8").replace('"format": 2', '"format": 1'))
    assert reopened(tmp_path) == (state, []) == reopened(tmp_path)
    assert '"format": 2' in described.read_text(encoding="utf-8"), "an earlier version does not go on beside it"
    with store_at(tmp_path) as store:
        document = store.open()
        store.append(paint(document, 30))  # type: ignore[arg-type]
        state = document.to_state()
    assert reopened(tmp_path) == (state, [])


def test_a_session_of_the_first_format_with_nothing_in_its_journal(tmp_path: Path) -> None:
    with store_at(tmp_path) as store:
        document = store.open({1: ("liver", (1, 2, 3)), 2: ("spleen", (4, 5, 6))})
        for number in range(4):
            paint(document, number)
        write_snapshot(tmp_path, document)
    (tmp_path / "snapshot-4.bin").rename(tmp_path / "snapshot.bin")
    for name in ("snapshot-0.bin", "journal-0.bin"):
        (tmp_path / name).unlink()
    (tmp_path / "journal.bin").touch()
    state = document.to_state()
    assert reopened(tmp_path) == (state, [])
    with store_at(tmp_path) as store:
        document = store.open()
        store.append(paint(document, 4))  # type: ignore[arg-type]
        state = document.to_state()
    assert reopened(tmp_path)[0] == state


def test_a_bent_id_is_damage(tmp_path: Path) -> None:
    whole = encode(1, "undo", b"", Asked("page", "1", "x"))
    assert scan(whole).records[0].asked == Asked("page", "1", "x")
    for told in (b"", b"[1,2,3]", b"{}", b"[", b'["a","b"]'):
        payload = struct.pack("<QBH", 1, 1 | 0x80, len(told)) + told
        bad = struct.pack("<4sII", b"KSR\x01", len(payload), zlib.crc32(payload)) + payload
        assert not scan(bad).records


def test_what_a_killed_process_was_writing_goes(tmp_path: Path) -> None:
    state = session(tmp_path, 3)
    (tmp_path / ".part-snapshot-1000.bin").write_bytes(b"half")
    (tmp_path / ".import-abc").mkdir()
    (tmp_path / ".import-abc" / "import.nii.gz").write_bytes(b"sent")
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / ".ct.nii-abc.gz").write_bytes(b"half")
    (tmp_path / "exports" / "ct.nii.gz").write_bytes(b"whole")
    assert reopened(tmp_path) == (state, [])
    assert not [path for path in tmp_path.rglob(".*")]
    assert (tmp_path / "exports" / "ct.nii.gz").exists()
