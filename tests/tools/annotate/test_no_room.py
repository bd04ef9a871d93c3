"""Disks that are full, folders that cannot be written to: one line and status 2, or a refusal, and nothing lost.

Tests run as root too, whom permissions do not stop: the system's calls are made to fail, or a limit on the size of
files stops a real process in the middle of a record.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tools.annotate.serving import ROOT, SHAPE, TOKEN, Page, command, runs, serving, write_ct
from tests.tools.annotate.test_annotate_command import refused

BOX = runs(8, 10, 12, 14)
ERRORS = {
    "full": (errno.ENOSPC, "a full disk"),
    "read-only": (errno.EROFS, "a read-only file system"),
    "not allowed": (errno.EACCES, "no permission"),
}


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_ct(tmp_path / "cts" / "case.nii.gz")


def fail_in(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int, *names: str) -> None:
    """These calls of `os` fail for paths in a folder."""

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            if not isinstance(path, int) and Path(os.fsdecode(path)).is_relative_to(folder):
                raise OSError(number, os.strerror(number), os.fsdecode(path))
            return real(path, *arguments, **named)

        return call

    for name in names:
        monkeypatch.setattr(os, name, failing(getattr(os, name)))


@pytest.mark.parametrize("kind", ERRORS)
def test_a_ct_folder_that_cannot_be_written_to(ct: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    number, found = ERRORS[kind]
    fail_in(monkeypatch, ct.parent, number, "mkdir")
    line = refused(ct)
    assert found in line and "case.keyslice" in line and "--session DIR" in line
    assert os.listdir(ct.parent) == [ct.name], "nothing is left there"


def test_a_session_folder_elsewhere_is_the_way_out(ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_in(monkeypatch, ct.parent, errno.EROFS, "mkdir")
    with serving(ct, session=tmp_path / "mine") as page:
        page.watch()
        assert page.edit("paint", z=1, label=1, runs=BOX)["revision"] == 1
    assert os.listdir(ct.parent) == [ct.name]


@pytest.mark.parametrize("kind", ERRORS)
def test_a_session_folder_that_takes_no_file(
    ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    number, found = ERRORS[kind]
    session = tmp_path / "sessions"
    session.mkdir()
    real = Path.write_bytes

    def failing(path: Path, data: bytes) -> int:
        if path.is_relative_to(session):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, data)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "write_bytes", failing)
        assert found in refused(ct, "--session", session)
    with serving(ct, session=session) as page:  # what was begun is no hindrance
        page.watch()
        assert page.state()["revision"] == 0


def test_a_cache_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fail_in(monkeypatch, tmp_path, errno.EROFS, "mkdir")
    assert "read-only" in refused("--demo")


def test_a_case_of_a_folder_that_cannot_be_opened_is_told_and_others_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in "ab":
        write_ct(tmp_path / "cts" / f"{key}.nii.gz")
    fail_in(monkeypatch, tmp_path / "cts" / "a.keyslice", errno.EACCES, "mkdir")
    with serving(tmp_path / "cts") as page:
        answer = page.http.get("/api/cases/a")
        assert answer.status_code == 422 and "no permission" in answer.json()["error"]["found"]
        page.watch("b")
        page.edit("paint", z=1, label=1, runs=BOX)


@pytest.fixture
def page(ct: Path) -> Iterator[Page]:
    with serving(ct) as page:
        page.watch()
        page.edit("paint", z=2, label=1, runs=BOX)
        page.propagate()
        yield page


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_exports_imports_and_done_on_a_full_disk(page: Page, ct: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert page.post("export", kind="nifti").status_code == 200
    exported = ct.parent / "case.keyslice" / "exports" / "case.nii.gz"
    before, digest = exported.read_bytes(), page.digest()
    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", full)
        broken.setattr("tempfile.mkstemp", full)
        broken.setattr("tempfile.mkdtemp", full)
        for kind in ("nifti", "seg_nrrd", "sparse"):
            answer = page.post("export", kind=kind)
            assert answer.status_code in (422, 507), answer.text
            assert any(text in answer.json()["error"]["found"] for text in ("full disk", "No space left"))
        headers = {"X-Filename": "x.nii.gz", "Content-Type": "application/octet-stream"}
        parameters = {"as": "proposals", "client": page.client}
        answer = page.http.post(page.url("import"), params=parameters, headers=headers, content=before)
        assert answer.status_code == 507 and "full disk" in answer.json()["error"]["found"]
        answer = page.http.post(page.url("done"), json={"client": page.client, "done": True})
        assert answer.status_code == 507
        assert page.http.get("/api/worklist").json()["cases"][0]["state"] != "done"
    assert exported.read_bytes() == before and os.listdir(exported.parent) == [exported.name]
    assert page.digest() == digest
    assert page.edit("paint", z=3, label=1, runs=BOX)["revision"] == 2


def test_proposals_that_cannot_be_kept_are_told_and_shown(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.edit("paint", z=9, label=2, runs=BOX)
    begun = len(page.events)
    with monkeypatch.context() as broken:
        broken.setattr("tools.annotate.proposals_file.replace_file", full)
        page.propagate()
        assert "full disk" in page.event("notice", begun)["text"]
    assert (page.masks()[1] == 2).any()


def test_a_file_that_may_not_grow_ends_in_a_refusal_in_the_middle_of_a_record(ct: Path, tmp_path: Path) -> None:
    """The system itself takes only a part of the record: it goes, and all that was acknowledged stays."""
    options = ("--session", tmp_path / "sessions")
    with command(ct, *options) as (process, page):
        page.watch()
        page.edit("paint", z=0, label=1, runs=BOX)
        journal = tmp_path / "sessions" / "case.keyslice" / "journal-0.bin"
        size = journal.stat().st_size
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2 * size + size // 2, hard))
        page.edit("paint", z=1, label=1, runs=BOX)
        before = page.digest()
        for z in (2, 3):
            answer = page.post("edit", action="paint", z=z, label=1, runs=BOX, id=f"stroke {z}")
            assert answer.status_code == 507, answer.text
            assert journal.stat().st_size == 2 * size, "no half of a record is left"
        assert page.digest() == before
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert page.edit("paint", z=2, label=1, runs=BOX, id="stroke 2")["revision"] == 3
        process.send_signal(signal.SIGKILL)
        process.wait()
    with command(ct, *options) as (_, page):
        assert page.watch()["revision"] == 3
        assert np.flatnonzero(page.masks()[0].any((1, 2))).tolist() == [0, 1, 2] and SHAPE[0] > 3


def test_a_new_session_that_may_not_be_written_ends_with_status_2(ct: Path, tmp_path: Path) -> None:
    session = tmp_path / "sessions"
    words = [sys.executable, "-m", "tools.cli", "annotate", str(ct), "--no-browser", "--session", str(session)]
    code = (
        "import resource, runpy, sys; sys.argv = sys.argv[1:]; import tools.cli\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20)); tools.cli.app()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *words[2:], "--token", TOKEN],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2 and len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert "error: " in ended.stderr and ended.stdout == ""
    assert not list(session.rglob("*.part*")) and not list(session.rglob(".part*"))
    with command(ct, "--session", session) as (_, page):
        assert page.watch()["revision"] == 0
