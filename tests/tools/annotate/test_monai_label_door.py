"""Who gets in at MONAI Label's addresses, and what bad requests are answered. Needs no client of MONAI Label."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import SimpleITK as sitk

from tests.tools.annotate.serving import SHAPE, TOKEN, Page, serving, write_ct
from tools.annotate.monai_label.answers import file_name
from tools.annotate.monai_label.door import takes_files, token_in_path, without_token
from tools.annotate.monai_label.log import MOST_LINES, Log
from tools.annotate.protocol import BODY_LIMIT, IMPORT_LIMIT
from volumes.formats import read_label_map, read_volume, write_label_map
from volumes.label_map import LabelMap
from volumes.labels import LabelTable

BASE = f"/monai/{TOKEN}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ct(tmp_path_factory.mktemp("cts") / "case.nii.gz").parent


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    with serving(folder) as page:
        yield page


@pytest.fixture
def http(page: Page) -> Iterator[httpx.Client]:
    """As a client of MONAI Label: it shows no token."""
    with httpx.Client(base_url=page.address, timeout=30) as client:
        yield client


def labels(folder: Path, path: Path) -> bytes:
    array = np.zeros(SHAPE, np.uint8)
    array[3, 8:20, 10:24] = 1
    geometry = read_volume(folder / "case.nii.gz").geometry
    write_label_map(LabelMap(array, geometry, LabelTable.default([1])), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{BASE}/info/", 200),
        (f"{BASE}/info", 200),
        (f"{BASE}/", 404),
        (f"{BASE}/none", 404),
        ("/monai/info/", 401),
        ("/monai/", 401),
        (f"/monai/{TOKEN}x/info/", 401),
        (f"/monai/{TOKEN[:-1]}/info/", 401),
        (f"/monai//{TOKEN}/info/", 401),
        (f"/MONAI/{TOKEN}/info/", 401),
        (f"/{TOKEN}/monai/info/", 401),
        (f"/api/{TOKEN}/worklist", 401),
        (f"{BASE}/../../api/worklist", 404),
        (f"{BASE}/%2e%2e/%2e%2e/api/worklist", 404),
        ("/monai/%ff%fe/info/", 401),
    ],
)
def test_the_token_counts_in_its_place_alone(page: Page, path: str, status: int) -> None:
    answer, content = ask(page, "GET", path)
    assert answer.status == status
    assert TOKEN.encode() not in content and answer.getheader("set-cookie") is None


def ask(page: Page, method: str, path: str, headers: Mapping[str, str] | None = None) -> tuple[HTTPResponse, bytes]:
    """The answer to just these words: httpx would straighten the address."""
    connection = HTTPConnection(page.address.removeprefix("http://"), timeout=30)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_a_bearer_token_does_as_well(http: httpx.Client) -> None:
    assert http.get("/monai/info/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_another_host_or_site_is_refused_with_the_token(http: httpx.Client, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/info/"), ("POST", "/infer/propagate"), ("PUT", "/datastore/label?image=case")):
        assert http.request(method, f"{BASE}{path}", headers=headers).status_code == 403


def test_addresses_are_taken_apart() -> None:
    assert token_in_path("/monai/a/b") == b"a" and token_in_path("/api/a") == token_in_path("/monai") == b""
    scope: Any = {"path": "/monai/secret/infer/x y", "raw_path": b"/monai/secret/infer/x%20y"}
    assert without_token(scope, b"secret")["path"] == "/monai/infer/x y"
    assert without_token(scope, b"other") is scope
    assert takes_files("/monai/infer/x") and not takes_files("/monai/train/x") and not takes_files("/api/infer/x")


def test_bodies_are_bounded(page: Page) -> None:
    for path, limit in (("train/x", BODY_LIMIT), ("infer/propagate", IMPORT_LIMIT), ("session/", IMPORT_LIMIT)):
        answer, content = ask(page, "POST", f"{BASE}/{path}", {"Content-Length": str(limit + 1)})
        assert answer.status == 413 and json.loads(content)["error"]["fix"]


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "multipart/form-data"),
        (b"", "multipart/form-data; boundary="),
        (b"rubbish", "multipart/form-data; boundary=x"),
        (b"--x\r\nrubbish", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="label"; filename="a.nii.gz"\r\n\r\ncut',
            "multipart/form-data; boundary=x",
        ),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b"params=%7B%7D", "application/x-www-form-urlencoded"),
        (b"[1, 2", "application/json"),
        (b"\x80\x04\x95 a pickle", "application/octet-stream"),
    ],
)
def test_what_is_no_form_is_refused_in_words(http: httpx.Client, content: bytes, content_type: str) -> None:
    for method, path in (
        ("POST", "/infer/propagate?image=case"),
        ("PUT", "/datastore/label?image=case"),
        ("PUT", "/session/"),
    ):
        answer = http.request(method, BASE + path, content=content, headers={"Content-Type": content_type})
        assert answer.status_code in (400, 422), (path, answer.text)
        assert answer.json()["error"]["fix"]


@pytest.mark.parametrize(
    "params",
    [
        "no json",
        "[]",
        '{"label_info": [{"name": "a", "idx": 1}, {"name": "b", "idx": 1}]}',
        '{"label_info": [{"name": "a", "idx": 256}]}',
        '{"label_info": [{"name": "a\\u0000", "idx": 1}]}',
        '{"key_slices": [99]}',
        '{"key_slices": [0]}',
        '{"result_extension": "/../x"}',
        '{"label_info": [{"name": "' + "a" * (1 << 20) + '", "idx": 1}]}',
    ],
)
def test_parameters_that_do_not_fit(http: httpx.Client, folder: Path, tmp_path: Path, params: str) -> None:
    files = {"label": ("keys.nii.gz", labels(folder, tmp_path / "keys.nii.gz"))}
    answer = http.post(f"{BASE}/infer/propagate?image=case", data={"params": params}, files=files)
    assert answer.status_code in (400, 422), answer.text
    assert len(answer.text) < 2000


def _bomb() -> bytes:
    """A NIfTI header of 2^40 voxels."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 32767, 32767, 1024, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\x00"
    return gzip.compress(bytes(header), mtime=0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.bin", b"\x00" * 100),
        ("labels.pkl", b"\x80\x04\x95"),
        ("labels", b""),
        ("labels.nii.gz", b"no gzip"),
        ("labels.nii.gz", _bomb()),
        (
            "labels.nrrd",
            b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 1 1 1\nencoding: raw\ndata file: /etc/passwd\n\n",
        ),
        ("../../../etc/labels.zip", b"PK\x03\x04"),
    ],
)
def test_files_that_are_no_label_map_or_image(http: httpx.Client, name: str, content: bytes) -> None:
    for method, path, field in (
        ("POST", "/infer/propagate?image=case", "label"),
        ("POST", "/infer/head-neck", "file"),
        ("PUT", "/datastore/label?image=case", "label"),
        ("PUT", "/session/", "files"),
    ):
        answer = http.request(method, BASE + path, files={field: (name, content)})
        assert answer.status_code == 422, (path, answer.text)
        assert "passwd" not in answer.text and answer.json()["error"]["fix"]


