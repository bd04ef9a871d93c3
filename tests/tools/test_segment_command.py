"""`keyslice segment`: what goes in, what comes out, one case and folders, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from typer.testing import CliRunner, Result

from reference_module.models import InputSettings, build_pair, save_pair
from reference_module.referencer import Referencer
from tests.tools.pairs import SPACING, TABLE, HounsfieldPair, ellipsoids, referencer
from tests.tools.test_bad_input import refused
from tools.cases import find_scans
from tools.cli import app
from volumes.formats import read_label_map
from volumes.metrics import dice

DEPTH = 12


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["segment", *(str(argument) for argument in arguments)])


def save(path: Path, array: np.ndarray) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin((-20.5, 10.25, 100.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return save(tmp_path / "ct.nii.gz", ellipsoids(DEPTH, second=(3, 8))[0].array)


@pytest.fixture
def seeing(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A model `eyes` that tells structures by their intensity; the list says how it was loaded."""
    loaded: list[tuple[Any, ...]] = []

    def load(name: str, weights: Path | None = None, *, device: str, precision: str) -> Referencer:
        loaded.append((name, weights, device, precision))
        return referencer(HounsfieldPair(DEPTH))

    monkeypatch.setattr(Referencer, "load", load)
    return loaded


def test_a_ct_in_a_label_map_out(ct: Path, seeing: list[tuple[Any, ...]], tmp_path: Path) -> None:
    out, report, picture = tmp_path / "out.nii.gz", tmp_path / "report.json", tmp_path / "picture.png"
    result = run("-i", ct, "-o", out, "--model", "eyes", "--report", report, "--montage", picture, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "2 structures on 12 slices from" in result.stdout
    assert seeing == [("eyes", None, "cpu", "auto")]
    given, got = sitk.ReadImage(str(ct)), sitk.ReadImage(str(out))
    for grid in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(got, grid)() == getattr(given, grid)()
    labels, truth = read_label_map(out), ellipsoids(DEPTH, second=(3, 8))[1]
    assert labels.table.names() == TABLE.names(), "the names are in the file"
    for label in (1, 2):
        assert dice(truth == label, labels.array == label) > 0.9
    assert picture.read_bytes().startswith(b"\x89PNG")
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["command"] == "segment" and found["input"] == str(ct) and "keys" not in found
    assert found["settings"]["model"] == "eyes" and found["settings"]["structures"] == list(TABLE.names())
    assert found["settings"]["propagation"]["model"] == "small"
    assert found["key_slices"] and all(one["reason"] for one in found["key_slices"])
    assert found["labels"]["label_2"]["confidence"]["mean"] > 0.5
    assert {"load_network", "read", "segment", "write", "total"} <= found["seconds"].keys()


def test_the_pair_alone(ct: Path, seeing: list[tuple[Any, ...]], tmp_path: Path) -> None:
    out, report = tmp_path / "out.nii.gz", tmp_path / "report.json"
    result = run("-i", ct, "-o", out, "--model", "eyes", "--reference-only", "--report", report)
    assert result.exit_code == 0, result.stderr
    assert "by the pair alone" in result.stdout and "key slice" not in result.stdout
    labels, truth = read_label_map(out).array, ellipsoids(DEPTH, second=(3, 8))[1]
    assert all(dice(truth == label, labels == label) > 0.9 for label in (1, 2)), "averaged along z"
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["key_slices"] == [] and "propagation" not in found["settings"]
    assert found["labels"]["label_1"]["voxels"] > 0 and found["labels"]["label_1"]["confidence"] is None


def test_which_key_slices_and_why_is_always_told(ct: Path, seeing: list[tuple[Any, ...]], tmp_path: Path) -> None:
    out, beside = tmp_path / "out.seg.nrrd", tmp_path / "out.report.json"
    result = run("-i", ct, "-o", out, "--model", "eyes", "--requery", "0")
    assert result.exit_code == 0, result.stderr
    told = json.loads(beside.read_text(encoding="utf-8"))["key_slices"]
    lines = [line for line in result.stdout.splitlines() if line.startswith("key slice ")]
    assert [int(line.split()[2].rstrip(":")) for line in lines] == [one["slice"] for one in told]
    assert all("members agree to Dice" in line for line in lines) and str(beside) in result.stdout
    out.unlink()
    refused(run("-i", ct, "-o", out, "--model", "eyes"), "out.report.json", "an existing file")
    assert not out.exists(), "nothing is lost, nothing half-written"
    assert run("-i", ct, "-o", out, "--model", "eyes", "--overwrite", "--quiet").stdout == ""


def test_nothing_found_is_no_failure(seeing: list[tuple[Any, ...]], tmp_path: Path) -> None:
    ct = save(tmp_path / "air.nii.gz", np.full((5, 14, 31), -1000, np.int16))
    out, report = tmp_path / "out.nii.gz", tmp_path / "report.json"
    result = run("-i", ct, "-o", out, "--model", "eyes", "--report", report, "--montage", tmp_path / "m.png")
    assert result.exit_code == 0, result.stderr
    assert "warning: no structure found" in result.stdout
    assert not read_label_map(out).array.any()
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["labels"] == {} and found["missed"] == list(TABLE.names())
    assert "empty" in found["warnings"][0]


def test_folders(ct: Path, seeing: list[tuple[Any, ...]], tmp_path: Path, results: Any) -> None:
    cts = tmp_path / "cts"
    array = ellipsoids(DEPTH, second=(3, 8))[0].array
    save(cts / "A_0000.nii.gz", array)
    save(cts / "B.mha", array)
    (cts / "C.nii.gz").write_bytes(b"not an image")
    result = run("-i", cts, "-o", tmp_path / "out", "--model", "eyes", "--requery", "0")
    assert result.exit_code == 1
    assert results(tmp_path / "out") == ["A.nii.gz", "B.mha"]
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert sorted(report["cases"]) == ["A", "B"] and list(report["failed"]) == ["C"]
    assert report["cases"]["A"]["key_slices"] and report["settings"]["automatic"]["requery"] == 0
    assert len(result.stderr.strip().splitlines()) == 1 and "C.nii.gz" in result.stderr


def test_scans_of_a_folder(tmp_path: Path) -> None:
    for name in ("A_0000.nii.gz", "B.seg.nrrd", "C.nhdr", "D.zip", "E.nii", "E.mha", "notes.txt", ".hidden.nii"):
        (tmp_path / name).touch()
    (tmp_path / "F").mkdir()
    cases, failed = find_scans(tmp_path, tmp_path / "out")
    assert [(case.name, case.output.name) for case in cases] == [
        ("A", "A.nii.gz"),
        ("B", "B.seg.nrrd"),
        ("C", "C.nrrd"),
        ("D", "D.nii.gz"),
        ("F", "F.nii.gz"),
    ]
    assert list(failed) == ["E"] and "E.mha, E.nii" in str(failed["E"])


def test_a_real_pair_from_its_file(ct: Path, tmp_path: Path) -> None:
    """Untrained, so what it finds is of no interest; that everything fits together is."""
    tiny = {
        "first": {
            "kind": "transunet",
            "layers": [1, 1, 1],
            "stem": 16,
            "hidden": 32,
            "depth": 1,
            "heads": 2,
            "mlp": 32,
            "decoder": [16, 16, 16, 16],
            "head": 16,
            "grid": 4,
        },
        "second": {"kind": "deeplabv3plus", "encoder": "tu-resnet18", "channels": 16, "rates": [2, 4, 8]},
    }
    torch.manual_seed(0)
    weights = tmp_path / "tiny.safetensors"
    save_pair(build_pair({"network": tiny}, 3), weights, TABLE, InputSettings(2.0, "three"))
    first, second = tmp_path / "first.nii.gz", tmp_path / "second.nii.gz"
    for out in (first, second):
        result = run("-i", ct, "-o", out, "--model", weights, "--quiet")
        assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(read_label_map(first).array, read_label_map(second).array)


def test_bad_input_is_one_line(ct: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.nii.gz"

    def segment(*more: object, ct: Path = ct, out: Path = out, model: str = "eyes") -> Result:
        before = set(tmp_path.rglob("*"))
        result = run("-i", ct, "-o", out, "--model", model, *more)
        assert set(tmp_path.rglob("*")) == before, "something was left behind"
        return result

    refused(segment(), "eyes", "keyslice train reference")
    refused(segment(model=str(tmp_path / "none.safetensors")), "none.safetensors")
    refused(segment(ct=tmp_path / "none.nii.gz"), "none.nii.gz")
    refused(segment(out=ct), "ct.nii.gz", "input itself")
    refused(segment(out=tmp_path / "none" / "out.nii.gz"), "none")
    refused(segment("--report", tmp_path / "report.txt"), "report.txt")
    refused(segment("--device", "cuda:97"), "cuda:97")
    refused(segment(ct=tmp_path, out=tmp_path / "no" / "where"), "where")


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("--strategy", "best", "consistent"),
        ("--requery", "-1", "requery"),
        ("--every", "0", "every"),
        ("--propagation", "huge", "huge"),
        ("--propagation-weights", "none.safetensors", "none.safetensors"),
        ("--precision", "float8", "float8"),
    ],
)
def test_options_that_cannot_be(ct: Path, seeing: Any, tmp_path: Path, option: str, value: str, part: str) -> None:
    refused(run("-i", ct, "-o", tmp_path / "out.nii.gz", "--model", "eyes", option, value), part)
    assert not (tmp_path / "out.nii.gz").exists()


def test_an_empty_folder(tmp_path: Path, seeing: Any) -> None:
    (tmp_path / "empty").mkdir()
    refused(run("-i", tmp_path / "empty", "-o", tmp_path / "out", "--model", "eyes"), "empty")
