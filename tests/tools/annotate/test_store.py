"""The session folder: what was acknowledged is there, whatever happened."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tools.annotate.store as store_module
from tools.annotate.changes import Change
from tools.annotate.document import Document
from tools.annotate.proposals_file import SavedProposals
from tools.annotate.store import NotSaved, Store, fingerprint
from volumes.errors import InputError
from volumes.volume import Geometry, Volume

SHAPE = (4, 6, 7)
NOTHING = np.zeros(SHAPE[1:], np.uint8)
LABELS = {1: ("liver", (1, 2, 3)), 2: ("spleen", (4, 5, 6))}


def store_at(folder: Path, print_of: str = "ab") -> Store:
    return Store(folder, SHAPE, print_of, name="ct.nii.gz")


def names(folder: Path) -> list[str]:
    """The files of all generations."""
    return sorted(path.stem for path in folder.glob("*-*.bin"))


def reopened(folder: Path) -> tuple[bytes, list[str]]:
    with store_at(folder) as store:
        return store.open().to_state(), store.notices


def step(document: Document, number: int) -> Change | str | None:
    """The `number`-th of an endless row of actions: mostly strokes, now and then undo, redo or another."""
    rng = np.random.default_rng(number)
    if number % 7 == 5:
        return "undo" if document.undo() else None
    if number % 7 == 6:
        return "redo" if document.redo() else None
    if number % 11 == 3:
        return document.accept_all((z, NOTHING + np.uint8(number % 3)) for z in range(3))
    if number % 13 == 4:
        return document.add_label(f"label of step {number}") if len(document.labels) < 200 else None
    pixels = rng.random(SHAPE[1:]) < 0.3
    return document.paint(int(rng.integers(4)), int(rng.integers(1, 3)), pixels, NOTHING)


def work(store: Store, document: Document, numbers: range) -> Iterator[tuple[int, bytes]]:
    """Carry steps out; the number of each and the state after it, once it was acknowledged."""
    for number in numbers:
        action = step(document, number)
        if action is not None:
            store.append(action)  # type: ignore[arg-type]
        yield number, document.to_state()


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "ct.keyslice"
    with store_at(folder) as store:
        *_, (_, state) = work(store, store.open(LABELS), range(60))
    assert reopened(folder) == (state, [])
    with store_at(folder) as store:
        document = store.open({9: ("other", (0, 0, 0))})
        assert list(document.labels)[:2] == [1, 2] and 9 not in document.labels
        while document.undo():
            store.append("undo")
        assert not document.slices and list(document.labels) == [1, 2]
        state = document.to_state()
    assert reopened(folder) == (state, [])


def test_the_session_of_another_ct_is_refused(tmp_path: Path) -> None:
    reopen = store_at(tmp_path)
    reopen.open()
    reopen.close()
    with pytest.raises(InputError, match="another CT"):
        store_at(tmp_path, "cd").open()
    with pytest.raises(InputError, match="another CT"):
        Store(tmp_path, (5, 6, 7), "ab", name="x").open()
    reopened(tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with store_at(tmp_path) as store:
        store.open()
        with pytest.raises(InputError, match="another keyslice annotate"):
            store_at(tmp_path).open()
    reopened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 2}', b"\xff"])
def test_a_case_file_of_another_form_is_refused(tmp_path: Path, content: bytes) -> None:
    reopened(tmp_path)
    (tmp_path / "case.json").write_bytes(content)
    with pytest.raises(InputError, match=r"case\.json"):
        store_at(tmp_path).open()


def test_where_no_snapshot_can_be_read_all_is_refused_and_left_alone(tmp_path: Path) -> None:
    reopened(tmp_path)
    path = tmp_path / "snapshot-0.bin"
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:5], b"", whole[:40] + b"?" + whole[41:], whole + b"0"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"snapshot-0\.bin"):
            store_at(tmp_path).open()
        assert path.read_bytes() == damaged
    path.unlink()
    with pytest.raises(InputError, match=r"snapshot-0\.bin"):
        store_at(tmp_path).open()
    (tmp_path / "journal-0.bin").write_bytes(b"something")
    (tmp_path / "case.json").unlink()
    with pytest.raises(InputError, match="beside a journal"):
        store_at(tmp_path).open()


def journalled(folder: Path) -> tuple[list[bytes], list[int], bytes]:
    """A session of some actions: the state after each, where each ends in the journal, and the journal."""
    states, ends = [], []
    with store_at(folder) as store:
        document = store.open(LABELS)
        states.append(document.to_state())
        ends.append(0)
        for _, state in work(store, document, range(20)):
            if state != states[-1]:
                states.append(state)
                ends.append((folder / "journal-0.bin").stat().st_size)
    return states, ends, (folder / "journal-0.bin").read_bytes()


def test_a_journal_cut_anywhere_in_its_last_records_loses_only_what_is_cut(tmp_path: Path) -> None:
    states, ends, journal = journalled(tmp_path)
    for length in range(ends[-3], len(journal) + 1):
        (tmp_path / "journal-0.bin").write_bytes(journal[:length])
        whole = max(place for place, end in enumerate(ends) if end <= length)
        state, notices = reopened(tmp_path)
        assert state == states[whole]
        assert bool(notices) == (length not in ends) and all("dropped" in line for line in notices)
        assert (tmp_path / "journal-0.bin").read_bytes() == journal[: ends[whole]]
    assert not list(tmp_path.glob("*.damaged*"))


def test_damage_in_the_middle_is_put_aside(tmp_path: Path) -> None:
    states, ends, journal = journalled(tmp_path / "whole")
    for number, place in enumerate(np.random.default_rng(0).integers(0, ends[-2], 12).tolist()):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", folder)
        bent = bytearray(journal)
        bent[place] ^= 0x10
        (folder / "journal-0.bin").write_bytes(bent)
        whole = max(number for number, end in enumerate(ends) if end <= place)
        state, notices = reopened(folder)
        assert state == states[whole] and len(notices) == 1 and "put aside" in notices[0]
        (aside,) = folder.glob("*.damaged*")
        assert aside.read_bytes() == bent[ends[whole] :] and aside.name in notices[0]
        assert reopened(folder) == (state, []), "told once"


def test_records_that_do_not_follow_are_put_aside(tmp_path: Path) -> None:
    states, ends, journal = journalled(tmp_path)
    (tmp_path / "journal-0.bin").write_bytes(journal[ends[1] :])  # whole records, the first is missing
    state, notices = reopened(tmp_path)
    assert state == states[0] and "put aside" in notices[0]
    assert next(tmp_path.glob("*.damaged*")).read_bytes() == journal[ends[1] :]


def test_damage_in_what_the_snapshot_holds_does_not_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, journal = journalled(tmp_path)
    monkeypatch.setattr(store_module, "COMPACT_RECORDS", 1)
    with store_at(tmp_path) as store:
        *_, (_, state) = work(store, store.open(), range(20, 30))
    monkeypatch.undo()
    former, newest = sorted(tmp_path.glob("journal-*.bin"), key=lambda path: int(path.stem.partition("-")[2]))
    former.write_bytes(journal[:200] + b"?" + journal[201:])
    assert reopened(tmp_path)[0] == state
    with store_at(tmp_path) as store:
        *_, (_, state) = work(store, store.open(), range(30, 40))
    assert reopened(tmp_path) == (state, [])


def test_work_goes_on_after_damage(tmp_path: Path) -> None:
    _, ends, journal = journalled(tmp_path)
    (tmp_path / "journal-0.bin").write_bytes(journal[: ends[-1] - 2])
    with store_at(tmp_path) as store:
        *_, (_, state) = work(store, store.open(), range(100, 120))
    assert reopened(tmp_path) == (state, [])


def test_a_full_disk_takes_the_action_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with store_at(tmp_path) as store:
        document = store.open(LABELS)
        *_, (_, before) = work(store, document, range(12))

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        for number in range(12, 40):
            with monkeypatch.context() as broken:
                broken.setattr(os, "fsync", full)
                action = step(document, number)
                if action is None:
                    continue
                with pytest.raises(NotSaved, match="a full disk") as told:
                    store.append(action)  # type: ignore[arg-type]
                assert "\n" not in str(told.value)
                document.take_back()
            assert document.to_state() == before
        *_, (_, state) = work(store, document, range(40, 60))
    assert state != before and reopened(tmp_path) == (state, [])


@pytest.fixture
def compact_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "COMPACT_RECORDS", 5)


@pytest.mark.usefixtures("compact_often")
def test_undo_survives_compaction(tmp_path: Path) -> None:
    with store_at(tmp_path) as store:
        document = store.open(LABELS)
        start = document.labels.copy()
        *_, (_, state) = work(store, document, range(64))
    journals = list(tmp_path.glob("journal-*.bin"))
    assert len(journals) == 2 and all(path.stat().st_size < 5 * 300 for path in journals), "begun anew now and then"
    assert reopened(tmp_path) == (state, [])
    with store_at(tmp_path) as store:
        document = store.open()
        steps = 0
        while document.undo():
            steps += 1
        assert steps > 30 and not document.slices and document.labels == start


@pytest.mark.usefixtures("compact_often")
def test_a_crash_between_any_two_steps_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is copied before and after each call that changes the disk; every copy opens to an acknowledged state
    or to that of the action under way."""
    folder, copies = tmp_path / "case", []
    acknowledged = [0]
    with store_at(folder) as store:
        document = store.open(LABELS)
        states = [document.to_state()]

        def watched(name: str) -> Callable[..., object]:
            real = getattr(os, name)

            def call(*arguments: object, **named: object) -> object:
                copies.append((acknowledged[0], tmp_path / f"copy {len(copies)}"))
                shutil.copytree(folder, copies[-1][1])
                return real(*arguments, **named)

            return call

        for name in ("fsync", "replace", "ftruncate"):
            monkeypatch.setattr(os, name, watched(name))
        for number in range(12):
            action = step(document, number)
            if action is not None:
                states.append(document.to_state())
                store.append(action)  # type: ignore[arg-type]
                acknowledged[0] = len(states) - 1
                copies.append((acknowledged[0], tmp_path / f"copy {len(copies)}"))
                shutil.copytree(folder, copies[-1][1])
        monkeypatch.undo()
    assert len(copies) > 30
    for done, copy in copies:
        state, notices = reopened(copy)
        assert state in states[done : done + 2], "the action under way may be there already, none twice, none lost"
        assert not notices
        assert reopened(copy) == (state, [])


