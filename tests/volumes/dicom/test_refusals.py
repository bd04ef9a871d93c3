"""Wrong inputs end in one line, and nothing is left behind."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.volumes.dicom.orders import different_values
from volumes import InputError, LabelMap, LabelTable, Volume, read_label_map, read_volume, write_label_map

ENDINGS = pytest.mark.parametrize("ending", ["seg.dcm", "rtstruct.dcm"])


def refused(path: Path, like: Volume | None, table: LabelTable | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        read_label_map(path, like=like, table=table)
    assert str(caught.value).startswith(f"{path}: found ") and "\n" not in str(caught.value)
    return caught.value


@pytest.fixture(params=["seg.dcm", "rtstruct.dcm"])
def written(request, volume, labels_of, tmp_path) -> Path:
    path = tmp_path / f"labels.{request.param}"
    write_label_map(labels_of(volume), path)
    return path


def test_labels_of_another_series(written, series) -> None:
    other = read_volume(series.classic(folder="other"))
    assert "another series" in refused(written, other).found


def test_labels_of_another_frame_of_reference(written, series) -> None:
    series.frame_of_reference = pydicom.uid.generate_uid()
    other = read_volume(series.classic(folder="other"))
    assert "another frame of reference" in refused(written, other).found


def test_labels_on_another_grid(written, series, volume) -> None:
    """Where no series tells, the places of frames and contours do."""
    finer = read_volume(series.classic(spacing=(2.0, 0.75, 0.8), folder="finer"))
    error = refused(written, Volume(finer.array, finer.geometry, "finer"))
    assert "another grid" in error.found or "off the slices" in error.found
    shorter = read_volume(series.classic(different_values((3, 6, 7)), folder="shorter"))
    error = refused(written, Volume(shorter.array, shorter.geometry, "shorter"))
    assert "another grid" in error.found or "beyond the slices" in error.found


def test_a_segmentation_half_a_pixel_off(volume, labels_of, tmp_path) -> None:
    path = tmp_path / "labels.seg.dcm"
    write_label_map(labels_of(volume), path)
    dataset = pydicom.dcmread(path)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.PlanePositionSequence[0].ImagePositionPatient[0] += 0.4
    dataset.save_as(path)
    assert "another grid" in refused(path, volume).found


def test_fractional_segments(volume, labels_of, tmp_path) -> None:
    path = tmp_path / "labels.seg.dcm"
    write_label_map(labels_of(volume), path)
    dataset = pydicom.dcmread(path)
    dataset.SegmentationType = "FRACTIONAL"
    dataset.save_as(path)
    assert "fractional" in refused(path, volume).found


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short(written, volume, share) -> None:
    content = written.read_bytes()
    written.write_bytes(content[: int(len(content) * share)])
    assert "cut short" in refused(written, volume).found


def test_a_deflated_file_is_read_unless_it_may_not_fit_into_memory(written, volume, monkeypatch) -> None:
    before = read_label_map(written, like=volume)
    dataset = pydicom.dcmread(written)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(written, implicit_vr=False, little_endian=True)
    np.testing.assert_array_equal(read_label_map(written, like=volume).array, before.array)
    monkeypatch.setattr("volumes.dicom.reading._DEFLATED_BYTES", 100)
    assert "deflated" in refused(written, volume).found


def test_what_is_no_dicom(tmp_path, volume) -> None:
    path = tmp_path / "notes.dcm"
    path.write_text("hello")
    assert "no DICOM" in refused(path, volume).found
    path.write_bytes(b"\0" * 128 + b"DICM")
    refused(path, volume)
    (tmp_path / "empty.dcm").touch()
    refused(tmp_path / "empty.dcm", volume)


def test_a_slice_of_the_ct_instead_of_labels(tmp_path, volume) -> None:
    assert "another kind (CT Image Storage)" in refused(tmp_path / "ct" / "0001.dcm", volume).found


def test_labels_without_a_volume(written) -> None:
    assert "without the CT" in refused(written, None).found


def test_no_structure_of_the_table(written, volume) -> None:
    error = refused(written, volume, LabelTable.read("head_neck"))
    assert "no structure of head_neck" in error.found


def test_a_structure_set_without_contours(volume, labels_of, tmp_path) -> None:
    path = tmp_path / "rtstruct.dcm"
    write_label_map(labels_of(volume), path)
    dataset = pydicom.dcmread(path)
    del dataset.ROIContourSequence
    dataset.save_as(path)
    assert refused(path, volume).found == "no closed contour"


def test_contours_between_slices(volume, labels_of, tmp_path) -> None:
    path = tmp_path / "rtstruct.dcm"
    write_label_map(labels_of(volume), path)
    dataset = pydicom.dcmread(path)
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    points = np.asarray(contour.ContourData, float).reshape(-1, 3) + (0, 0, 1.2)
    contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
    dataset.save_as(path)
    assert "0.48 of a slice off the slices" in refused(path, volume).found


@ENDINGS
def test_writing_for_a_volume_that_is_no_series(ending, volume, labels_of, tmp_path) -> None:
    labels = labels_of(volume)
    plain = LabelMap(labels.array, labels.geometry, labels.table, "plain")
    with pytest.raises(InputError, match="no DICOM series"):
        write_label_map(plain, tmp_path / f"out.{ending}")
    assert not list(tmp_path.glob("*out*")) and not list(tmp_path.glob(".keyslice*"))


@ENDINGS
def test_writing_no_label(ending, volume, tmp_path) -> None:
    nothing = LabelMap(
        np.zeros(volume.shape, np.uint8), volume.geometry, LabelTable.default([1]), "none", volume.source
    )
    with pytest.raises(InputError, match="no label"):
        write_label_map(nothing, tmp_path / f"out.{ending}")
    assert not list(tmp_path.glob("*out*"))


@ENDINGS
def test_a_series_without_a_frame_of_reference(ending, series, labels_of, tmp_path) -> None:
    volume = read_volume(series.classic(FrameOfReferenceUID="", folder="without"))
    with pytest.raises(InputError, match="without one Frame of Reference UID"):
        write_label_map(labels_of(volume), tmp_path / f"out.{ending}")


@ENDINGS
def test_a_full_disk_leaves_what_was_there(ending, volume, labels_of, tmp_path, monkeypatch) -> None:
    path = tmp_path / f"out.{ending}"
    path.write_bytes(b"before")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pydicom.Dataset, "save_as", full)
    with pytest.raises(InputError, match="No space left"):
        write_label_map(labels_of(volume), path, overwrite=True)
    assert path.read_bytes() == b"before" and not list(tmp_path.glob(".keyslice*"))


@ENDINGS
def test_without_the_extra_one_line_says_what_to_install(ending, volume, labels_of, tmp_path, monkeypatch) -> None:
    path = tmp_path / f"out.{ending}"
    labels = labels_of(volume)
    write_label_map(labels, path)
    real = builtins.__import__

    def without(name: str, *arguments: object, **options: object) -> object:
        if name.partition(".")[0] in ("pydicom", "highdicom"):
            raise ImportError(name)
        return real(name, *arguments, **options)  # type: ignore[arg-type]

    for name in [one for one in sys.modules if one.partition(".")[0] in ("pydicom", "highdicom")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("volumes.dicom.extra.import_module", without)
    for act in (lambda: read_label_map(path, like=volume), lambda: write_label_map(labels, tmp_path / f"b.{ending}")):
        with pytest.raises(InputError, match=r"pip install 'keyslice\[dicom\]'"):
            act()
