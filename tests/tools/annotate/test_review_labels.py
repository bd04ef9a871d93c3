"""Labels whose numbers change hands while something else is under way, and proposals that must outlive it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.tools.annotate.serving import SHAPE, Page, runs, serving, write_ct
from tools.annotate.automatic_start import available_models
from tools.annotate.engine_updates import KeySlicesFound
from tools.annotate.given import GivenSlice
from tools.annotate.imports import read_import
from tools.annotate.merging import LabelMerge
from volumes.formats import read_volume, write_label_map
from volumes.label_map import LabelMap
from volumes.labels import Label, LabelTable

BOX = runs(8, 10, 12, 14)
BESIDE = runs(22, 4, 6, 6)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_ct(tmp_path / "case.nii.gz")


@pytest.fixture
def page(ct: Path) -> Iterator[Page]:
    with serving(ct) as page:
        page.watch()
        yield page


def label_file(ct: Path, path: Path, labels: list[Label]) -> Path:
    """A label map on the CT's grid, whose labels lie below each other on slices 2 to 9."""
    volume = read_volume(ct)
    array = np.zeros(SHAPE, np.uint8)
    for place, label in enumerate(labels):
        array[2:10, 20 + 4 * place : 23 + 4 * place, 2:12] = label.value
    write_label_map(LabelMap(array, volume.geometry, LabelTable(labels), "labels"), path)
    return path


def send(page: Page, path: Path, kind: str) -> dict:
    parameters = {"as": kind, "client": page.client}
    headers = {"X-Filename": path.name, "Content-Type": "application/octet-stream"}
    answer = page.http.post(page.url("import"), params=parameters, headers=headers, content=path.read_bytes())
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_imported_proposals_stay_until_propagation_knows_their_label(page: Page, ct: Path, tmp_path: Path) -> None:
    send(
        page,
        label_file(ct, tmp_path / "x.seg.nrrd", [Label(2, "spleen", (9, 9, 2)), Label(3, "aorta", (9, 9, 3))]),
        "proposals",
    )
    imported = page.masks()[1]
    assert sorted(np.unique(imported)) == [0, 2, 3]
    page.edit("paint", z=5, label=1, runs=BOX)
    page.propagate()
    proposed = page.masks()[1]
    assert (proposed[4] == 1).any()
    for label in (2, 3):
        hidden = (proposed != label) & (imported == label)
        assert not hidden[proposed != 1].any(), f"label {label}"
    page.edit("accept", z=4)
    page.propagate()
    assert (page.masks()[1][5] == 2).sum() == 0, "it is carried now: propagation says where it is"


def test_an_import_leaves_proposals_of_other_labels(page: Page, ct: Path, tmp_path: Path) -> None:
    page.edit("paint", z=5, label=1, runs=BOX)
    page.propagate()
    before = page.masks()[1]
    send(page, label_file(ct, tmp_path / "x.seg.nrrd", [Label(2, "spleen", (9, 9, 2))]), "proposals")
    after = page.masks()[1]
    assert (after == 2).any() and np.array_equal(after == 1, (before == 1) & (after != 2))


def test_proposals_of_a_deleted_label_come_back_with_it(page: Page) -> None:
    page.edit("paint", z=5, label=1, runs=BOX)
    page.propagate()
    before = page.masks()[1]
    page.edit("delete_label", value=1)
    assert not page.masks()[1].any()
    told = page.edit("undo")
    assert set(told["changed"]["proposals"]) == {str(z) for z in range(SHAPE[0])}
    assert np.array_equal(page.masks()[1], before)


def test_proposals_of_an_imports_new_labels_come_back_with_redo(page: Page, ct: Path, tmp_path: Path) -> None:
    labels = [Label(3, "aorta", (9, 9, 3)), Label(4, "vena", (9, 9, 4))]
    send(page, label_file(ct, tmp_path / "x.seg.nrrd", labels), "proposals")
    before = page.masks()[1]
    assert sorted(np.unique(before)) == [0, 3, 4]
    page.edit("undo")
    assert not page.masks()[1].any() and len(page.state()["labels"]) == 2
    told = page.edit("redo")["changed"]
    assert set(told["proposals"]) == {str(z) for z in range(2, 10)}
    assert np.array_equal(page.masks()[1], before)


