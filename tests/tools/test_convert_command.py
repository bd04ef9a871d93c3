"""`keyslice convert`, and DICOM labels as key slices of `keyslice propagate`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pydicom = pytest.importorskip("pydicom", reason="DICOM labels need keyslice[dicom]")
pytest.importorskip("highdicom", reason="DICOM labels need keyslice[dicom]")

from tests.volumes.dicom.series_writer import SeriesWriter  # noqa: E402
from tools.cli import app  # noqa: E402
from volumes import Label, LabelMap, LabelTable, read_label_map, read_volume, write_label_map  # noqa: E402


def keyslice(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    return result.exit_code, result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`ct/` and `labels.nii.gz` with liver (1) and tumour (4)."""
    volume = read_volume(SeriesWriter(tmp_path).classic())
    array = np.zeros(volume.shape, np.uint8)
    array[1:4, 1:5, 1:6], array[2, 2:4, 2:4] = 1, 4
    table = LabelTable([Label(1, "liver", (181, 98, 66)), Label(4, "tumour", (255, 0, 0))])
    write_label_map(LabelMap(array, volume.geometry, table), tmp_path / "labels.nii.gz")
    return tmp_path


def test_there_and_back(folder) -> None:
    before = read_label_map(folder / "labels.nii.gz")
    for ending in ("seg.dcm", "rtstruct.dcm"):
        status, told = keyslice(
            "convert", folder / "labels.nii.gz", "--ct", folder / "ct", "-o", folder / f"a.{ending}"
        )
        assert status == 0 and "2 structures (liver, tumour)" in told
        status, _ = keyslice("convert", folder / f"a.{ending}", "--ct", folder / "ct", "-o", folder / "b.nii.gz")
        after = read_label_map(folder / "b.nii.gz")
        assert status == 0 and after.table.names() == ("liver", "tumour") and list(after.table) == [1, 4]
        np.testing.assert_array_equal(after.array, before.array)
        (folder / "b.nii.gz").unlink()


def test_who_drew_it_and_empty_frames(folder) -> None:
    options = ("--made", "manual", "--empty-frames", "--quiet")
    status, told = keyslice(
        "convert", folder / "labels.nii.gz", "--ct", folder / "ct", "-o", folder / "a.seg.dcm", *options
    )
    assert (status, told) == (0, "")
    dataset = pydicom.dcmread(folder / "a.seg.dcm")
    assert dataset.NumberOfFrames == 10
    assert {one.SegmentAlgorithmType for one in dataset.SegmentSequence} == {"MANUAL"}


def test_what_a_table_leaves_out_is_told(folder) -> None:
    keyslice("convert", folder / "labels.nii.gz", "--ct", folder / "ct", "-o", folder / "a.seg.dcm")
    command = ("convert", folder / "a.seg.dcm", "--ct", folder / "ct", "-o", folder / "b.nii.gz", "--labels", "flare22")
    status, told = keyslice(*command)
    assert status == 0 and "not in flare22 and left out: tumour" in told


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("labels.nii.gz", "--ct", "labels.nii.gz", "-o", "a.seg.dcm"), "no DICOM series"),
        (("labels.nii.gz", "--ct", "ct", "-o", "a.seg.dcm", "--made", "robot"), "an unknown word"),
        (("labels.nii.gz", "--ct", "ct", "-o", "a.doc"), "an output that ends in '.doc'"),
        (("labels.nii.gz", "--ct", "ct", "-o", "labels.nii.gz", "--overwrite"), "the input itself"),
        (("nothing.dcm", "--ct", "ct", "-o", "a.nii.gz"), "no such file"),
    ],
)
def test_wrong_inputs_end_in_one_line(folder, arguments, complaint, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    status, told = keyslice("convert", *arguments)
    assert status == 2 and complaint in told and told.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_key_slices_and_result_as_dicom(folder) -> None:
    keyslice("convert", folder / "labels.nii.gz", "--ct", folder / "ct", "-o", folder / "keys.seg.dcm")
    command = ("propagate", "-i", folder / "ct", "-k", folder / "keys.seg.dcm", "--key-slices", "2", "--quiet")
    status, told = keyslice(*command, "-o", folder / "out.rtstruct.dcm")
    assert (status, told) == (0, "")
    volume = read_volume(folder / "ct")
    given, found = (read_label_map(folder / name, like=volume) for name in ("keys.seg.dcm", "out.rtstruct.dcm"))
    np.testing.assert_array_equal(found.array[2], given.array[2])
    assert set(found.table.names()) == {"liver", "tumour"}


def test_dicom_out_is_refused_before_the_work(folder) -> None:
    keyslice("convert", folder / "labels.nii.gz", "--ct", folder / "ct", "-o", folder / "keys.seg.dcm")
    status, told = keyslice(
        "propagate", "-i", folder / "labels.nii.gz", "-k", folder / "keys.seg.dcm", "-o", folder / "out.seg.dcm"
    )
    assert status == 2 and "no DICOM series" in told and not (folder / "out.seg.dcm").exists()
