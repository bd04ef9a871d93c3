"""Bad input to the command ends in one line and status 2, with nothing half-written."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner, Result

from tools.cli import app


def refused(result: Result, *parts: object) -> None:
    """One line on stderr that says all of `parts`, status 2, no traceback."""
    assert result.exit_code == 2, (result.exit_code, result.stderr, result.exception)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for part in (*parts, "found", "expected"):
        assert str(part) in lines[0]


def propagate(case: Any, *more: object, **paths: Path) -> Result:
    ct, keys = paths.get("ct", case.ct), paths.get("keys", case.keys)
    out = paths.get("out", case.folder / "out.nii.gz")
    before = set(case.folder.rglob("*"))
    arguments = ["propagate", "-i", ct, "-k", keys, "-o", out, *more]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert set(case.folder.rglob("*")) == before, "something was left behind"
    return result


def save(path: Path, array: np.ndarray, **fields: Any) -> Path:
    image = sitk.GetImageFromArray(array, isVector=fields.pop("vector", False))
    for name, value in fields.items():
        getattr(image, f"Set{name}")(value)
    sitk.WriteImage(image, str(path))
    return path


GRID = {"Spacing": (1.5, 1.25, 3.0), "Origin": (-20.5, 10.25, 100.0)}  # of the case in conftest


def key_labels() -> np.ndarray:
    labels = np.zeros((9, 20, 24), np.int16)
    labels[4, 5:9, 5:9] = 1
    return labels


def test_missing_files(case: Any) -> None:
    refused(propagate(case, ct=case.folder / "none.nii.gz"), "none.nii.gz")
    refused(propagate(case, keys=case.folder / "none.nii.gz"), "none.nii.gz")


def test_truncated_and_foreign_files(case: Any) -> None:
    cut = case.folder / "cut.nii.gz"
    cut.write_bytes(case.ct.read_bytes()[:200])
    refused(propagate(case, ct=cut), "cut.nii.gz")
    text = case.folder / "text.nii.gz"
    text.write_text("hello")
    refused(propagate(case, ct=text), "text.nii.gz")
    refused(propagate(case, keys=text), "text.nii.gz")
    other = case.folder / "picture.png"
    other.write_bytes(b"\x89PNG")
    refused(propagate(case, ct=other), "picture.png")


def test_images_that_are_no_volume(case: Any) -> None:
    refused(propagate(case, ct=save(case.folder / "one.nii.gz", np.zeros((1, 1, 8), np.int16))), "one.nii.gz")
    colour = save(case.folder / "colour.mha", np.zeros((4, 8, 8, 3), np.uint8), vector=True)
    refused(propagate(case, ct=colour), "colour.mha")
    four = sitk.JoinSeries([sitk.ReadImage(str(case.ct))] * 2)
    sitk.WriteImage(four, str(case.folder / "four.nii.gz"))
    refused(propagate(case, ct=case.folder / "four.nii.gz"), "four.nii.gz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers(case: Any, value: float) -> None:
    array = np.zeros((9, 20, 24), np.float32)
    array[3, 4, 5] = value
    refused(propagate(case, ct=save(case.folder / "bad.nii.gz", array)), "bad.nii.gz")


def test_absurd_spacing(case: Any) -> None:
    path = save(case.folder / "far.mha", np.zeros((9, 20, 24), np.int16), Spacing=(1.0, 1.0, 5000.0))
    refused(propagate(case, ct=path), "far.mha")


@pytest.mark.parametrize(
    ("name", "array", "fields"),
    [
        ("shape", key_labels()[:, :10], GRID),
        ("spacing", key_labels(), {**GRID, "Spacing": (1.5, 1.25, 2.0)}),
        ("origin", key_labels(), {**GRID, "Origin": (0.0, 0.0, 0.0)}),
        ("negative", key_labels() - 1, GRID),
        ("large", key_labels() * 300, GRID),
        ("fraction", key_labels() * np.float32(0.5), GRID),
        ("empty", key_labels() * 0, GRID),
    ],
)
def test_label_files_that_do_not_fit(case: Any, name: str, array: np.ndarray, fields: dict[str, Any]) -> None:
    refused(propagate(case, keys=save(case.folder / f"{name}.nii.gz", array, **fields)), f"{name}.nii.gz")


@pytest.mark.parametrize("slices", ["9", "2,400", "-1", "two", "", "2,,6", "4"])
def test_key_slices_that_are_none(case: Any, slices: str) -> None:
    refused(propagate(case, f"--key-slices={slices}"))


@pytest.mark.parametrize(
    "text",
    [
        '{"liver": [12, 88]}',
        '{"1": [5, 2]}',
        '{"heart and soul": [1, 2]}',
        '{"1": [3, 8]}',  # but label 1 is painted on slice 2
        '{"1": 4}',
        "[1, 2]",
        "not json",
    ],
)
def test_marks_that_cannot_be(case: Any, text: str) -> None:
    marks = case.folder / "marks.json"
    marks.write_text(text)
    refused(propagate(case, "--extents", marks, "--labels", "flare22"), "marks.json")
    refused(propagate(case, "--extents", case.folder / "none.json"), "none.json")


@pytest.mark.parametrize("device", ["cuda:97", "tpu", "cuda:x", "mps"])
def test_no_such_device(case: Any, device: str) -> None:
    if device == "mps":
        import torch

        if torch.backends.mps.is_available():
            pytest.skip("this machine has the device")
    refused(propagate(case, "--device", device), device)


def test_no_such_table_model_or_weights(case: Any) -> None:
    refused(propagate(case, "--labels", "flare99"), "flare99")
    refused(propagate(case, "--model", "huge"), "huge")
    refused(propagate(case, "--weights", case.folder / "w.safetensors"), "w.safetensors")


def test_outputs_are_refused_before_any_work(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_work(*args: object, **kwargs: object) -> None:
        raise AssertionError("work was started")

    monkeypatch.setattr("volumes.formats.read_volume", no_work)
    taken = case.folder / "taken.nii.gz"
    taken.write_bytes(b"mine")
    refused(propagate(case, out=taken), "taken.nii.gz", "--overwrite")
    assert taken.read_bytes() == b"mine"
    refused(propagate(case, out=case.folder / "none" / "out.nii.gz"), "none")
    refused(propagate(case, out=case.folder / "out.png"), "out.png")
    refused(propagate(case, out=case.folder), case.folder)
    refused(propagate(case, "--report", case.folder / "report.txt"), "report.txt")
    refused(propagate(case, "--montage", case.folder / "none" / "m.png"), "none")
    refused(propagate(case, "--overwrite", out=case.keys), "keys.nii.gz", "input itself")
    refused(propagate(case, "--overwrite", out=case.ct), "ct.nii.gz", "input itself")
    refused(propagate(case, out=taken, keys=case.folder), "folder of key slices")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_no_permission(case: Any) -> None:
    locked = case.folder / "locked"
    locked.mkdir(mode=0o500)
    refused(propagate(case, out=locked / "out.nii.gz"), "locked", "permission")


def test_folder_without_permission_as_the_system_tells_it(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode, **kwargs: not mode & os.W_OK)
    refused(propagate(case), "permission")


def test_a_full_disk_leaves_nothing(case: Any, fake_propagator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    refused(propagate(case), "out.nii.gz")
    refused(propagate(case, "--montage", case.folder / "m.png"), "m.png", "full disk")


def test_memory_that_runs_out(case: Any, fake_propagator: Any) -> None:
    fake_propagator.fail_with = MemoryError()
    refused(propagate(case), "not enough memory")


def test_the_papers_way_needs_a_published_network(case: Any, fake_propagator: Any) -> None:
    refused(propagate(case, "--compat"), "--compat", "small")


def test_folders_without_cases(case: Any, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    full = tmp_path / "full"
    full.mkdir()
    (full / "A.nii.gz").touch()
    refused(propagate(case, ct=empty, keys=full, out=tmp_path / "o"), "empty")
    refused(propagate(case, ct=full, keys=empty, out=tmp_path / "o"), "empty")
    refused(propagate(case, ct=full, keys=full, out=tmp_path / "no" / "where"), "where")