class FailingDisk:
    """The calls that change the disk; one of them fails."""

    def __init__(self, patch: pytest.MonkeyPatch, failing: int) -> None:
        self.calls, self._failing = 0, failing
        for name in ("fsync", "replace", "ftruncate"):
            patch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            self.calls += 1
            if self.calls == self._failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments)

        return call


@pytest.mark.parametrize("failing", range(4, 16))
@pytest.mark.usefixtures("compact_often")
def test_an_error_at_any_step_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    with store_at(tmp_path) as store:
        document = store.open(LABELS)
        state = document.to_state()
        with monkeypatch.context() as broken:
            disk = FailingDisk(broken, failing)
            for number in range(14):
                action = step(document, number)
                if action is None:
                    continue
                try:
                    store.append(action)  # type: ignore[arg-type]
                    state = document.to_state()
                except NotSaved:
                    document.take_back()
                    assert document.to_state() == state
            assert disk.calls > failing
    assert reopened(tmp_path)[0] == state


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError()])
def test_a_failed_compaction_is_told_and_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(*_: object) -> int:
        raise error

    monkeypatch.setattr(store_module, "COMPACT_RECORDS", 3)
    with store_at(tmp_path) as store:
        document = store.open(LABELS)
        with monkeypatch.context() as broken:
            broken.setattr(store_module, "write_snapshot", failing)
            for _ in work(store, document, range(5)):
                pass
            assert len(store.notices) == 1 and "No snapshot" in store.notices[0]
        assert names(tmp_path) == ["journal-0", "snapshot-0"]
        *_, (_, state) = work(store, document, range(5, 12))
        assert len(names(tmp_path)) == 4
    assert reopened(tmp_path)[0] == state