def test_proposals_of_an_imports_new_labels_come_back_after_a_restart(ct: Path, tmp_path: Path) -> None:
    with serving(ct) as page:
        page.watch()
        send(page, label_file(ct, tmp_path / "x.seg.nrrd", [Label(3, "aorta", (9, 9, 3))]), "proposals")
        before = page.masks()[1]
        page.edit("undo")
    with serving(ct) as page:
        page.watch()
        assert not page.masks()[1].any()
        page.edit("redo")
        assert np.array_equal(page.masks()[1], before)


def test_undo_and_redo_do_not_give_a_label_the_proposals_of_another(page: Page) -> None:
    page.edit("paint", z=5, label=2, runs=BOX)
    page.propagate()
    spleen = page.masks()[1]
    page.edit("delete_label", value=2)
    page.edit("add_label", name="tumour")  # number 2 again
    page.edit("paint", z=7, label=2, runs=BESIDE)
    page.propagate()
    assert (page.masks()[1] == 2).any()
    for _ in range(3):
        page.edit("undo")
    assert page.state()["labels"][1]["name"] == "spleen"
    assert not page.masks()[1].any(), "what was the tumour's is not the spleen's"
    for _ in range(3):
        page.edit("redo")
    assert not (page.masks()[1][4] == 2)[8:20, 10:24].any() and spleen.any()


def test_proposals_that_were_kept_are_not_a_newer_labels(ct: Path) -> None:
    with serving(ct) as page:
        page.watch()
        page.edit("paint", z=5, label=2, runs=BOX)
        page.propagate()
        page.edit("delete_label", value=2)
        page.edit("add_label", name="tumour")  # number 2 again; the file of proposals is from before
    with serving(ct) as page:
        page.watch()
        assert [row["name"] for row in page.state()["labels"]] == ["liver", "tumour"]
        assert not page.masks()[1].any()


def test_a_new_label_does_not_inherit_a_deleted_ones_proposals(page: Page) -> None:
    page.edit("paint", z=5, label=2, runs=BOX)
    page.propagate()
    page.edit("delete_label", value=2)
    page.edit("add_label", name="tumour")
    assert not page.masks()[1].any()
    page.edit("undo")
    page.edit("undo")
    page.propagate()
    assert (page.masks()[1] == 2).any(), "told again"


