"""A request that is sent again, since its answer was lost, is done once: also after a take-over or a restart."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tools.annotate.serving import SHAPE, Page, command, runs, serving, write_ct
from tools.annotate.store import Store

BOX = runs(8, 10, 12, 14)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_ct(tmp_path / "case.nii.gz")


def test_a_killed_server_does_not_do_it_again(ct: Path, tmp_path: Path) -> None:
    options = ("--labels", "flare22", "--session", tmp_path / "sessions")
    with command(ct, *options) as (process, page):
        page.watch()
        page.edit("paint", z=4, label=1, runs=BOX, id="stroke")
        page.edit("erase", z=4, label=1, runs=runs(8, 10, 2, 14), id="erased")
        page.edit("add_label", name="tumour", id="added")
        page.edit("undo", id="undone")
        process.send_signal(signal.SIGKILL)
        process.wait()
    with command(ct, *options) as (_, page):
        state = page.watch()
        before = page.masks()[0]
        assert state["revision"] == 4 and (before[4] == 1).sum() == 10 * 14
        for action, body, title in (
            ("undo", {}, "add label tumour"),
            ("add_label", {"name": "tumour"}, "add label tumour"),
            ("paint", {"z": 4, "label": 1, "runs": BOX}, "brush liver, slice 4"),
        ):
            id = {"undo": "undone", "add_label": "added", "paint": "stroke"}[action]
            told = page.edit(action, id=id, **body)
            assert (told["title"], told["revision"]) == (title, 4), "known, not done"
            assert told["changed"]["redo"] == {"title": "add label tumour"}
        assert np.array_equal(page.masks()[0], before) and page.state()["revision"] == 4
        assert page.edit("undo", id="another")["revision"] == 5
        page.client = "page-2"
        page.watch()
        assert page.post("editor", take=True).status_code == 200
        assert page.edit("paint", z=5, label=1, runs=BOX, id="stroke")["revision"] == 6, "another page's id"


def test_one_that_was_done_is_told_so_after_a_take_over(ct: Path) -> None:
    with serving(ct) as page:
        page.watch()
        other = page.other("page-2")
        other.watch()
        first = page.edit("paint", z=4, label=1, runs=BOX, id="stroke")
        other.post("editor", take=True)
        assert page.edit("paint", z=4, label=1, runs=BOX, id="stroke") == first
        refused = page.post("edit", action="paint", z=5, label=1, runs=BOX, id="late")
        assert refused.status_code == 409 and refused.json()["error"]["reason"] == "watching"
        assert page.state()["revision"] == 1
        page.post("editor", take=True)
        assert page.edit("paint", z=5, label=1, runs=BOX, id="late")["revision"] == 2, "offered again, and done"
        other.leave()


def test_who_edits_counts_when_the_turn_comes(ct: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stroke that waits for another one is refused if another page takes over meanwhile; nothing of it is done."""
    reached, go_on, append = threading.Event(), threading.Event(), Store.append

    def slow(store: Store, *arguments: Any) -> None:
        reached.set()
        go_on.wait(10)
        append(store, *arguments)

    with serving(ct) as page:
        page.watch()
        other = page.other("page-2")
        other.watch()
        monkeypatch.setattr(Store, "append", slow)
        answers: dict[int, int] = {}

        def paint(z: int) -> None:
            with Page(page.address, page.token, page.client) as same:
                same._case = page._case
                answers[z] = same.post("edit", action="paint", z=z, label=1, runs=BOX).status_code

        first = threading.Thread(target=paint, args=(1,))
        first.start()
        assert reached.wait(10)
        case = page.app.state.cases._open["case"]
        second = threading.Thread(target=paint, args=(2,))
        second.start()
        while len(case._under_way) != 2:
            time.sleep(0.01)
        other.post("editor", take=True)
        go_on.set()
        first.join()
        second.join()
        assert answers == {1: 200, 2: 409}
        assert list(page.state()["slices"]) == ["1"] and page.masks()[0].shape == SHAPE
        other.leave()


def test_answers_that_are_kept_are_few(ct: Path) -> None:
    with serving(ct) as page:
        page.watch()
        for number in range(30):
            page.edit("paint", z=number % 12, label=1, runs=runs(number, 1, 1, 5), id=str(number))
        case = page.app.state.cases._open["case"]
        assert len(case._answered) < 10, "they hold whole masks"
        told = page.edit("paint", z=0, label=1, runs=runs(0, 1, 1, 5), id="0")
        assert (told["revision"], told["title"]) == (30, "brush liver, slice 0")