def test_a_full_disk_keeps_no_half_written_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "COMPACT_RECORDS", 3)
    with store_at(tmp_path) as store:
        document = store.open(LABELS)

        def full(path: Path, _data: bytes) -> int:
            path.touch()
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
        for _ in work(store, document, range(5)):
            pass
        assert store.notices and not list(tmp_path.glob(".part-*"))


def test_proposals_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, SHAPE).astype(np.uint8)
    confidence = {2: rng.random(4).astype(np.float32), 1: rng.random(4).astype(np.float32)}
    with store_at(tmp_path) as store:
        store.open()
        assert store.load_proposals() is None and not store.notices
        store.save_proposals(SavedProposals(list(labels), confidence, {1: 4, 2: 7}, 17))
    with store_at(tmp_path) as store:
        store.open()
        found = store.load_proposals()
        assert found is not None and np.array_equal(found.labels, labels) and found.revision == 17
        assert all(np.array_equal(found.confidence[label], confidence[label]) for label in (1, 2))
        assert found.owners == {1: 4, 2: 7}
        whole = (tmp_path / "proposals.bin").read_bytes()
        for damaged in (b"", whole[:-1], whole[:30] + b"??" + whole[32:]):
            (tmp_path / "proposals.bin").write_bytes(damaged)
            store.notices.clear()
            assert store.load_proposals() is None and len(store.notices) == 1


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected"):
        store_at(tmp_path / "file" / "ct.keyslice").open()


def test_a_fingerprint_is_of_voxels_and_grid() -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume = Volume(array, Geometry.axial((2, 3, 4), (3.0, 1.0, 1.0)))
    other = array.copy()
    other[1, 2, 3] += 1
    prints = {
        fingerprint(volume),
        fingerprint(Volume(other, volume.geometry)),
        fingerprint(Volume(array, Geometry.axial((2, 3, 4), (3.0, 1.0, 1.5)))),
    }
    assert len(prints) == 3 and fingerprint(Volume(array.copy(), volume.geometry, "x")) == fingerprint(volume)
