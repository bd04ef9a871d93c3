"""The server as a page sees it: what it tells of a case, what it does, and who is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.tools.annotate.serving import SHAPE, Page, runs, serving, write_ct
from volumes.formats import read_volume

BOX = runs(8, 10, 12, 14)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_ct(tmp_path / "case.nii.gz")


@pytest.fixture
def page(ct: Path) -> Iterator[Page]:
    with serving(ct) as page:
        page.watch()
        yield page


def test_a_new_case_says_all_but_pixels(page: Page) -> None:
    state = page.state()
    assert state["case"] == "case"
    assert (state["revision"], state["shape"]) == (0, list(SHAPE))
    assert state["spacing"] == pytest.approx([3.0, 1.25, 1.5])
    assert state["letters"] == {"x": ["R", "L"], "y": ["A", "P"], "z": ["I", "S"]}
    assert state["hu"] == [-120, 60]
    assert [(row["value"], row["name"], row["key_slices"]) for row in state["labels"]] == [
        (1, "liver", 0),
        (2, "spleen", 0),
    ]
    assert (state["slices"], state["proposals"], state["extents"], state["rejected"]) == ({}, {}, {}, [])
    assert (state["undo"], state["redo"], state["running"], state["suggestion"]) == (None, None, None, None)
    assert (state["editor"], state["you_edit"]) == (page.client, True)


def test_the_image_is_the_canonical_volume(page: Page, ct: Path) -> None:
    wanted = read_volume(ct).array
    parts = [page.http.get(page.url("image"), params={"first": first, "count": 6}) for first in (0, 6)]
    assert [part.headers["content-length"] for part in parts] == [str(6 * 32 * 40 * 2)] * 2
    got = np.frombuffer(b"".join(part.content for part in parts), "<i2").reshape(SHAPE)
    assert np.array_equal(got, wanted)
    for first, count in ((0, 13), (12, 1), (0, 0), (-1, 2), (0, 65)):
        assert page.http.get(page.url("image"), params={"first": first, "count": count}).status_code == 422


def test_a_stroke_is_told_to_who_painted_and_who_watches(page: Page) -> None:
    other = page.other("page-2")
    assert other.watch()["you_edit"] is False
    told = page.edit("paint", z=4, label=1, runs=BOX)
    assert (told["revision"], told["title"]) == (1, "brush liver, slice 4")
    row = told["changed"]["slices"]["4"]
    assert {key: row[key] for key in row if key != "given"} == {
        "kind": "painted",
        "complete": False,
        "labels": [1],
        "absent": [],
    }
    assert [label["key_slices"] for label in told["changed"]["labels"]] == [1, 0]
    assert told["changed"]["undo"] == {"title": "brush liver, slice 4"}
    for watcher in (page, other):
        assert watcher.event("changed") == told["changed"]
    given, proposed = page.masks()
    wanted = np.zeros(SHAPE, np.uint8)
    wanted[4, 8:20, 10:24] = 1
    assert np.array_equal(given, wanted)
    assert not proposed.any()
    assert page.http.get(page.url("pixels"), params={"first": 0, "count": 1}).headers["x-keyslice-serial"] == "1"
    other.leave()


def test_an_action_that_comes_again_is_not_done_twice(page: Page) -> None:
    first = page.edit("add_label", name="aorta", id="run-1")
    assert page.edit("add_label", name="aorta", id="run-1") == first
    page.edit("paint", z=4, label=1, runs=BOX)
    assert page.edit("undo", id="run-2") == page.edit("undo", id="run-2")
    assert page.state()["revision"] == 3 and page.state()["undo"] == {"title": "add label aorta"}
    assert page.post("edit", action="add_label", name="aorta", id="run-3").status_code == 409
    page.edit("rename_label", value=3, name="vena", id="run-4")
    page.edit("add_label", name="aorta", id="run-3")  # what was refused may be done later


def test_every_action_and_back_to_the_start_and_forth_again(page: Page) -> None:
    digests = [page.digest()]
    for action, body in (
        ("paint", {"z": 4, "label": 1, "runs": BOX}),
        ("erase", {"z": 4, "label": None, "runs": runs(8, 10, 2, 14)}),
        ("absent", {"z": 9, "label": 2}),
        ("extent", {"label": 1, "range": [2, 9]}),
        ("add_label", {"name": "aorta"}),
        ("add_label", {"name": "Milz é", "color": [1, 2, 3]}),
        ("rename_label", {"value": 3, "name": "Aorta thoracica"}),
        ("recolor_label", {"value": 3, "color": [9, 8, 7]}),
        ("visible", {"value": 3, "visible": False}),
        ("lock", {"value": 1, "locked": True}),
        ("lock", {"value": 1, "locked": False}),
        ("accept", {"z": 4}),
        ("paint", {"z": 5, "label": 2, "runs": BOX}),
        ("clear_label", {"z": 5, "label": 2}),
        ("clear", {"z": 9}),
        ("delete_label", {"value": 1}),
        ("extent", {"label": 2, "range": None}),
    ):
        told = page.edit(action, **body)
        if told["title"] is not None:
            digests.append(page.digest())
    assert len(digests) == 17, "the last one changes nothing"

    def without_revision(back: int) -> list[str]:
        """States while stepping back or forth, whose revisions go on."""
        seen = []
        for _ in range(back):
            page.edit("undo")
            state = page.state()
            seen.append((state["labels"], state["slices"], state["extents"], page.masks()[0].tobytes()))
        return seen  # type: ignore[return-value]

    down = without_revision(16)
    assert page.state()["undo"] is None and page.edit("undo")["title"] is None
    up = []
    for _ in range(16):
        state = page.state()
        up.append((state["labels"], state["slices"], state["extents"], page.masks()[0].tobytes()))
        page.edit("redo")
    assert up == down[::-1]
    assert page.state()["redo"] is None
    assert page.state()["revision"] == 16 + 16 + 16


def test_proposals_arrive_and_are_accepted_rejected_and_corrected(page: Page) -> None:
    page.edit("paint", z=2, label=1, runs=BOX)
    page.edit("paint", z=9, label=2, runs=BOX)
    page.propagate()
    assert page.event("suggestion")["suggestion"] == {"z": 6, "labels": [1], "gain": 0.25, "reason": "in the middle"}
    state = page.state()
    assert state["proposals"]["4"] == {"labels": [1], "confidence": {"1": 0.5}}
    assert set(state["proposals"]) == {str(z) for z in range(12)} - {"2", "9"}
    assert [label["confidence"] for label in state["labels"]] == [0.5, 0.5]
    given, proposed = page.masks()
    assert (proposed[4, 8:20, 10:24] == 1).all() and (proposed[8, 8:20, 10:24] == 2).all()
    assert not given[4].any()

    accepted = page.edit("accept", z=4)["changed"]
    assert accepted["slices"]["4"]["kind"] == "accepted" and accepted["proposals"]["4"] is None
    rejected = page.edit("reject", z=5)["changed"]
    assert rejected["rejected"] == [5] and rejected["proposals"]["5"] is None
    assert "5" not in page.state()["proposals"] and not page.masks()[1][5].any()
    undone = page.edit("undo")["changed"]
    assert undone["rejected"] == [] and undone["proposals"]["5"]["confidence"] == {"1": 0.5}

    corrected = page.edit("erase", z=3, label=1, runs=runs(8, 10, 6, 14))["changed"]
    assert corrected["slices"]["3"]["labels"] == [1] and corrected["proposals"]["3"] is None
    assert (page.masks()[0][3] == 1).sum() == 6 * 14
    everything = page.edit("accept_all", **{"from": 6, "to": 8})["changed"]
    assert set(everything["slices"]) == {"6", "7", "8"}


def test_a_rejected_proposal_comes_back_when_it_is_another(page: Page) -> None:
    page.edit("paint", z=2, label=1, runs=BOX)
    page.propagate()
    page.edit("reject", z=6)
    page.propagate()
    assert page.state()["rejected"] == [6], "it is the same"
    page.edit("paint", z=5, label=1, runs=runs(20, 10, 2, 14))
    page.propagate()
    assert page.state()["rejected"] == [] and "6" in page.state()["proposals"]


def test_a_deleted_labels_proposals_go_and_its_number_is_free(page: Page) -> None:
    page.edit("paint", z=2, label=1, runs=BOX)
    page.propagate()
    changed = page.edit("delete_label", value=1)["changed"]
    assert set(changed["proposals"].values()) == {None} and len(changed["proposals"]) == 12
    assert not page.masks()[1].any()
    page.edit("add_label", name="kidney")
    assert not page.masks()[1].any()


def test_marks_hide_proposals_beyond_them(page: Page) -> None:
    page.edit("paint", z=5, label=1, runs=BOX)
    page.propagate()
    changed = page.edit("extent", label=1, range=[4, 7])["changed"]
    assert changed["extents"] == {"1": [4, 7]}
    assert changed["proposals"]["8"] is None and changed["proposals"]["7"] is not None
    assert set(page.state()["proposals"]) == {"4", "6", "7"}


def test_only_one_page_edits_and_another_takes_over(page: Page) -> None:
    other = page.other("page-2")
    other.watch()
    refused = other.post("edit", action="undo")
    assert refused.status_code == 409 and refused.json()["error"]["fix"] == "take over first"
    assert refused.json()["error"]["reason"] == "watching" and "nothing was changed" in refused.json()["error"]["found"]
    for path in ("propagate", "cancel"):
        assert other.post(path).status_code == 409
    nobody = page.http.post(page.url("editor"), json={"client": "nobody", "take": True})
    assert nobody.status_code == 409
    taken = other.post("editor", take=True)
    assert taken.json() == {"editor": "page-2", "you_edit": True}
    assert page.event("editor") == {"editor": "page-2", "you_edit": False}
    assert other.edit("paint", z=1, label=1, runs=BOX)["revision"] == 1
    assert page.post("edit", action="undo").status_code == 409
    other.leave()


def test_the_lease_ends_when_the_editor_is_away(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.annotate.events.LEASE_SECONDS", 0.3)
    other = page.other("page-2")
    other.watch()
    page.leave()
    assert other.state()["editor"] == "page-1", "a reload takes some time"
    assert other.event("editor") == {"editor": "page-2", "you_edit": True}
    other.edit("paint", z=1, label=1, runs=BOX)
    other.leave()


def test_a_reload_keeps_the_lease(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.annotate.events.LEASE_SECONDS", 0.3)
    other = page.other("page-2")
    other.watch()
    page.leave()
    assert page.watch()["you_edit"] is True
    time.sleep(0.5)
    assert other.state()["editor"] == "page-1"
    other.leave()


def test_while_it_propagates_it_answers_and_cancel_ends_it(ct: Path) -> None:
    go = threading.Semaphore(0)

    def step() -> None:
        go.acquire(timeout=20)

    with serving(ct, step=step) as page:
        page.watch()
        page.edit("paint", z=2, label=1, runs=BOX)
        assert page.post("propagate").json() == {"running": "propagation"}
        go.release(4)
        page.event("progress", such=lambda data: data["done"] == 4)
        start = time.perf_counter()
        state = page.state()
        page.edit("paint", z=2, label=2, runs=runs(0, 0, 3, 3))
        assert time.perf_counter() - start < 5, "it waits for no slice"
        assert state["running"] == "propagation" and state["progress"] == {"done": 4, "total": 12}
        page.post("cancel")
        go.release(1)
        told = page.event("progress", such=lambda data: data["running"] is None)
        assert told["ended"] == "stopped" and 0 < told["done"] < told["total"] == 12
        assert page.state()["proposals"].keys() >= {"0", "1", "3"}, "what was computed stays"
        go.release(100)
        page.propagate()
        assert len(page.state()["proposals"]) == 11


def test_nothing_to_propagate_is_told(page: Page) -> None:
    begun = len(page.events)
    page.post("propagate")
    assert "paint a label" in page.event("notice", begun)["text"]
    assert page.state()["running"] is None


def test_proposals_are_there_when_the_case_is_opened_again(ct: Path) -> None:
    with serving(ct) as page:
        page.watch()
        page.edit("paint", z=2, label=1, runs=BOX)
        page.propagate()
        page.edit("reject", z=5)
        digest = page.digest()
    with serving(ct) as page:
        page.watch()
        assert page.digest() == digest
        assert page.edit("undo")["changed"]["rejected"] == []


def test_a_slow_watcher_gets_the_state_anew(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.annotate.events.MOST_WAITING", 3)
    slow = page.other("slow")
    slow.watch()
    case = page.app.state.cases._open["case"]
    begun = len(slow.events)

    def flood() -> None:  # in the loop's thread, so that nothing is sent in between
        for _ in range(50):
            case.audience.publish("notice", {"text": "x", "level": "info"})

    page.loop.call_soon_threadsafe(flood)
    assert slow.event("state", begun)["case"] == "case"
    page.edit("paint", z=1, label=1, runs=BOX)
    slow.event("changed", begun)
    assert len([name for name, _ in slow.events[begun:] if name == "notice"]) < 50
    slow.leave()


def test_a_full_disk_takes_the_action_back(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    from tools.annotate.store import NotSaved, Store

    page.edit("paint", z=1, label=1, runs=BOX)
    page.edit("undo")
    before, begun = page.digest(), len(page.events)

    def full(self: Store, action: object, asked: object) -> None:
        raise NotSaved("journal.bin", found="a full disk", expected="room for the file", fix="free some space")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "append", full)
        for action, body in (("paint", {"z": 3, "label": 2, "runs": BOX}), ("redo", {})):
            refused = page.post("edit", action=action, **body)
            assert refused.status_code == 507
            assert refused.json()["error"]["fix"] == "free some space"
            assert page.digest() == before
    assert page.event("state", begun)["revision"] == 2
    assert page.edit("redo")["revision"] == 3


def test_assisted_painting_shows_pixels_and_changes_nothing(page: Page) -> None:
    before = page.digest()
    bright = runs(8, 16, 12, 14)  # as the file runs from left to right
    found = page.post("assist", tool="wand", z=3, seed=[12, 20], low=0, high=100).json()
    assert (found["runs"], found["pixels"]) == (bright, 12 * 14)
    found = page.post("assist", tool="threshold", z=3, runs=runs(0, 0, 32, 40), low=0, high=100).json()
    assert found["runs"] == bright
    found = page.post("assist", tool="polygon", z=3, points=[[8, 10], [8, 20], [19, 10]]).json()
    assert 40 < found["pixels"] < 80
    assert page.post("assist", tool="wand", z=12, seed=[12, 15], low=0, high=100).status_code == 422
    assert page.post("assist", tool="wand", z=3, seed=[99, 15], low=0, high=100).status_code == 422
    page.edit("paint", z=3, label=1, runs=BOX)
    assert page.post("assist", tool="fill", z=3, label=1, seed=[9, 11]).json()["runs"] == BOX
    page.edit("undo")
    assert page.state()["slices"] == {} and before != page.digest(), "but for the revision"


def test_the_page_is_served_and_nothing_else(page: Page, tmp_path: Path) -> None:
    address = page.address
    anonymous = httpx.Client(base_url=address)
    assert anonymous.get("/").status_code == 401
    opened = anonymous.get("/", params={"token": page.token})
    assert opened.status_code == 200 and opened.text.lower().startswith("<!doctype html>")
    assert anonymous.get("/page/style.css").headers["content-type"].startswith("text/css"), "the cookie lets it in"
    for path in ("/page/", "/page/index.html/", "/page/none.js", "/page/..%2fapp.py", "/docs", "/openapi.json"):
        assert anonymous.get(path).status_code == 404
    anonymous.close()