def test_the_ct_comes_as_the_file_that_it_is(http: httpx.Client, folder: Path) -> None:
    answer = http.get(f"{BASE}/datastore/image?image=case")
    assert answer.content == (folder / "case.nii.gz").read_bytes()
    assert 'filename="case.nii.gz"' in answer.headers["content-disposition"]
    assert http.head(f"{BASE}/datastore/image?image=case").status_code == 200
    for name in ("none", "../case", "case.nii.gz", "/etc/passwd"):
        for path in ("image", "image/info"):
            assert http.get(f"{BASE}/datastore/{path}", params={"image": name}).status_code == 404
        assert http.get(f"{BASE}/datastore/label", params={"label": name}).status_code == 404
    assert http.head(f"{BASE}/datastore/label?image=case").status_code == 404


def test_a_ct_in_two_files_comes_as_one(tmp_path: Path) -> None:
    ct = tmp_path / "cts" / "two.mhd"
    sitk.WriteImage(sitk.ReadImage(str(write_ct(tmp_path / "one.nii.gz"))), str(write_ct(ct)))
    with serving(tmp_path / "cts") as page:
        answer = page.http.get(f"{BASE}/datastore/image?image=two")
    assert 'filename="two.nii.gz"' in answer.headers["content-disposition"]
    (tmp_path / "got.nii.gz").write_bytes(answer.content)
    got, own = read_volume(tmp_path / "got.nii.gz"), read_volume(ct)
    assert np.array_equal(got.array, own.array) and got.geometry.size_xyz == own.geometry.size_xyz


def test_answers_of_other_kinds(http: httpx.Client, folder: Path, tmp_path: Path) -> None:
    files = {"label": ("keys.nii.gz", labels(folder, tmp_path / "keys.nii.gz"))}
    told = http.post(f"{BASE}/infer/propagate?image=case&output=json", files=files).json()
    assert told["label_names"] == {"label_1": 1} and len(told["confidence"]["label_1"]) == SHAPE[0]
    answer = http.post(f"{BASE}/infer/propagate?image=case&output=image", files=files)
    (tmp_path / "got.nii.gz").write_bytes(answer.content)
    assert (read_label_map(tmp_path / "got.nii.gz").array[:, 8:20, 10:24] == 1).all()
    refused = http.post(f"{BASE}/infer/propagate?image=case&output=dicom_seg", files=files)
    assert refused.status_code == 422 and "DICOM" in refused.text


def test_a_body_that_is_searched_instead_of_parsed(http: httpx.Client, folder: Path, tmp_path: Path) -> None:
    """MITK looks for the content types and takes what follows."""
    files = {"label": ("keys.nii.gz", labels(folder, tmp_path / "keys.nii.gz"))}
    answer = http.post(f"{BASE}/infer/propagate?image=case", files=files)
    boundary = b"--" + answer.headers["content-type"].partition("boundary=")[2].encode()
    params, image = [part for part in answer.content.split(boundary) if part][:2]
    assert json.loads(params.partition(b"Content-Type: application/json")[2])["label_names"] == {"label_1": 1}
    assert gzip.decompress(
        image.partition(b"Content-Type: application/octet-stream")[2].lstrip(b" \r\n").removesuffix(b"\r\n")
    )


def test_the_log_tells_of_requests_and_not_of_the_token(http: httpx.Client) -> None:
    http.post(f"{BASE}/activelearning/first", json={})
    for path in ("/logs", "/logs/?lines=5"):
        text = http.get(BASE + path).text
        assert "next by first: case" in text and TOKEN not in text
    log = Log()
    log.add("one\nforged line")
    assert log.last(9).count("\n") == 1
    for number in range(2 * MOST_LINES):
        log.add(str(number))
    assert log.last(0).count("\n") == MOST_LINES and log.last(2).endswith(f" {2 * MOST_LINES - 1}\n")


def test_names_of_files_hold_nothing_that_leads_elsewhere() -> None:
    assert file_name('../../a "b"\r\nx.nii.gz') == "_.._a__b___x.nii.gz"
    assert file_name("...") == "file"
