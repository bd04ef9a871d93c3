"""Which cases are opened, where their annotation is kept, and what the list says of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.tools.annotate.serving import serving, write_ct
from tools.annotate.worklist import Summary, find_worklist, read_summary, write_summary
from volumes.errors import InputError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_one_file(tmp_path: Path) -> None:
    touch(tmp_path / "liver_17.nii.gz", tmp_path / "other.nii.gz")
    found = find_worklist(tmp_path / "liver_17.nii.gz")
    (entry,) = found
    assert entry.key == "liver_17"
    assert entry.session == tmp_path / "liver_17.keyslice"
    assert found.root == tmp_path


def test_a_dicom_folder_is_one_case(tmp_path: Path) -> None:
    touch(tmp_path / "scan" / "1.dcm", tmp_path / "scan" / "IM0002")
    (entry,) = find_worklist(tmp_path / "scan")
    assert (entry.key, entry.ct, entry.session) == ("scan", tmp_path / "scan", tmp_path / "scan.keyslice")


def test_a_folder_of_cases(tmp_path: Path) -> None:
    touch(tmp_path / "B_0000.nii.gz", tmp_path / "A.nrrd", tmp_path / "C" / "1.dcm", tmp_path / "notes.txt")
    touch(tmp_path / "A.keyslice" / "case.json", tmp_path / ".hidden.nii.gz")
    found = find_worklist(tmp_path, session=tmp_path / "out")
    assert [(entry.key, entry.ct.name) for entry in found] == [("A", "A.nrrd"), ("B", "B_0000.nii.gz"), ("C", "C")]
    assert [entry.session.name for entry in found] == ["A.keyslice", "B.keyslice", "C.keyslice"]
    assert {entry.session.parent for entry in found} == {tmp_path / "out"}


def test_a_folder_of_dicom_folders_is_a_list(tmp_path: Path) -> None:
    touch(tmp_path / "one" / "1.dcm", tmp_path / "two" / "1.dcm")
    assert [entry.key for entry in find_worklist(tmp_path)] == ["one", "two"]


def test_a_name_that_two_files_have_is_left_out_and_told(tmp_path: Path) -> None:
    touch(tmp_path / "A.nrrd", tmp_path / "A.nii.gz", tmp_path / "B.nii.gz")
    found = find_worklist(tmp_path)
    assert list(found.entries) == ["B"]
    assert list(found.failed) == ["A"]


def test_keys_by_case_name(tmp_path: Path) -> None:
    cts, keys = tmp_path / "cts", tmp_path / "keys"
    touch(cts / "A_0000.nii.gz", cts / "B.nii.gz", keys / "A.seg.nrrd", keys / "C.nii.gz")
    assert [entry.keys for entry in find_worklist(cts, keys=keys)] == [keys / "A.seg.nrrd", None]
    (one,) = find_worklist(cts / "B.nii.gz", keys=keys / "C.nii.gz")
    assert one.keys == keys / "C.nii.gz"


def test_what_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    sessions = tmp_path / "sessions"
    (sessions / "A.keyslice").mkdir(parents=True)
    touch(tmp_path / "two" / "A.nii.gz", tmp_path / "two" / "B.nii.gz")
    for path in (tmp_path / "none.nii.gz", empty, sessions):
        with pytest.raises(InputError, match=path.name):
            find_worklist(path)
    with pytest.raises(InputError, match="none.nrrd"):
        find_worklist(tmp_path / "two", keys=tmp_path / "none.nrrd")
    with pytest.raises(InputError, match="one label map for 2 cases"):
        find_worklist(tmp_path / "two", keys=tmp_path / "two" / "A.nii.gz")


def test_files_are_found_inside_the_opened_folder_alone(tmp_path: Path) -> None:
    ct = write_ct(tmp_path / "open" / "a.nii.gz")
    secret = tmp_path / "secret.nii.gz"
    touch(secret, ct.parent / "sub" / "b.nii.gz")
    (ct.parent / "link.nii.gz").symlink_to(secret)
    (ct.parent / "inside.nii.gz").symlink_to(ct)
    (ct.parent / "circle.nii.gz").symlink_to("circle.nii.gz")
    found = find_worklist(ct)
    assert found.file_in_root("sub/b.nii.gz") == ct.parent / "sub" / "b.nii.gz"
    assert found.file_in_root("sub/../a.nii.gz") == ct
    assert found.file_in_root("inside.nii.gz") == ct
    for path in (
        "../secret.nii.gz",
        "sub/../../secret.nii.gz",
        str(secret),
        str(ct),
        "link.nii.gz",
        "circle.nii.gz",
        "none.nii.gz",
        "sub",
        ".",
        "",
        "a\0b",
        "x" * 5000,
        "\ud800",
    ):
        with pytest.raises(InputError, match="opened folder"):
            found.file_in_root(path)


def test_a_summary_comes_back_and_a_broken_one_is_a_new_case(tmp_path: Path) -> None:
    new = {"case": "a", "state": "new", "key_slices": 0, "labels": 0, "edited": None}
    assert read_summary(tmp_path).row("a") == new
    summary = Summary(done=False, key_slices=3, labels=2, edited="2026-01-02T03:04:05+00:00")
    write_summary(tmp_path, summary)
    assert read_summary(tmp_path) == summary
    assert read_summary(tmp_path).state == "begun"
    (tmp_path / "summary.json").write_text('{"done": true}')
    assert read_summary(tmp_path) == Summary()


def test_a_case_may_be_closed_while_the_list_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        write_ct(tmp_path / "cts" / f"{name}.nii.gz")
    with serving(tmp_path / "cts", session=tmp_path / "sessions") as page:
        page.watch("a")
        page.leave()
        cases = page.app.state.cases

        def read_late(session: Path) -> Summary:
            asyncio.run_coroutine_threadsafe(cases._open.pop("a").close(), page.loop).result(20)
            return read_summary(session)

        monkeypatch.setattr("tools.annotate.cases.read_summary", read_late)
        answer = page.http.get("/api/worklist")
        assert answer.status_code == 200
        assert [row["case"] for row in answer.json()["cases"]] == ["a", "b"]
