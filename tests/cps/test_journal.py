"""The journal: read by many, written by one, and on the disk before anything relies on it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cps.journal import Journal, replace_file, settle, write_whole
from volumes.errors import InputError


def test_a_reader_leaves_a_line_that_is_being_written_to_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    writer = Journal(path)
    writer.append({"n": 1})
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"n": ')
        file.flush()
        assert Journal(path).lines == [{"n": 1}]
        file.write(b"2}\n")
    assert path.read_bytes() == whole + b'{"n": 2}\n'
    assert Journal(path).lines == [{"n": 1}, {"n": 2}]


def test_a_line_that_was_cut_off_is_replaced_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path).append({"n": 1})
    with path.open("ab") as file:
        file.write(b'{"n": "a long line that was cut o')
    journal = Journal(path)
    journal.append({"n": 3})
    journal.append({"n": 4})
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == journal.lines == [
        {"n": 1},
        {"n": 3},
        {"n": 4},
    ]


def test_lines_that_came_since_it_was_read_are_kept(tmp_path: Path) -> None:
    first, second = Journal(tmp_path / "journal"), Journal(tmp_path / "journal")
    first.append({"n": "ä"})
    second.append({"n": 2})
    first.append({"n": 3})
    assert Journal(tmp_path / "journal").lines == [{"n": "ä"}, {"n": 2}, {"n": 3}]


def test_it_is_read_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    Journal(path).append({"n": 1})
    with path.open("ab") as file:
        file.write(b"{")
    real = Path.open

    def read_only(self: Path, mode: str = "r", *arguments: object, **more: object) -> object:
        if set(mode) & set("wax+"):  # permissions do not hold for root, whom tests may run as
            raise PermissionError(self)
        return real(self, mode, *arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", read_only)
    assert Journal(path).lines == [{"n": 1}]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b"])
def test_names_with_line_breaks_that_json_does_not_know(tmp_path: Path, separator: str) -> None:
    Journal(tmp_path / "journal").append({"case": f"a{separator}b"})
    assert Journal(tmp_path / "journal").lines == [{"case": f"a{separator}b"}]


def test_an_empty_line_is_damage(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("\n")
    with pytest.raises(InputError, match="no JSON object"):
        Journal(tmp_path / "journal")


def test_what_a_journal_will_name_is_on_the_disk_with_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))

    def was_synced(*paths: Path) -> bool:
        found = {path.stat().st_ino for path in paths} <= set(synced)
        synced.clear()
        return found

    inner = tmp_path / "round" / "member"
    inner.mkdir(parents=True)
    weights = inner / "weights"
    weights.touch()
    settle(weights, tmp_path)
    assert tmp_path.parent.stat().st_ino not in synced
    assert was_synced(weights, inner, inner.parent, tmp_path)
    settle(weights, tmp_path / "elsewhere")
    assert tmp_path.stat().st_ino not in synced and was_synced(weights, inner)
    replace_file(tmp_path / "copy", lambda part: part.write_text("labels"))
    assert was_synced(tmp_path / "copy", tmp_path)
    write_whole(tmp_path / "report", "text")
    assert was_synced(tmp_path / "report", tmp_path)
    Journal(tmp_path / "journal").append({})
    assert was_synced(tmp_path / "journal", tmp_path)
