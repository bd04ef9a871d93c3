"""What must not grow or go on for ever: events for a page that sleeps, notices, saves, looks at what is as it was."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tools.annotate.serving import SHAPE, Page, case_of, on_loop, runs, serving, write_ct
from tools.annotate import proposals
from tools.annotate.changes import Change
from tools.annotate.document import Document
from tools.annotate.events import MOST_BYTES, MOST_WAITING, Watcher
from tools.annotate.given import proposal_digest
from tools.annotate.store import NotSaved, Store
from tools.annotate.worklist import find_worklist

BOX = runs(8, 10, 12, 14)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with serving(write_ct(tmp_path / "case.nii.gz")) as page:
        page.watch()
        yield page


def test_a_page_that_sleeps_holds_few_megabytes() -> None:
    async def watch(events: list[bytes]) -> list[bytes]:
        """What a page gets that first sleeps over all events, and then reads."""
        watcher = Watcher("page")
        stream = watcher.events(lambda: {"whole": True})
        await anext(stream)
        for event in events:
            watcher.put(event)
            assert sum(map(len, watcher._waiting)) <= max(MOST_BYTES, len(events[0]))
        found = []
        while watcher._behind or watcher._waiting:
            found.append(await anext(stream))
        return found

    megabyte = b"x" * (1 << 20)
    assert asyncio.run(watch([megabyte] * 5)) == [megabyte] * 5
    assert asyncio.run(watch([megabyte] * 40)) == [b'event: state\ndata: {"whole":true}\n\n']
    assert asyncio.run(watch([b"x"] * (MOST_WAITING + 1)))[0].startswith(b"event: state")
    large = b"x" * (2 * MOST_BYTES)
    assert asyncio.run(watch([large])) == [large], "one that is larger by itself is sent"


def test_a_stream_of_a_case_that_was_closed_ends_at_once(page: Page) -> None:
    case = case_of(page)
    on_loop(page, case.close())

    async def join() -> list[bytes]:
        return [event async for event in case.audience.join("late").events(lambda: {})]

    assert on_loop(page, join()) == []


def test_notices_do_not_pile_up(page: Page) -> None:
    for _ in range(60):
        begun = len(page.events)
        page.post("propagate")
        page.event("progress", begun, such=lambda data: data["running"] is None)
    assert len(page.state()["notices"]) <= 20


def test_saves_that_wait_are_done_in_one(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.edit("paint", z=5, label=1, runs=BOX)
    page.propagate()
    saved: list[int] = []
    go_on = threading.Event()

    def save(store: Store, proposals: Any) -> None:
        saved.append(int((proposals.labels[3] == 1).sum()))
        go_on.wait(10)

    monkeypatch.setattr(Store, "save_proposals", save)
    case = case_of(page)

    async def many() -> None:
        first = asyncio.ensure_future(case.keep_proposals())
        await asyncio.sleep(0.05)
        rest = [asyncio.ensure_future(case.keep_proposals()) for _ in range(30)]
        await asyncio.sleep(0.05)
        case.proposals.put(3, np.ones(SHAPE[1:], np.uint8), {1: 0.5})
        go_on.set()
        await asyncio.gather(first, *rest)

    on_loop(page, many())
    assert saved == [12 * 14, SHAPE[1] * SHAPE[2]], "the first, and one with all that was so when it began"


def test_a_save_that_failed_is_tried_by_the_next(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def save(store: Store, proposals: Any) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise NotSaved("proposals.bin", found="a full disk", expected="room", fix="make room")

    monkeypatch.setattr(Store, "save_proposals", save)
    case = case_of(page)

    async def twice() -> None:
        await asyncio.gather(case.keep_proposals(), case.keep_proposals())

    on_loop(page, twice())
    assert len(tries) == 2


def test_rejected_proposals_are_looked_at_once(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.edit("paint", z=5, label=1, runs=BOX)
    page.propagate()
    for z in range(5):
        page.edit("reject", z=z)
    looked: list[int] = []

    def digest(mask: Any) -> str:
        looked.append(1)
        return proposal_digest(mask)

    monkeypatch.setattr(proposals, "proposal_digest", digest)
    for number in range(10):
        page.edit("paint", z=8, label=1, runs=runs(number, 1, 1, 4))
    assert page.state()["rejected"] == [0, 1, 2, 3, 4] and not looked
    page.edit("paint", z=5, label=1, runs=runs(22, 2, 3, 3))
    page.propagate()
    assert page.state()["rejected"] == [] and looked, "others are looked at anew"


def test_an_exports_folder_that_leads_elsewhere_is_not_used(page: Page, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret.txt").write_text("secret")
    (tmp_path / "case.keyslice" / "exports").symlink_to(elsewhere)
    assert page.http.get(page.url("exports/secret.txt")).status_code == 422
    assert page.post("export", kind="nifti").status_code == 422
    assert os.listdir(elsewhere) == ["secret.txt"]


def test_a_session_folder_in_the_opened_folder_is_no_case(tmp_path: Path) -> None:
    write_ct(tmp_path / "a.nii.gz")
    (tmp_path / "sessions").mkdir()
    assert list(find_worklist(tmp_path, session=tmp_path / "sessions").entries) == ["a"]
    (tmp_path / "link").symlink_to(tmp_path / "sessions")
    assert list(find_worklist(tmp_path, session=tmp_path / "link").entries) == ["a"]


def test_a_refusal_that_nobody_waits_for_is_no_error(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    case = case_of(page)

    async def give_up() -> None:
        await case._changes.acquire()
        work = asyncio.ensure_future(case.commit(lambda document: document.delete_label(99)))
        await asyncio.sleep(0.02)
        work.cancel()
        case._changes.release()
        await asyncio.gather(work, return_exceptions=True)
        await asyncio.sleep(0.02)

    with caplog.at_level(logging.ERROR):
        on_loop(page, give_up())
        gc.collect()
    assert not caplog.records


def test_a_change_of_all_slices_keeps_nobody_waiting(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is worked out beside the loop; what is asked meanwhile is answered from how things were."""
    page.edit("paint", z=5, label=1, runs=BOX)
    page.propagate()
    reached, go_on, accept_all = threading.Event(), threading.Event(), Document.accept_all

    def slow(document: Document, proposals: Any) -> Change | None:
        reached.set()
        go_on.wait(10)
        return accept_all(document, proposals)

    monkeypatch.setattr(Document, "accept_all", slow)
    answers: dict[str, Any] = {}
    accepting = threading.Thread(target=lambda: answers.update(accepted=page.edit("accept_all")))
    with page.other(page.client) as same:
        same._case = page._case
        accepting.start()
        assert reached.wait(10)
        state = same.state()
        assert list(state["slices"]) == ["5"] and state["revision"] == 1
        painting = threading.Thread(target=lambda: answers.update(painted=same.edit("paint", z=6, label=2, runs=BOX)))
        painting.start()
        go_on.set()
        accepting.join()
        painting.join()
    assert (answers["accepted"]["revision"], answers["painted"]["revision"]) == (2, 3)
    assert page.state()["slices"]["6"]["kind"] == "painted" and len(page.state()["slices"]) == SHAPE[0]
    for _ in range(2):
        page.edit("undo")
    assert list(page.state()["slices"]) == ["5"]
    page.edit("redo")
    assert len(page.state()["slices"]) == SHAPE[0]


def test_a_change_of_all_slices_that_the_disk_does_not_take_is_taken_back(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.edit("paint", z=5, label=1, runs=BOX)
    page.propagate()
    before = page.digest()

    def full(store: Store, action: object, asked: object) -> None:
        raise NotSaved("journal", found="a full disk", expected="room", fix="make room")

    with monkeypatch.context() as broken:
        broken.setattr(Store, "append", full)
        assert page.post("edit", action="accept_all").status_code == 507
        assert page.post("edit", action="delete_label", value=1).status_code == 507
    assert page.digest() == before
    page.edit("lock", value=1, locked=True)
    assert page.post("edit", action="delete_label", value=1).status_code == 409
