"""Label files appear whole or not at all, with names and colours in them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from volumes import Geometry, InputError, LabelMap, LabelTable, read_label_map, write_label_map
from volumes.formats import check_output

FORMATS = (".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha")


@pytest.fixture
def labels() -> LabelMap:
    array = np.zeros((6, 7, 8), np.uint8)
    array[1:4, 2:5, 3:7] = 1
    array[4, 1, 2] = 10
    array[5, 6, 7] = 200  # in no table
    return LabelMap(array, Geometry.axial((6, 7, 8), (2.5, 0.75, 0.8)), LabelTable.read("flare22"))


@pytest.mark.parametrize("suffix", FORMATS)
def test_names_and_colours_travel_in_the_file(suffix, labels, tmp_path) -> None:
    path = tmp_path / ("out" + suffix)
    write_label_map(labels, path)
    back = read_label_map(path)
    np.testing.assert_array_equal(back.array, labels.array)
    assert [back.table[value].name for value in (1, 10, 13, 200)] == [
        "liver",
        "esophagus",
        "left_kidney",
        "label_200",
    ]
    assert all(back.table[value].color == labels.table[value].color for value in labels.table)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_names_in_any_script(suffix, labels, tmp_path) -> None:
    table = LabelTable.read("flare22")
    named = LabelTable(
        [*(table[v] for v in table if v != 1), type(table[1])(1, "Leber <ganz> & gut é", (1, 2, 3))]
    )
    write_label_map(LabelMap(labels.array, labels.geometry, named), tmp_path / ("out" + suffix))
    assert read_label_map(tmp_path / ("out" + suffix)).table[1].name == "Leber <ganz> & gut é"


def test_slicer_keys(labels, tmp_path) -> None:
    write_label_map(labels, tmp_path / "out.seg.nrrd")
    image = sitk.ReadImage(str(tmp_path / "out.seg.nrrd"))
    keys = {
        name: image.GetMetaData(f"Segment0_{name}")
        for name in ("Name", "LabelValue", "Layer", "Extent", "ID")
    }
    assert keys == {
        "Name": "liver",
        "LabelValue": "1",
        "Layer": "0",
        "Extent": "3 6 2 4 1 3",
        "ID": "Segment_1",
    }
    red, green, blue = (float(channel) for channel in image.GetMetaData("Segment0_Color").split())
    assert (red * 255, green * 255, blue * 255) == pytest.approx((181, 98, 66), abs=0.01)
    assert image.GetMetaData("Segment1_Extent") == "0 -1 0 -1 0 -1"  # in the table, not in the map


def test_a_table_given_wins_over_the_one_in_the_file(labels, tmp_path) -> None:
    write_label_map(labels, tmp_path / "out.nrrd")
    table = LabelTable.default([1, 10])
    assert read_label_map(tmp_path / "out.nrrd", table=table).table[1].name == "label_1"


def test_a_file_without_names_gets_default_ones(labels, tmp_path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(labels.array), str(tmp_path / "plain.mha"))
    assert read_label_map(tmp_path / "plain.mha").table.names() == ("label_1", "label_10", "label_200")


def test_segments_in_layers_are_refused(labels, tmp_path) -> None:
    image = sitk.GetImageFromArray(labels.array)
    for index, layer in enumerate("01"):
        image.SetMetaData(f"Segment{index}_LabelValue", str(index + 1))
        image.SetMetaData(f"Segment{index}_Layer", layer)
    sitk.WriteImage(image, str(tmp_path / "out.seg.nrrd"))
    with pytest.raises(InputError, match="several layers"):
        read_label_map(tmp_path / "out.seg.nrrd")


def test_an_existing_file_is_kept_unless_told_otherwise(labels, tmp_path) -> None:
    path = tmp_path / "out.nii.gz"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match="--overwrite"):
        write_label_map(labels, path)
    assert path.read_bytes() == b"precious"
    write_label_map(labels, path, overwrite=True)
    np.testing.assert_array_equal(read_label_map(path).array, labels.array)


def test_permissions_are_those_of_a_new_file(labels, tmp_path) -> None:
    (tmp_path / "plain").touch()
    write_label_map(labels, tmp_path / "out.nii.gz")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "out.nii.gz")}
    assert len(modes) == 1


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_labels_give_the_same_bytes(suffix, labels, tmp_path) -> None:
    for name in ("a", "b"):
        write_label_map(labels, tmp_path / (name + suffix))
    assert (tmp_path / ("a" + suffix)).read_bytes() == (tmp_path / ("b" + suffix)).read_bytes()


@pytest.mark.parametrize(
    "name", ["out.png", "out", "out.mhd", "missing/out.nii.gz", "file/out.nii.gz", "folder.nrrd"]
)
def test_outputs_that_cannot_be(name, labels, tmp_path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.nrrd").mkdir()
    with pytest.raises(InputError) as caught:
        write_label_map(labels, tmp_path / name, overwrite=True)
    assert str(tmp_path / name) in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder.nrrd"]


def test_no_permission(labels, tmp_path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere: permissions cannot be tested")
        with pytest.raises(InputError, match="no permission"):
            write_label_map(labels, folder / "out.nii.gz")
    finally:
        folder.chmod(0o700)


def test_no_permission_as_the_system_tells_it(labels, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("volumes.formats.os.access", lambda folder, mode: False)
    with pytest.raises(InputError, match="no permission"):
        check_output(tmp_path / "out.nii.gz")


@pytest.mark.parametrize("suffix", FORMATS)
def test_full_disk_when_the_file_is_put_in_place(suffix, labels, tmp_path, monkeypatch) -> None:
    def full(*arguments) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("volumes.formats.os.replace", full)
    with pytest.raises(InputError, match="No space left on device.*free disk space"):
        write_label_map(labels, tmp_path / ("out" + suffix))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("limit", [0, 300, 4000])
def test_a_disk_that_takes_only_so_many_bytes(suffix, limit, tmp_path, capfd) -> None:
    resource = pytest.importorskip("resource", reason="no file size limit on this system")
    noise = np.random.default_rng(0).integers(0, 9, (20, 30, 40)).astype(np.uint8)
    labels = LabelMap(noise, Geometry.axial(noise.shape, (2.0, 1.0, 1.0)), LabelTable.read("flare22"))
    existing = tmp_path / ("out" + suffix)
    existing.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    capfd.readouterr()
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(InputError) as caught:
            write_label_map(labels, existing, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(existing) in str(caught.value) and "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == [existing.name]
    assert existing.read_bytes() == b"old"


def test_an_interrupt_leaves_nothing(labels, tmp_path, monkeypatch) -> None:
    def interrupted(*arguments) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("volumes.formats.os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_label_map(labels, tmp_path / "out.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_a_sheared_grid_fits_mha_but_not_nifti(labels, tmp_path: Path) -> None:
    direction = (1.0, 0.0, 0.0, 0.0, 1.0, 0.3, 0.0, 0.0, 0.9539392014169456)
    sheared = Geometry((8, 7, 6), (0.8, 0.75, 2.5), (0.0, 0.0, 0.0), direction)
    tilted = LabelMap(labels.array, sheared, labels.table)
    assert write_label_map(tilted, tmp_path / "out.mha") == 0.0
    with pytest.raises(InputError, match=r"\.nrrd or \.mha"):
        write_label_map(tilted, tmp_path / "out.nii.gz")
    assert [file.name for file in tmp_path.iterdir()] == ["out.mha"]
