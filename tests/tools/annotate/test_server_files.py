"""Files out of a case and into it, and the work list with more cases than are held open."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from tests.tools.annotate.serving import SHAPE, TABLE, Page, runs, serving, write_ct
from volumes.formats import read_label_map, read_volume, write_label_map
from volumes.label_map import LabelMap

BOX = runs(8, 10, 12, 14)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_ct(tmp_path / "my case.nii.gz")


@pytest.fixture
def page(ct: Path) -> Iterator[Page]:
    with serving(ct) as page:
        page.watch()
        yield page


def labels(ct: Path, path: Path) -> tuple[Path, np.ndarray]:
    """A label map on the CT's grid: liver on two slices, and a label that the case lacks."""
    array = np.zeros(SHAPE, np.uint8)
    array[3, 8:20, 10:24], array[7, 8:20, 10:24], array[7, 0:4, 0:4] = 1, 1, 5
    volume = read_volume(ct)
    table = type(TABLE)([TABLE[1], type(TABLE[1])(5, "stomach", (9, 9, 9))])
    write_label_map(LabelMap(array, volume.geometry, table), path)
    return path, array


@pytest.mark.parametrize(("kind", "ending"), [("nifti", ".nii.gz"), ("seg_nrrd", ".seg.nrrd")])
def test_an_export_is_what_was_painted_on_the_cts_grid(
    page: Page, ct: Path, tmp_path: Path, kind: str, ending: str
) -> None:
    page.edit("paint", z=3, label=1, runs=BOX)
    page.edit("paint", z=8, label=2, runs=BOX)
    page.propagate()
    page.edit("reject", z=0)
    for given_only in (False, True):
        answer = page.post("export", kind=kind, given_only=given_only).json()
        assert answer["name"] == f"my case{ending}"
        content = page.http.get(answer["url"])
        assert len(content.content) == answer["bytes"]
        assert "attachment" in content.headers["content-disposition"]
        path = tmp_path / f"got{ending}"
        path.write_bytes(content.content)
        got = read_label_map(path, like=read_volume(ct))
        given, proposed = page.masks()
        assert np.array_equal(got.array, given if given_only else np.where(given > 0, given, proposed))
        assert got.table[1].name == "liver" and got.table[2].color == (90, 60, 200)
        shown, original = sitk.ReadImage(str(path)), sitk.ReadImage(str(ct))
        assert (shown.GetOrigin(), shown.GetDirection()) == (original.GetOrigin(), original.GetDirection())


def test_a_sparse_export_has_an_ignore_label(page: Page) -> None:
    page.edit("paint", z=3, label=1, runs=BOX)
    answer = page.post("export", kind="sparse").json()
    names = [one["name"] for one in answer["files"]]
    assert len(names) == 2 and names[0] == answer["name"]
    described = page.http.get(answer["files"][1]["url"]).json()
    assert "ignore" in json.dumps(described)


def test_exports_of_this_case_alone_are_served(page: Page, ct: Path) -> None:
    page.post("export", kind="nifti")
    exports = ct.parent / "my case.keyslice" / "exports"
    (exports / "link.nii.gz").symlink_to(ct)
    for name in ("link.nii.gz", "none", "..%2f..%2fmy%20case.nii.gz", "%2e%2e", ".", "../case.json", "..%2fcase.json"):
        assert page.http.get(page.url(f"exports/{name}")).status_code == 404


def test_an_import_as_key_slices_is_one_step(page: Page, ct: Path, tmp_path: Path) -> None:
    path, array = labels(ct, tmp_path / "in.nii.gz")
    told = send(page, path, "key_slices")
    assert told["title"] == "import 2 key slices" and told["revision"] == 1
    assert told["changed"]["slices"]["3"]["kind"] == "imported"
    assert [row["name"] for row in told["changed"]["labels"]] == ["liver", "spleen", "stomach"]
    given, _ = page.masks()
    stomach = told["changed"]["labels"][2]["value"]
    assert np.array_equal(given, np.where(array == 5, stomach, array))
    page.edit("undo")
    assert not page.masks()[0].any() and len(page.state()["labels"]) == 2


def test_named_slices_of_an_import(page: Page, ct: Path, tmp_path: Path) -> None:
    path, _ = labels(ct, tmp_path / "in.nii.gz")
    assert set(send(page, path, "key_slices", slices="3")["changed"]["slices"]) == {"3"}


def test_an_import_as_proposals_is_there_after_a_restart(ct: Path, tmp_path: Path) -> None:
    path, array = labels(ct, tmp_path / "in.nii.gz")
    with serving(ct) as page:
        page.watch()
        told = send(page, path, "proposals")
        assert set(told["changed"]["proposals"]) == {"3", "7"}
        digest = page.digest()
        assert ((page.masks()[1] > 0) == (array > 0)).all()
    with serving(ct) as page:
        page.watch()
        assert page.digest() == digest
        page.edit("accept", z=3)
        assert (page.masks()[0][3] == array[3]).all()


def test_an_import_from_the_opened_folder(page: Page, ct: Path) -> None:
    labels(ct, ct.parent / "in.nii.gz")
    query = {"as": "key_slices", "client": page.client}
    told = page.http.post(page.url("import"), params=query, json={"path": "in.nii.gz"})
    assert told.json()["title"] == "import 2 key slices"
    for path in ("../in.nii.gz", str(ct), "none.nii.gz", ""):
        assert page.http.post(page.url("import"), params=query, json={"path": path}).status_code == 422


