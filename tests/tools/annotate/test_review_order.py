"""What happens at the same time: news that overtake each other, requests that are given up, files written twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tools.annotate.serving import SHAPE, Page, case_of, on_loop, runs, serving, write_ct
from tools.annotate import describe
from tools.annotate.imports import Imported
from tools.annotate.merging import LabelMerge
from tools.annotate.proposer import Proposer
from tools.annotate.store import NotSaved, Store

BOX = runs(8, 10, 12, 14)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with serving(write_ct(tmp_path / "case.nii.gz")) as page:
        page.watch()
        yield page


def test_news_come_in_the_order_of_their_serials(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proposal that comes while a long change is described must not make pages drop that change."""
    page.edit("paint", z=5, label=1, runs=BOX)
    page.propagate()
    case, whole = case_of(page), describe.changed_in_parts

    def interrupted(*arguments: Any) -> Iterator[dict[str, Any]]:
        for count, part in enumerate(whole(*arguments)):
            if count == 9:
                case.tell_proposals([3])
            yield part

    monkeypatch.setattr(describe, "changed_in_parts", interrupted)
    begun = len(page.events)
    page.edit("accept_all")
    monkeypatch.undo()
    page.edit("lock", value=1, locked=True)
    page.event("changed", begun, such=lambda data: (data["undo"] or {}).get("title") == "lock liver")
    told = [data for name, data in page.events[begun:] if name == "changed"]
    serials = [data["serial"] for data in told]
    assert serials == sorted(serials) and any(list(data["proposals"]) == ["3"] for data in told)
    newest = max((data for data in told if "3" in data["slices"]), key=lambda data: data["serial"])
    assert newest["slices"]["3"]["kind"] == "accepted"


def test_an_action_that_was_given_up_counts_whole(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, go_on, append = threading.Event(), threading.Event(), Store.append

    def slow(store: Store, *arguments: Any) -> None:
        reached.set()
        go_on.wait(10)
        append(store, *arguments)

    monkeypatch.setattr(Store, "append", slow)
    case = case_of(page)

    async def give_up() -> None:
        work = asyncio.ensure_future(case.commit(lambda document: document.add_label("aorta")))
        await asyncio.to_thread(reached.wait, 10)
        work.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await work

    begun = len(page.events)
    on_loop(page, give_up())
    page.event("changed", begun, such=lambda data: "labels" in data)
    assert page.edit("undo")["title"] == "add label aorta"


def test_proposals_are_saved_one_after_the_other(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.edit("paint", z=5, label=1, runs=BOX)
    page.propagate()
    at_it: list[int] = []
    most = 0

    def count(store: Store, proposals: Any) -> None:
        nonlocal most
        at_it.append(1)
        most = max(most, len(at_it))
        threading.Event().wait(0.05)
        at_it.pop()

    monkeypatch.setattr(Store, "save_proposals", count)
    case = case_of(page)

    async def thrice() -> None:
        await asyncio.gather(*(case.keep_proposals() for _ in range(3)))

    on_loop(page, thrice())
    assert most == 1


def test_an_import_that_the_disk_does_not_keep_is_told_and_shown(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(store: Store, proposals: Any) -> None:
        raise NotSaved(Path("proposals.bin"), found="a full disk", expected="room", fix="make room")

    monkeypatch.setattr(Store, "save_proposals", full)
    array = np.zeros(SHAPE, np.uint8)
    array[3, :5, :5] = 1
    imported = Imported(array, LabelMerge({1: 1}, {}), frozenset())
    names = {1: "liver", 2: "spleen"}
    answer = on_loop(page, case_of(page).take_proposals(imported, names, range(SHAPE[0]), page.client))
    assert set(answer["changed"]["proposals"]) == {3}
    assert "full disk" in page.event("notice")["text"]
    assert page.event("changed", such=lambda data: "3" in data["proposals"])


def test_a_case_that_was_closed_starts_nothing(page: Page) -> None:
    page.edit("paint", z=5, label=1, runs=BOX)
    case = case_of(page)
    on_loop(page, case.close())
    for path, body in (("propagate", {}), ("automatic", {"model": "head-neck"})):
        assert page.post(path, **body).status_code in (422, 503), path
    assert not [thread for thread in threading.enumerate() if thread.name == "engine case"]


def test_the_network_is_loaded_before_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.annotate.runs.WARM_UP_SECONDS", 0.05)
    loaded = threading.Event()
    monkeypatch.setattr(Proposer, "load", lambda self: loaded.set())
    with serving(write_ct(tmp_path / "case.nii.gz")) as page:
        page.watch()
        assert loaded.wait(10)


def test_a_case_in_which_something_runs_is_closed_last(tmp_path: Path) -> None:
    go_on = threading.Event()

    def step() -> None:
        go_on.wait(10)

    for number, key in enumerate("abc"):
        write_ct(tmp_path / f"{key}.nii.gz", seed=number)
    with serving(tmp_path, step=step) as page:
        page.watch("a")
        page.edit("paint", z=5, label=1, runs=BOX)
        assert page.post("propagate").status_code == 200
        for key in "bc":
            page.leave()
            while any(len(case.audience) for case in page.app.state.cases._open.values()):
                time.sleep(0.05)
            page.watch(key)
        assert set(page.app.state.cases._open) == {"a", "c"}
        go_on.set()
        page.leave()
        page.watch("a")
        while page.state()["running"]:
            time.sleep(0.05)
        assert page.masks()[1].any()
