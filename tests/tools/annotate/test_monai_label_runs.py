"""What runs for MONAI Label's clients: turns, clients that hang up, the automatic start; and what saving may not do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.tools.annotate.serving import SHAPE, TOKEN, Page, runs, serving, write_ct
from tools.annotate.given import GivenSlice
from tools.annotate.merging import LabelMerge
from tools.annotate.monai_label.inference import MOST_WAITING
from tools.annotate.monai_label.sessions import EXPIRY_SECONDS, MOST_SESSIONS
from volumes.formats import read_label_map, read_volume, write_label_map
from volumes.label_map import LabelMap
from volumes.labels import Label, LabelTable

BASE = f"/monai/{TOKEN}"
BOX = runs(8, 10, 12, 14)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_ct(tmp_path / "cts" / "case.nii.gz")


@pytest.fixture
def page(ct: Path) -> Iterator[Page]:
    with serving(ct) as page:
        page.watch()
        yield page


def labels(ct: Path, path: Path, value: int = 1) -> dict[str, Any]:
    """A form with one key slice."""
    array = np.zeros(SHAPE, np.uint8)
    array[3, 8:20, 10:24] = value
    table = LabelTable([Label(1, "liver", (1, 2, 3)), Label(2, "spleen", (3, 2, 1))])
    write_label_map(LabelMap(array, read_volume(ct).geometry, table), path, overwrite=True)
    return {"label": ("labels.nii.gz", path.read_bytes())}


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_one_runs_some_wait_and_more_are_turned_away(ct: Path, tmp_path: Path) -> None:
    go_on = threading.Event()
    with serving(ct, step=lambda: go_on.wait(30)) as page:  # type: ignore[arg-type, return-value]
        form, answers = labels(ct, tmp_path / "keys.nii.gz"), list[int]()

        def infer() -> None:
            answers.append(
                httpx.post(f"{page.address}{BASE}/infer/propagate?image=case", files=form, timeout=60).status_code
            )

        threads = [threading.Thread(target=infer) for _ in range(1 + MOST_WAITING)]
        for thread in threads:
            thread.start()
        inference = page.app.state.monai_label.inference
        wait_until(lambda: inference._waiting == 1 + MOST_WAITING)
        infer()
        assert answers == [503]
        go_on.set()
        for thread in threads:
            thread.join()
        assert answers == [503] + [200] * (1 + MOST_WAITING)


def test_what_a_client_asked_for_ends_when_it_hangs_up(ct: Path, tmp_path: Path) -> None:
    slow, steps = threading.Event(), list[float]()
    slow.set()

    def step() -> None:
        steps.append(time.monotonic())
        if slow.is_set():
            time.sleep(0.4)

    with serving(ct, step=step) as page:
        form = labels(ct, tmp_path / "keys.nii.gz")
        request = httpx.Request("POST", f"{page.address}{BASE}/infer/propagate?image=case", files=form)
        head = f"POST {BASE}/infer/propagate?image=case HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        host, _, port = page.address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + b"\r\n" + request.read())
            wait_until(lambda: bool(steps))
        inference = page.app.state.monai_label.inference
        wait_until(lambda: inference._waiting == 0)
        assert len(steps) < SHAPE[0]
        slow.clear()
        assert page.http.post(f"{BASE}/infer/propagate?image=case", files=form).status_code == 200


def test_the_automatic_start_is_a_model(ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[4:9, 4:9] = 6
    found = {5: GivenSlice(mask, frozenset({6}), False, "automatic")}

    def find(
        referencer: str, volume: Any, names: Mapping[int, str], progress: Callable[[int, int], None]
    ) -> tuple[dict[int, GivenSlice], LabelMerge]:
        progress(1, 1)
        return (found, LabelMerge({6: 6}, {6: Label(6, "cord", (9, 9, 9))})) if found else ({}, LabelMerge({}, {}))

    monkeypatch.setattr("tools.annotate.automatic_start.find_key_slices", find)
    with serving(ct, referencer=lambda name: name) as page:
        url = f"{BASE}/infer/head-neck?output="
        told = page.http.post(f"{url}json&image=case", files={"params": (None, "{}")}).json()
        assert (told["label_names"], told["key_slices"]) == ({"cord": 6}, [5])
        sent = page.http.post(
            f"{url}image", files={"file": ("post.nii.gz", ct.read_bytes())}
        )  # an image that is no case
        (tmp_path / "got.nii.gz").write_bytes(sent.content)
        got = read_label_map(tmp_path / "got.nii.gz", like=read_volume(ct))
        assert np.array_equal(got.array, np.stack([mask] * SHAPE[0]))
        found.clear()
        told = page.http.post(f"{url}json&image=case", files={"params": (None, "{}")}).json()
        assert told["label_names"] == {} and told["key_slices"] == []


def test_a_network_that_is_not_there_is_told_in_words(ct: Path) -> None:
    with serving(ct) as page:
        answer = page.http.post(f"{BASE}/infer/head-neck?image=case", files={"params": (None, "{}")})
    assert answer.status_code == 503 and "no network in tests" in answer.text


def test_locks_and_marks_hold_for_what_is_saved(page: Page, ct: Path, tmp_path: Path) -> None:
    page.edit("paint", z=3, label=1, runs=runs(0, 0, 4, 4))
    page.edit("lock", value=1, locked=True)
    before = page.digest()
    refused = page.http.put(f"{BASE}/datastore/label?image=case", files=labels(ct, tmp_path / "l.nii.gz"))
    assert refused.status_code == 409 and "locked" in refused.text
    refused = page.http.put(f"{BASE}/datastore/label?image=case", files=labels(ct, tmp_path / "l.nii.gz", 2))
    assert refused.status_code == 409  # it would take the liver away
    page.edit("lock", value=1, locked=False)
    page.edit("extent", label=2, range=[5, 9])
    refused = page.http.put(f"{BASE}/datastore/label?image=case", files=labels(ct, tmp_path / "l.nii.gz", 2))
    assert refused.status_code == 409 and "extent" in refused.text
    page.edit("extent", label=2, range=None)
    assert page.digest() != before  # of undo alone
    assert page.masks()[0][3, :4, :4].all()


def test_the_page_is_told_of_what_is_saved(page: Page, ct: Path, tmp_path: Path) -> None:
    begun = len(page.events)
    told = page.http.put(f"{BASE}/datastore/label?image=case", files=labels(ct, tmp_path / "l.nii.gz")).json()
    assert told["title"] == "labels of a client, 1 slices"
    event = page.event("changed", begun, such=lambda data: "3" in data["slices"])
    assert event["slices"]["3"]["kind"] == "imported"
    again = page.http.put(f"{BASE}/datastore/label?image=case", files=labels(ct, tmp_path / "l.nii.gz")).json()
    assert again["title"] is None  # nothing changed
    for tag in ("original", "draft"):
        url = f"{BASE}/datastore/label?image=case&tag={tag}"
        assert page.http.put(url, files=labels(ct, tmp_path / "l.nii.gz")).status_code == 501


def test_all_that_is_shown_is_read_under_another_tag(page: Page, ct: Path, tmp_path: Path) -> None:
    page.edit("paint", z=3, label=1, runs=BOX)
    page.propagate()
    given, proposed = page.masks()
    for tag, wanted in (("final", given), ("original", np.where(given > 0, given, proposed))):
        content = page.http.get(f"{BASE}/datastore/label?label=case&tag={tag}").content
        (tmp_path / f"{tag}.nii.gz").write_bytes(content)
        assert np.array_equal(read_label_map(tmp_path / f"{tag}.nii.gz", like=read_volume(ct)).array, wanted)
    info = page.http.get(f"{BASE}/datastore/label/info?label=case&tag=final").json()
    assert info["label_info"][0] == {"name": "liver", "idx": 1, "color": [200, 80, 60]} and info["key_slices"] == [3]
    assert page.http.get(f"{BASE}/datastore/label?label=case&tag=none").status_code == 422


def test_sessions_are_few_and_go(page: Page, ct: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create() -> str:
        key: str = page.http.put(f"{BASE}/session/", files={"files": ct.open("rb")}).json()["session_id"]
        return key

    keys = [create() for _ in range(MOST_SESSIONS + 1)]
    assert [page.http.get(f"{BASE}/session/{key}").status_code for key in keys] == [404] + [200] * MOST_SESSIONS
    folder = page.app.state.monai_label.sessions._folder
    assert len(list(folder.iterdir())) == MOST_SESSIONS
    now = time.time()
    monkeypatch.setattr("tools.annotate.monai_label.sessions.time.time", lambda: now + EXPIRY_SECONDS + 60)
    assert page.http.get(f"{BASE}/session/{keys[-1]}").status_code == 404
    monkeypatch.undo()
    assert not list(folder.iterdir())


def test_those_who_wait_are_told_when_the_server_ends(ct: Path, tmp_path: Path) -> None:
    go_on, answers = threading.Event(), list[httpx.Response]()
    with serving(ct, step=lambda: go_on.wait(30)) as page:  # type: ignore[arg-type, return-value]
        form, inference = labels(ct, tmp_path / "keys.nii.gz"), page.app.state.monai_label.inference
        url = f"{page.address}{BASE}/infer/propagate?image=case"
        threads = [
            threading.Thread(target=lambda: answers.append(httpx.post(url, files=form, timeout=60))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: inference._waiting == 2)
        page.loop.call_soon_threadsafe(inference.end)
        for thread in threads:
            thread.join()
        go_on.set()
    assert [answer.status_code for answer in answers] == [503, 503]
    assert all("ending" in answer.text for answer in answers)
    assert not inference._closing  # no thread is left to the end of the program


def test_a_dicom_series_comes_as_one_file_and_labels_go_as_dicom(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="DICOM labels need keyslice[dicom]")
    from tests.volumes.dicom.series_writer import SeriesWriter

    writer = SeriesWriter(tmp_path / "cts")
    hu = np.random.default_rng(2).integers(-100, 100, (6, 20, 24)).astype(np.int16)
    series = [writer.classic(hu, folder=name) for name in ("1.2.3", "1.2.4")][0]
    volume = read_volume(series)
    array = np.zeros(volume.shape, np.uint8)
    array[2, 5:10, 5:10] = 1
    keys = tmp_path / "keys.nii.gz"
    write_label_map(LabelMap(array, volume.geometry, LabelTable([Label(1, "liver", (9, 9, 9))])), keys)
    form = {"label": ("keys.nii.gz", keys.read_bytes())}
    with serving(tmp_path / "cts") as page:
        sent = page.http.get(f"{BASE}/datastore/image?image=1.2.3")
        (tmp_path / "image.nii.gz").write_bytes(sent.content)
        assert np.array_equal(read_volume(tmp_path / "image.nii.gz").array, volume.array)
        answer = page.http.post(f"{BASE}/infer/propagate?image=1.2.3&output=dicom_seg", files=form)
        assert answer.headers["content-type"] == "application/dicom"
        (tmp_path / "got.seg.dcm").write_bytes(answer.content)
        got = read_label_map(tmp_path / "got.seg.dcm", like=volume)
        assert np.array_equal(got.array > 0, np.stack([array[2]] * 6) > 0)
        slices = [("files", (f"IM{path.stem}.dcm", path.read_bytes())) for path in sorted(series.iterdir())]
        made = page.http.put(f"{BASE}/session/", files=slices).json()
        assert made["session_info"]["shape"] == list(volume.shape)
        url = f"{BASE}/infer/propagate?output=json&session_id={made['session_id']}"
        assert page.http.post(url, files=form).json()["key_slices"] == [2]
