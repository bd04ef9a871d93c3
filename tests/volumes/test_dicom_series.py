"""A DICOM series from a folder or a zip, and what is refused."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from volumes import InputError, LabelMap, LabelTable, read_volume, write_label_map


def zipped(folder: Path, target: Path, inside: str = "study/series") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{inside}/{file.name}")
    return target


def refused(capfd, path: Path) -> str:
    capfd.readouterr()
    with pytest.raises(InputError) as caught:
        read_volume(path)
    output = capfd.readouterr()
    assert output.out == "" and output.err == ""
    assert str(caught.value).startswith(f"{path}: found ") and "\n" not in str(caught.value)
    return caught.value.found


def test_folder_and_zip_give_the_same_volume(dicom_series, tmp_path, grid_in_file) -> None:
    folder = dicom_series()
    volume = read_volume(folder)
    assert volume.shape == (6, 6, 7)
    assert volume.spacing == pytest.approx((2.5, 0.75, 0.8))
    assert volume.array[:, 0, 0].tolist() == [-1000, -900, -800, -700, -600, -500]  # rising, in HU
    assert volume.geometry.position_of(0, 0, 0) == pytest.approx((-50, 20, 10))
    assert volume.name == "series"

    packed = read_volume(zipped(folder, tmp_path / "case.zip"))
    np.testing.assert_array_equal(packed.array, volume.array)
    assert packed.geometry == volume.geometry and packed.name == "case"

    labels = LabelMap((volume.array > -800).astype(np.uint8), volume.geometry, LabelTable.default([1]))
    assert write_label_map(labels, tmp_path / "out.mha") == 0.0
    written = sitk.ReadImage(str(tmp_path / "out.mha"))
    assert written.GetSpacing() == volume.geometry.spacing_xyz


def test_other_files_in_the_folder_are_passed_over(dicom_series) -> None:
    folder = dicom_series()
    (folder / "readme.txt").write_text("hello")
    (folder / "DICOMDIR").write_bytes(b"\0" * 200)
    (folder / "report.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 64)
    assert read_volume(folder).shape == (6, 6, 7)


def test_two_series(dicom_series, capfd) -> None:
    dicom_series()
    folder = dicom_series(uid="1.2.826.0.1.3680043.8.498.2")
    assert refused(capfd, folder).startswith("2 series")


def test_two_series_in_subfolders(dicom_series, tmp_path, capfd) -> None:
    dicom_series("study/one")
    dicom_series("study/two", uid="1.2.826.0.1.3680043.8.498.2")
    assert refused(capfd, tmp_path / "study").startswith("2 series")


def test_missing_slice(dicom_series, tmp_path, capfd) -> None:
    folder = dicom_series()
    (folder / "1_004.dcm").unlink()
    assert "a gap of 5.00 mm after 12.50 mm" in refused(capfd, folder)
    assert "a gap of 5.00 mm" in refused(capfd, zipped(folder, tmp_path / "case.zip"))


def test_uneven_slices(dicom_series, capfd) -> None:
    assert "apart" in refused(capfd, dicom_series(heights=(10.0, 12.5, 15.4, 17.5, 20.0)))


def test_the_same_slice_twice(dicom_series, capfd) -> None:
    assert "same place" in refused(capfd, dicom_series(heights=(10.0, 12.5, 12.5, 15.0, 17.5)))


def test_tilted_gantry(dicom_series, capfd) -> None:
    assert "tilted gantry" in refused(capfd, dicom_series(shear=0.3))


def test_slices_of_two_sizes(dicom_series, tmp_path, capfd) -> None:
    dicom_series("study/one", heights=(10.0, 12.5))
    dicom_series("study/two", heights=(15.0, 17.5, 20.0), shape=(8, 8))
    assert "another matrix" in refused(capfd, tmp_path / "study")


def test_absurd_pixel_spacing(dicom_series, capfd) -> None:
    refused(capfd, dicom_series(pixel="400\\400"))


def test_colour(dicom_series, capfd) -> None:
    assert "colour" in refused(capfd, dicom_series(components=3))


def test_one_slice(dicom_series, capfd) -> None:
    assert refused(capfd, dicom_series(heights=(10.0,))) == "one slice"


def test_one_file_of_a_series(dicom_series, capfd) -> None:
    assert "one DICOM file" in refused(capfd, dicom_series() / "1_001.dcm")


def test_truncated_slice(dicom_series, capfd) -> None:
    folder = dicom_series()
    file = folder / "1_003.dcm"
    file.write_bytes(file.read_bytes()[:-20])
    refused(capfd, folder)


def test_no_dicom(tmp_path, capfd) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    assert "no DICOM" in refused(capfd, folder)
    (folder / "notes.txt").write_text("nothing")
    assert "no DICOM" in refused(capfd, folder)
    assert "no DICOM" in refused(capfd, zipped(folder, tmp_path / "notes.zip"))


def test_damaged_zip(dicom_series, tmp_path, capfd) -> None:
    path = zipped(dicom_series(), tmp_path / "case.zip")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "damaged zip" in refused(capfd, path)
    path.write_text("not a zip")
    assert "damaged zip" in refused(capfd, path)


@pytest.mark.parametrize(
    "name", ["../evil.dcm", "/evil.dcm", "a/../../evil.dcm", "..\\evil.dcm", "C:\\evil.dcm"]
)
def test_zip_entries_that_lead_out_are_refused(name, tmp_path, capfd) -> None:
    path = tmp_path / "inside" / "case.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "x")
    assert "leads out of the folder" in refused(capfd, path)
    assert not list(tmp_path.rglob("evil*"))


def test_zip_with_a_symbolic_link(tmp_path, capfd) -> None:
    path = tmp_path / "case.zip"
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc")
    assert "leads out of the folder" in refused(capfd, path)


def test_zip_larger_than_the_disk(dicom_series, tmp_path, capfd, monkeypatch) -> None:
    path = zipped(dicom_series(), tmp_path / "case.zip")
    monkeypatch.setattr("volumes.dicom.archives.shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    assert "GB of content" in refused(capfd, path)
