"""`keyslice propagate`: what goes in, what comes out, one case and folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner, Result

from tools.cases import find_cases
from tools.cli import app
from volumes.formats import read_label_map, read_volume
from volumes.phantom import make_phantom


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["propagate", *(str(argument) for argument in arguments)])


def test_key_slices_come_back_byte_for_byte_on_the_same_grid(case: Any, fake_propagator: Any) -> None:
    out = case.folder / "out.nii.gz"
    result = run("-i", case.ct, "-k", case.keys, "-o", out)
    assert result.exit_code == 0, result.stderr
    given, got, ct = (sitk.ReadImage(str(path)) for path in (case.keys, out, case.ct))
    assert got.GetPixelID() == sitk.sitkUInt8
    for grid in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(got, grid)() == getattr(ct, grid)()
    keys, labels = sitk.GetArrayFromImage(given), sitk.GetArrayFromImage(got)
    for z in (2, 6):
        assert labels[z].tobytes() == keys[z].tobytes()
    assert labels[4].any()
    assert "2 structures on 9 slices from 2 key slices" in result.stdout


def test_key_slices_option_says_which_count(case: Any, fake_propagator: Any) -> None:
    assert (
        run("-i", case.ct, "-k", case.keys, "-o", case.folder / "o.nii.gz", "--key-slices", "6").exit_code
        == 0
    )
    keys = fake_propagator.calls[0]["key_slices"]
    assert keys.slices() == [6]
    assert keys.speaks_for(6) == {1, 7}


def test_complete_makes_missing_labels_absent(case: Any, fake_propagator: Any) -> None:
    out = case.folder / "o.nii.gz"
    assert run("-i", case.ct, "-k", case.keys, "-o", out, "--complete").exit_code == 0
    assert run("-i", case.ct, "-k", case.keys, "-o", out, "--overwrite").exit_code == 0
    complete, plain = (call["key_slices"] for call in fake_propagator.calls)
    assert complete.speaks_for(2) == {1, 7}
    assert plain.speaks_for(2) == {1}


def test_extents_by_name_and_number(case: Any, fake_propagator: Any) -> None:
    marks = case.folder / "marks.json"
    marks.write_text('{"liver": [1, 7], "7": [5, 8], "spleen": [0, 3]}')
    result = run(
        *("-i", case.ct, "-k", case.keys, "-o", case.folder / "o.nii.gz"),
        *("--extents", marks, "--labels", "flare22"),
    )
    assert result.exit_code == 0, result.stderr
    assert fake_propagator.calls[0]["extents"] == {1: (1, 7), 7: (5, 8), 3: (0, 3)}
    assert "spleen" in result.stdout  # a warning: no key slice shows it


def test_report_says_what_was_done(case: Any, fake_propagator: Any) -> None:
    report = case.folder / "report.json"
    out = case.folder / "out.nii.gz"
    result = run(
        "-i",
        case.ct,
        "-k",
        case.keys,
        "-o",
        out,
        "--report",
        report,
        "--labels",
        "flare22",
        "--device",
        "cpu",
    )
    assert result.exit_code == 0, result.stderr
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["device"] == "cpu"
    assert found["versions"]["torch"]
    assert found["input"] == str(case.ct)
    assert found["output"] == str(out)
    assert found["key_slices"] == [2, 6]
    assert {"load_network", "read", "propagate", "write", "total"} <= found["seconds"].keys()
    assert found["seconds"]["total"] == pytest.approx(
        sum(value for name, value in found["seconds"].items() if name != "total"), abs=0.01
    )
    assert found["peak_memory"]["resident_bytes"] > 10_000_000
    liver = found["labels"]["liver"]
    assert liver["value"] == 1
    assert liver["slices"] == [0, 8]
    assert liver["key_slices"] == [2, 6]
    assert len(liver["confidence"]["per_slice"]) == 9
    assert liver["confidence"]["lowest"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["settings"]["model"] == "small"


def test_montage_on_request(case: Any, fake_propagator: Any) -> None:
    picture = case.folder / "montage.png"
    assert (
        run("-i", case.ct, "-k", case.keys, "-o", case.folder / "o.nii.gz", "--montage", picture).exit_code
        == 0
    )
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_quiet_says_nothing(case: Any, fake_propagator: Any) -> None:
    result = run("-i", case.ct, "-k", case.keys, "-o", case.folder / "o.nii.gz", "--quiet")
    assert result.exit_code == 0
    assert result.stdout == result.stderr == ""


def test_label_names_reach_the_file(case: Any, fake_propagator: Any) -> None:
    out = case.folder / "out.seg.nrrd"
    assert run("-i", case.ct, "-k", case.keys, "-o", out, "--labels", "flare22").exit_code == 0
    assert read_label_map(out).table.by_name("liver").value == 1


def test_folders_are_matched_by_case_name(
    folders: tuple[Path, Path, Path], fake_propagator: Any, results: Any
) -> None:
    cts, keys, out = folders
    result = run("-i", cts, "-k", keys, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert results(out) == ["A.nii.gz", "B.seg.nrrd", "C.mha"]
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert list(report["cases"]) == ["A", "B", "C"]
    assert report["failed"] == {}


def test_in_a_folder_run_the_other_cases_go_on(
    folders: tuple[Path, Path, Path], fake_propagator: Any, results: Any
) -> None:
    cts, keys, out = folders
    (cts / "B.nrrd").write_bytes(b"not an image")
    (keys / "D.nii.gz").write_bytes((keys / "A.nii.gz").read_bytes())
    result = run("-i", cts, "-k", keys, "-o", out)
    assert result.exit_code == 1
    assert results(out) == ["A.nii.gz", "C.mha"]
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert sorted(report["cases"]) == ["A", "C"]
    assert sorted(report["failed"]) == ["B", "D"]
    assert len(result.stderr.strip().splitlines()) == 2
    assert "B.nrrd" in result.stderr


def test_a_second_folder_run_keeps_what_is_there(
    folders: tuple[Path, Path, Path], fake_propagator: Any
) -> None:
    cts, keys, out = folders
    assert run("-i", cts, "-k", keys, "-o", out).exit_code == 0
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()}
    (out / "B.seg.nrrd").unlink()
    again = run("-i", cts, "-k", keys, "-o", out)
    assert again.exit_code == 0, again.stderr
    assert "2 done before, 1 to do" in again.stdout
    for name in ("A.nii.gz", "C.mha"):
        assert (out / name).stat().st_mtime_ns == before[name]
    assert (out / "B.seg.nrrd").exists()
    assert len(fake_propagator.calls) == 4
    assert run("-i", cts, "-k", keys, "-o", out, "--overwrite").exit_code == 0
    assert len(fake_propagator.calls) == 7


def test_memory_that_runs_out_in_one_case_fails_that_case(
    folders: tuple[Path, Path, Path], fake_propagator: Any
) -> None:
    cts, keys, out = folders
    fake_propagator.fail_with = MemoryError()
    result = run("-i", cts, "-k", keys, "-o", out)
    assert result.exit_code == 1
    assert result.stderr.count("not enough memory") == 3


def test_case_names_that_end_like_a_channel(tmp_path: Path) -> None:
    cts, keys = tmp_path / "cts", tmp_path / "keys"
    for folder, names in ((cts, ("P_0000.nii", "Q_0000_0000.nii")), (keys, ("P_0000.nii", "Q_0000.nii"))):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    cases, failed = find_cases(cts, keys, tmp_path)
    assert [case.name for case in cases] == ["P_0000", "Q_0000"]
    assert failed == {}


def test_the_shipped_network_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("propagation_module.propagator")
    from propagation_module.checkpoints import shipped_weights
    from volumes.formats import write_label_map
    from volumes.label_map import LabelMap

    if shipped_weights("small") is None:
        pytest.skip("no weights ship yet")
    phantom = make_phantom(5, shape=(12, 64, 64), spacing=(5.0, 6.0, 6.0))
    truth = phantom.labels
    image = sitk.GetImageFromArray(phantom.volume.geometry.to_file(phantom.volume.array))
    image.SetSpacing(phantom.volume.geometry.spacing_xyz)
    sitk.WriteImage(image, str(tmp_path / "ct.nii.gz"))
    volume = read_volume(tmp_path / "ct.nii.gz")
    sparse = np.zeros_like(truth.array)
    sparse[[3, 8]] = truth.array[[3, 8]]
    keys = LabelMap(sparse, volume.geometry, truth.table, "keys")
    write_label_map(keys, tmp_path / "keys.nii.gz")
    out = tmp_path / "out.nii.gz"
    result = run("-i", tmp_path / "ct.nii.gz", "-k", tmp_path / "keys.nii.gz", "-o", out, "--complete")
    assert result.exit_code == 0, result.stderr
    labels = read_label_map(out, like=volume).array
    for z in (3, 8):
        assert labels[z].tobytes() == sparse[z].tobytes()
    assert labels[5].any()