def test_late_proposals_of_a_deleted_label_are_not_a_new_ones(ct: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()
    steps = iter(range(1000))

    def step() -> None:
        if next(steps) == 4:
            reached.set()
            go_on.wait(10)

    with serving(ct, step=step) as page:
        page.watch()
        page.edit("paint", z=5, label=2, runs=BOX)
        begun = len(page.events)
        page.post("propagate")
        assert reached.wait(10)
        page.edit("delete_label", value=2)
        page.edit("add_label", name="tumour")
        go_on.set()
        page.event("progress", begun, such=lambda data: data["running"] is None)
        assert [row["name"] for row in page.state()["labels"]] == ["liver", "tumour"]
        assert not page.masks()[1].any()


def test_what_a_model_finds_goes_to_labels_by_name(page: Page) -> None:
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[4:8, 4:8] = 3
    mask[12:16, 4:8] = 2
    found = {5: GivenSlice(mask, frozenset({2, 3}), False, "automatic")}
    merge = LabelMerge({7: 2, 8: 3}, {3: Label(3, "aorta", (9, 9, 3))})
    names = {1: "liver", 2: "spleen"}  # as it was begun
    page.edit("add_label", name="tumour")  # takes number 3 meanwhile
    page.edit("delete_label", value=2)
    page.edit("lock", value=1, locked=True)

    def finish() -> None:
        runs = page.app.state.cases._open["case"].runs
        runs._run = 9
        runs._receive(KeySlicesFound(9, found, merge, names))

    page.loop.call_soon_threadsafe(finish)
    told = page.event("changed", such=lambda data: "5" in data["slices"])
    by_name = {row["name"]: row["value"] for row in page.state()["labels"]}
    assert set(by_name) == {"liver", "spleen", "tumour", "aorta"}
    given = page.masks()[0][5]
    assert (given[4:8, 4:8] == by_name["aorta"]).all() and (given[12:16, 4:8] == by_name["spleen"]).all()
    assert not (given == by_name["tumour"]).any() and told["slices"]["5"]["kind"] == "automatic"


def test_a_model_leaves_locked_labels_and_marks_alone(page: Page) -> None:
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[4:8, 4:8], mask[12:16, 4:8], mask[20:24, 4:8] = 1, 2, 3
    found = {z: GivenSlice(mask, frozenset({1, 2, 3}), False, "automatic") for z in (5, 9)}
    page.edit("lock", value=1, locked=True)
    page.edit("extent", label=2, range=[0, 6])

    def finish() -> None:
        runs = page.app.state.cases._open["case"].runs
        runs._run = 9
        merge = LabelMerge({1: 1, 2: 2, 3: 3}, {3: Label(3, "aorta", (9, 9, 3))})
        runs._receive(KeySlicesFound(9, found, merge, {1: "liver", 2: "spleen"}))

    page.loop.call_soon_threadsafe(finish)
    page.event("changed", such=lambda data: "5" in data["slices"])
    given = page.masks()[0]
    assert [sorted(np.unique(given[z]).tolist()) for z in (5, 9)] == [[0, 2, 3], [0, 3]]


def test_an_import_goes_to_labels_by_name(
    page: Page, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = label_file(ct, tmp_path / "x.seg.nrrd", [Label(3, "aorta", (9, 9, 3))])
    reached, go_on = threading.Event(), threading.Event()

    def slow(*arguments: object) -> object:
        read = read_import(*arguments)  # type: ignore[arg-type]
        reached.set()
        go_on.wait(10)
        return read

    monkeypatch.setattr("tools.annotate.imports.read_import", slow)
    for kind, masks in (("key_slices", 0), ("proposals", 1)):
        reached.clear()
        go_on.clear()
        other = threading.Thread(target=send, args=(page, path, kind))
        other.start()
        assert reached.wait(10)
        page.edit("add_label", name=f"tumour {kind}")  # takes the number that was free
        go_on.set()
        other.join()
        by_name = {row["name"]: row["value"] for row in page.state()["labels"]}
        assert set(np.unique(page.masks()[masks])) == {0, by_name["aorta"]}
        page.edit("delete_label", value=by_name["aorta"])


def test_a_label_without_a_name_does_not_hide_the_models(ct: Path) -> None:
    assert available_models(["label_1"]) == available_models([])
    with serving(ct, table=None) as page:
        page.watch()
        assert [row["name"] for row in page.state()["labels"]] == ["label_1"]
        assert page.state()["models"]
        told = page.edit("rename_label", value=1, name="bladder")
        assert told["changed"]["models"] == [] == page.state()["models"]
        assert page.edit("add_label", name="brainstem")["changed"]["models"] == ["head-neck"]


def test_an_import_of_a_page_that_no_longer_edits_is_refused(
    page: Page, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = label_file(ct, tmp_path / "x.seg.nrrd", [Label(3, "aorta", (9, 9, 3))])
    other = page.other("page-2")
    other.watch()

    def taken_over(*arguments: object) -> object:
        assert other.post("editor", take=True).status_code == 200
        return read_import(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("tools.annotate.imports.read_import", taken_over)
    for kind in ("key_slices", "proposals"):
        page.post("editor", take=True)
        parameters, headers = {"as": kind, "client": page.client}, {"X-Filename": path.name}
        refused = page.http.post(page.url("import"), params=parameters, headers=headers, content=path.read_bytes())
        assert refused.status_code == 409 and refused.json()["error"]["reason"] == "watching"
    assert len(page.state()["labels"]) == 2 and not page.masks()[0].any() and not page.masks()[1].any()
    other.leave()
