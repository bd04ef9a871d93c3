"""MONAI Label's own Python client on a running server: list, infer, save, read back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tools.annotate.serving import SHAPE, TABLE, TOKEN, Page, runs, serving, write_ct
from volumes.formats import read_label_map, read_volume, write_label_map
from volumes.label_map import LabelMap
from volumes.labels import Label, LabelTable

monai_label = pytest.importorskip(
    "monailabel.client.client",
    reason="MONAI Label's client is not installed: pip install --no-deps monailabel (Python below 3.13)",
)
STOMACH = LabelTable([Label(2, "liver", (1, 2, 3)), Label(5, "stomach", (9, 9, 9))])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a", "b one", "c")):
        write_ct(tmp_path / "cts" / f"{name}.nii.gz", seed=seed)
    return tmp_path / "cts"


@pytest.fixture
def page(folder: Path) -> Iterator[Page]:
    with serving(folder) as page:
        yield page


@pytest.fixture
def client(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return client_of(page, tmp_path)


def client_of(page: Page, folder: Path) -> Any:
    (folder / "answers").mkdir()
    return monai_label.MONAILabelClient(f"{page.address}/monai/{TOKEN}/", tmpdir=str(folder / "answers"))


def key_slices(ct: Path, path: Path, table: LabelTable = STOMACH) -> tuple[Path, np.ndarray]:
    """A label map: liver on two slices, stomach on one of them."""
    array = np.zeros(SHAPE, np.uint8)
    array[3, 8:20, 10:24], array[8, 9:20, 10:24], array[8, 0:4, 0:4] = 2, 2, 5
    write_label_map(LabelMap(array, read_volume(ct).geometry, table), path, overwrite=True)
    return path, array


def test_the_client_lists_what_there_is(client: Any) -> None:
    info = client.info()
    assert {"propagate", "head-neck"} <= info["models"].keys()
    assert info["models"]["propagate"]["type"] == "segmentation"
    assert info["datastore"] == {"total": 3, "completed": 0, "label_tags": {}, "done": 0}
    assert client.auth_enabled() is False and client.auth_valid_token()
    objects = client.datastore()["objects"]
    assert list(objects) == ["a", "b one", "c"]
    assert objects["a"]["image"]["ext"] == ".nii.gz" and objects["a"]["labels"] == {}
    assert "/" not in json.dumps(objects)  # no path of this machine


def test_the_client_infers_from_key_slices(client: Any, folder: Path, tmp_path: Path) -> None:
    path, array = key_slices(folder / "b one.nii.gz", tmp_path / "keys.nii.gz")
    file, params = client.infer("propagate", "b one", {}, label_in=str(path))
    assert Path(file).name == "b_one.nii.gz"
    got = read_label_map(Path(file), like=read_volume(folder / "b one.nii.gz"))
    nearest = [3 if abs(z - 3) <= abs(z - 8) else 8 for z in range(SHAPE[0])]
    assert np.array_equal(got.array, array[nearest])
    assert params["label_names"] == {"liver": 2, "stomach": 5} and got.table[5].name == "stomach"
    assert params["key_slices"] == [3, 8]
    assert params["suggestion"]["z"] == SHAPE[0] // 2
    assert client.datastore()["objects"]["b one"]["labels"] == {}  # nothing was saved


@pytest.mark.parametrize("ending", [".nrrd", ".seg.nrrd", ".nii"])
def test_names_and_formats_that_the_client_chooses(client: Any, folder: Path, tmp_path: Path, ending: str) -> None:
    path, _ = key_slices(folder / "a.nii.gz", tmp_path / "keys.nii.gz")
    named = [{"name": "background", "idx": 0}, {"name": "Leber", "idx": 2}, {"name": "Magen", "idx": 5}]
    asked = {"label_info": named, "key_slices": [3], "result_extension": ending}
    file, params = client.infer("propagate", "a", asked, label_in=str(path))
    assert file.endswith(f"a{ending}") and params["label_names"] == {"Leber": 2}
    got = read_label_map(Path(file), like=read_volume(folder / "a.nii.gz"))
    assert got.table[2].name == "Leber" and (got.array[:, 8:20, 10:24] == 2).all()


def test_a_label_is_saved_in_one_step_and_read_back(client: Any, page: Page, folder: Path, tmp_path: Path) -> None:
    ct = folder / "a.nii.gz"
    path, array = key_slices(ct, tmp_path / "labels.nii.gz")
    saved = client.save_label(
        "a", str(path), "", {"label_info": [{"name": "liver", "idx": 2}, {"name": "x", "idx": 5}]}
    )
    assert saved["label"] == "a" and saved["slices"] == [3, 8]
    own = {one["name"]: one["idx"] for one in saved["label_info"]}
    assert own == {"liver": 1, "x": 5}  # the case's own numbers
    wanted = np.where(array == 2, own["liver"], array)
    file = client.download_label("a", "final")
    assert file.endswith(".nii.gz")
    got = read_label_map(Path(file), like=read_volume(ct))
    assert np.array_equal(got.array, wanted) and got.table[1].name == "liver" and got.table[5].name == "x"
    assert client.datastore()["objects"]["a"]["labels"]["final"]["ext"] == ".nii.gz"
    assert client.info()["datastore"]["label_tags"] == {"final": 1}
    page.watch("a")
    assert np.array_equal(page.masks()[0], wanted)
    page.edit("undo")
    assert not page.masks()[0].any()


def test_what_was_saved_is_there_after_a_restart(folder: Path, tmp_path: Path) -> None:
    path, array = key_slices(folder / "a.nii.gz", tmp_path / "labels.seg.nrrd", TABLE)
    with serving(folder) as page:
        client = client_of(page, tmp_path)
        client.save_label("a", str(path), "final")
    with serving(folder) as page:
        file = client_of(page, tmp_path / "cts").download_label("a", "final")
        assert np.array_equal(read_label_map(Path(file), like=read_volume(folder / "a.nii.gz")).array, array)


def test_a_slice_that_is_saved_again_is_as_it_is_then(client: Any, page: Page, folder: Path, tmp_path: Path) -> None:
    path, array = key_slices(folder / "a.nii.gz", tmp_path / "labels.nii.gz", TABLE)
    client.save_label("a", str(path), "final")
    array[3], array[3, 2:5, 2:5] = 0, 1
    array[8] = 0
    write_label_map(LabelMap(array, read_volume(folder / "a.nii.gz").geometry, TABLE), path, overwrite=True)
    client.save_label("a", str(path), "final")
    page.watch("a")
    given, _ = page.masks()
    assert np.array_equal(given[3], array[3])
    assert given[8].any()  # of which the second file says nothing
    assert page.state()["slices"]["3"]["absent"] == [2]  # the spleen was there before
    page.edit("undo")
    assert (page.masks()[0][3, 8:20, 10:24] == 2).all()


def test_inference_from_what_is_saved(client: Any, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(monai_label.MONAILabelClientException, match="422") as caught:
        client.infer("propagate", "c", {})
    assert "no key slice" in caught.value.msg
    path, array = key_slices(folder / "c.nii.gz", tmp_path / "labels.nii.gz")
    client.save_label("c", str(path))
    _, params = client.infer("propagate", "c", {})
    assert params["label_names"] == {"liver": 1, "stomach": 5} and params["key_slices"] == [3, 8]
    assert client.next_sample("slice", {"image": "c"})["suggestion"]["reason"] == "in the middle"


def test_the_next_case_is_one_without_labels_first(client: Any, page: Page, folder: Path, tmp_path: Path) -> None:
    assert client.next_sample("first", {})["id"] == "a"
    client.save_label("a", str(key_slices(folder / "a.nii.gz", tmp_path / "labels.nii.gz")[0]))
    assert client.next_sample("first", {})["id"] == "b one"
    for name in ("b one", "c"):
        page.http.post(f"/api/cases/{name}/done", json={"done": True})
    sample = client.next_sample("first", {})
    assert (sample["id"], sample["state"], sample["key_slices"]) == ("a", "begun", 2)
    page.http.post("/api/cases/a/done", json={"done": True})
    assert client.next_sample("first", {}) == {}


def test_a_session_is_an_image_without_a_case(client: Any, folder: Path, tmp_path: Path) -> None:
    ct = write_ct(tmp_path / "other.nii.gz", seed=9)
    made = client.create_session(str(ct))
    key = made["session_id"]
    assert made["session_info"]["shape"] == list(SHAPE) and client.get_session(key)["name"] == "other.nii.gz"
    path, array = key_slices(ct, tmp_path / "keys.nii.gz")
    file, _ = client.infer("propagate", "", {}, label_in=str(path), session_id=key)
    assert np.array_equal(read_label_map(Path(file), like=read_volume(ct)).array[3], array[3])
    client.remove_session(key)
    with pytest.raises(monai_label.MONAILabelClientException) as caught:
        client.get_session(key)
    assert caught.value.status_code == 404


def test_what_there_is_not_is_told(client: Any, folder: Path) -> None:
    error = monai_label.MONAILabelClientException
    for ask in (
        lambda: client.train_start("propagate", {}),
        lambda: client.train_stop(),
        lambda: client.train_status(),
        lambda: client.upload_image(str(folder / "a.nii.gz"), "new"),
        lambda: client.wsi_infer("propagate", "a"),
        lambda: client.infer("propagate", "a", {}, label_in=str(folder / "a.nii.gz")),
    ):
        try:
            answer = ask()
        except error as caught:
            answer = (None, caught.msg)
        told = str(answer)
        assert '"found"' in told and '"fix"' in told, told
    assert client.train_status(check_if_running=True) is False
    with pytest.raises(error, match="404"):
        client.infer("no such model", "a", {})
    with pytest.raises(error, match="404"):
        client.save_label("no such case", str(folder / "a.nii.gz"))
    with pytest.raises(error) as caught:
        client.next_sample("no such strategy", {})
    assert caught.value.status_code == 404


def test_the_page_is_answered_and_propagates_while_a_client_infers(folder: Path, tmp_path: Path) -> None:
    path, _ = key_slices(folder / "a.nii.gz", tmp_path / "keys.nii.gz")
    begun, go_on = threading.Event(), threading.Event()
    holding = threading.local()

    def step() -> None:  # the first engine that propagates is the client's; it waits in the middle
        if not begun.is_set():
            holding.here = True
            begun.set()
        if getattr(holding, "here", False):
            go_on.wait(20)

    with serving(folder, step=step) as page:
        client, got = client_of(page, tmp_path), list[Any]()
        thread = threading.Thread(target=lambda: got.append(client.infer("propagate", "a", {}, label_in=str(path))))
        thread.start()
        try:
            assert begun.wait(20)
            page.watch("a")
            page.edit("paint", z=3, label=1, runs=runs(8, 10, 12, 14))
            start = time.monotonic()
            page.propagate()
            assert page.masks()[1].any() and not got
            assert time.monotonic() - start < 10
        finally:
            go_on.set()
            thread.join()
        assert got and got[0][1]["key_slices"] == [3, 8]