def test_what_is_no_label_map_of_the_case_is_refused(page: Page, ct: Path, tmp_path: Path) -> None:
    before = page.digest()
    other = write_ct(tmp_path / "other.nii.gz", (4, 8, 8))
    answers = [
        attempt(page, other.read_bytes(), "in.nii.gz"),
        attempt(page, ct.read_bytes(), "ct.nii.gz"),
        attempt(page, b"", "in.nii.gz"),
        attempt(page, b"\x1f\x8b" + bytes(100), "in.nii.gz"),
        attempt(page, b"x" * 1000, "in.nrrd"),
        attempt(page, b"x", "in.exe"),
        attempt(page, b"x", ""),
        attempt(page, b"x", "../../../in.nii.gz"),
    ]
    assert {answer.status_code for answer in answers} == {422}
    assert page.digest() == before
    assert not [path for path in (ct.parent / "my case.keyslice").iterdir() if path.name.startswith(".import")]


def test_a_header_that_leads_to_another_file_is_refused(page: Page, tmp_path: Path) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(int(np.prod(SHAPE))))
    depth, height, width = SHAPE
    nrrd = (
        f"NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: {width} {height} {depth}\n"
        "space directions: (-1.5,0,0) (0,1.25,0) (0,0,-3)\nkinds: domain domain domain\nencoding: raw\n"
        f"space origin: (-20.5,10.25,100)\ndata file: {secret}\n\n"
    )
    meta = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = -1 0 0 0 1 0 0 0 -1\n"
        f"Offset = -20.5 10.25 100\nElementSpacing = 1.5 1.25 3\nDimSize = {width} {height} {depth}\n"
        f"ElementType = MET_UCHAR\nElementDataFile = {secret}\n"
    )
    for name, text in (("a.nrrd", nrrd), ("a.nhdr", nrrd), ("a.mha", meta), ("a.mhd", meta)):
        assert attempt(page, text.encode(), name).status_code == 422, name


def test_a_folder_of_cases_is_a_list_and_two_are_held_open(tmp_path: Path) -> None:
    for name in "ABCD":
        write_ct(tmp_path / f"{name}.nii.gz", seed=ord(name))
    with serving(tmp_path) as page:
        rows = page.http.get("/api/worklist").json()
        assert [row["case"] for row in rows["cases"]] == ["A", "B", "C", "D"] and rows["current"] == "A"
        first = page.other("a")
        first.watch("A")
        first.edit("paint", z=3, label=1, runs=BOX)
        for name in ("B", "C", "D"):
            assert page.http.get(f"/api/cases/{name}").status_code == 200
        assert list(page.app.state.cases._open) == ["A", "D"], "the one that is watched stays"
        second = page.other("d")
        second.watch("D")
        full = page.http.get("/api/cases/B")
        assert full.status_code == 503 and full.json()["error"]["fix"] == "close one of the pages first"
        first.leave()
        wait_for(lambda: page.http.get("/api/cases/B").status_code == 200)
        rows = page.http.get("/api/worklist").json()["cases"]
        assert [row["state"] for row in rows] == ["begun", "new", "new", "new"]
        assert rows[0]["key_slices"] == 1 and rows[0]["edited"] is not None
        done = page.http.post("/api/cases/A/done", json={"done": True}) if "A" in page.app.state.cases._open else None
        assert done is None
        second.leave()
        wait_for(lambda: page.http.post("/api/cases/A/done", json={"done": True}).status_code == 200)
        assert page.http.get("/api/worklist").json()["cases"][0]["state"] == "done"
        assert page.http.get("/api/cases/E").status_code == 404
    with serving(tmp_path) as page:
        rows = page.http.get("/api/worklist").json()
        assert (rows["cases"][0]["state"], rows["current"]) == ("done", "B")


def test_a_case_that_cannot_be_read_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    write_ct(tmp_path / "A.nii.gz")
    (tmp_path / "B.nii.gz").write_bytes(b"no image")
    with serving(tmp_path) as page:
        assert page.http.get("/api/cases/A").status_code == 200
        broken = page.http.get("/api/cases/B")
        assert broken.status_code == 422 and "B.nii.gz" in broken.json()["error"]["found"]


def test_key_slices_to_begin_with_count_once(ct: Path, tmp_path: Path) -> None:
    path, array = labels(ct, tmp_path / "keys.nii.gz")
    for _ in range(2):
        with serving(ct, keys=path, table=None) as page:
            page.watch()
            state = page.state()
            assert [row["name"] for row in state["labels"]] == ["liver", "stomach"]
            assert state["revision"] == 1 and set(state["slices"]) == {"3", "7"}


def test_a_session_folder_of_ones_own(ct: Path, tmp_path: Path) -> None:
    with serving(ct, session=tmp_path / "mine") as page:
        page.watch()
        page.edit("paint", z=3, label=1, runs=BOX)
    assert (tmp_path / "mine" / "my case.keyslice" / "case.json").is_file()
    assert not (ct.parent / "my case.keyslice").exists()


def send(page: Page, path: Path, kind: str, **query: str) -> dict:
    answer = page.http.post(
        page.url("import"),
        params={"as": kind, "client": page.client, **query},
        content=path.read_bytes(),
        headers={"X-Filename": path.name, "Content-Type": "application/octet-stream"},
    )
    assert answer.status_code == 200, answer.text
    told: dict = answer.json()
    return told


def attempt(page: Page, content: bytes, name: str):  # noqa: ANN201
    return page.http.post(
        page.url("import"),
        params={"as": "key_slices", "client": page.client},
        content=content,
        headers={"X-Filename": name, "Content-Type": "application/octet-stream"},
    )


def wait_for(done) -> None:  # noqa: ANN001
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)
