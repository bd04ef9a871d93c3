"""Every line of bad input ends in one line that says where, what, what instead, and what to do."""

from __future__ import annotations

import gzip
import pickle
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from volumes import Geometry, InputError, KeySlices, LabelMap, LabelTable, read_label_map, read_volume

FORMATS = (".nii", ".nii.gz", ".nrrd", ".mha")


def refused(capfd, reader, *arguments, **options) -> str:
    """The one line of the InputError; nothing else may have reached the terminal."""
    with pytest.raises(InputError) as caught:
        reader(*arguments, **options)
    output = capfd.readouterr()
    assert output.out == "" and output.err == ""
    error = caught.value
    line = str(error)
    assert "\n" not in line and len(line) < 500
    assert line == f"{error.where}: found {error.found}; expected {error.expected}; {error.fix}"
    return line


def test_the_error_survives_a_trip_between_processes() -> None:
    error = InputError("a.nii", found="x\ny", expected="z", fix="do")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == "a.nii: found x y; expected z; do"


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_truncated(suffix, kept, tmp_path, ct_file, capfd) -> None:
    array = np.random.default_rng(0).integers(-1000, 1000, (10, 20, 30)).astype(np.int16)
    path = ct_file("ct" + suffix, array)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert str(path) in refused(capfd, read_volume, path)


def test_compressed_data_with_a_wrong_byte(ct_file, capfd) -> None:
    path = ct_file("ct.nii.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 255  # in the checksum
    path.write_bytes(content)
    assert "damaged" in refused(capfd, read_volume, path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_image(suffix, tmp_path, capfd) -> None:
    path = tmp_path / ("notes" + suffix)
    path.write_text("not an image " * 100)
    refused(capfd, read_volume, path)


def test_a_format_that_is_none_of_ours(tmp_path, capfd) -> None:
    path = tmp_path / "ct.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    assert ".nii.gz" in refused(capfd, read_volume, path)


def test_missing(tmp_path, capfd) -> None:
    assert "no such file" in refused(capfd, read_volume, tmp_path / "ct.nii.gz")
    assert "no such file" in refused(capfd, read_label_map, tmp_path / "series.zip")


@pytest.mark.parametrize("suffix", FORMATS)
def test_four_axes(suffix, tmp_path, make_image, capfd) -> None:
    path = tmp_path / ("ct" + suffix)
    sitk.WriteImage(sitk.JoinSeries([make_image(np.ones((3, 4, 5), np.int16))] * 2), str(path))
    assert "4 axes (5 x 4 x 3 x 2)" in refused(capfd, read_volume, path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_colour(suffix, tmp_path, make_image, capfd) -> None:
    path = tmp_path / ("ct" + suffix)
    sitk.WriteImage(sitk.Compose([make_image(np.ones((3, 4, 5), np.uint8))] * 3), str(path))
    refused(capfd, read_volume, path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers(value, ct_file, capfd) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[1, 2, 3] = value
    path = ct_file("ct.nii.gz", array)
    assert "NaN or infinite" in refused(capfd, read_volume, path)
    assert "NaN or infinite" in refused(capfd, read_label_map, path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_one_row(suffix, ct_file, capfd) -> None:
    path = ct_file("ct" + suffix, np.zeros((1, 1, 5), np.int16))
    assert "5 x 1 x 1 voxels" in refused(capfd, read_volume, path)


def test_two_axes(tmp_path, capfd) -> None:
    sitk.WriteImage(sitk.Image(4, 5, sitk.sitkInt16), str(tmp_path / "ct.mha"))
    assert "one slice" in refused(capfd, read_volume, tmp_path / "ct.mha")


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), 101.0, 1e-4])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha"])
def test_absurd_spacing(suffix, step, ct_file, capfd) -> None:
    path = ct_file("ct" + suffix, spacing=(0.5, 0.75, 2.5))
    if suffix == ".mha":
        content = path.read_bytes().replace(
            b"ElementSpacing = 0.5 0.75 2.5", f"ElementSpacing = 0.5 0.75 {step}".encode()
        )
    else:
        plain = path.read_bytes() if suffix == ".nii" else gzip.decompress(path.read_bytes())
        head = bytearray(plain)
        struct.pack_into("<f", head, 88, step)
        content = bytes(head) if suffix == ".nii" else gzip.compress(bytes(head))
    path.write_bytes(content)
    assert "spacing" in refused(capfd, read_volume, path)


@pytest.mark.parametrize("vector", ["(0,0,0)", "(0,0,nan)", "(0,0,150)", "(0,0,1e-4)"])
def test_absurd_spacing_nrrd(vector, ct_file, capfd) -> None:
    path = ct_file("ct.nrrd", spacing=(1.0, 1.0, 2.0))
    path.write_bytes(path.read_bytes().replace(b"(0,0,2)", vector.encode()))
    refused(capfd, read_volume, path)


def test_directions_that_span_no_space(ct_file, capfd) -> None:
    path = ct_file("ct.mha")
    content = path.read_bytes()
    matrix = b"TransformMatrix = 1 0 0 0 1 0 0 0 1"
    path.write_bytes(content.replace(matrix, b"TransformMatrix = 1 0 0 1 0 0 0 0 1"))
    refused(capfd, read_volume, path)
    path.write_bytes(content.replace(matrix, b"TransformMatrix = 2 0 0 0 1 0 0 0 1"))
    assert "unit vectors" in refused(capfd, read_volume, path)


def test_an_origin_that_is_no_number(ct_file, capfd) -> None:
    path = ct_file("ct.mha", origin=(1.0, 2.0, 3.0))
    path.write_bytes(path.read_bytes().replace(b"Offset = 1 2 3", b"Offset = 1 nan 3"))
    assert "Offset" in refused(capfd, read_volume, path)


def test_sheared_nifti(ct_file, capfd) -> None:
    path = ct_file("ct.nii")
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 252, 0)  # no qform to fall back on
    struct.pack_into("<f", content, 284, 0.5)
    path.write_bytes(content)
    assert "right angles" in refused(capfd, read_volume, path)


@pytest.mark.parametrize("value", [0.5, -1, 256, 70000])
def test_labels_that_are_none(value, ct_file, capfd) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[1, 2, 3] = value
    assert f"the value {value:g}" in refused(capfd, read_label_map, ct_file("seg.nii.gz", array))


@pytest.mark.parametrize(
    "grid",
    [
        {"spacing": (0.8, 0.7, 2.6)},
        {"origin": (-120.5, 34.0, -410.0)},
        {"direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)},
    ],
    ids=lambda grid: next(iter(grid)),
)
def test_labels_of_another_grid(grid, ct_file, capfd) -> None:
    volume = read_volume(ct_file("ct.nii.gz"))
    labels = ct_file("seg.nii.gz", np.zeros((5, 6, 7), np.uint8), **grid)
    assert "mm off" in refused(capfd, read_label_map, labels, like=volume)


def test_labels_of_another_size(ct_file, capfd) -> None:
    volume = read_volume(ct_file("ct.nii.gz"))
    labels = ct_file("seg.nii.gz", np.zeros((5, 6, 8), np.uint8))
    assert "(5, 6, 8)" in refused(capfd, read_label_map, labels, like=volume)


def empty_labels() -> LabelMap:
    geometry = Geometry.axial((5, 6, 7), (2.0, 1.0, 1.0))
    return LabelMap(np.zeros((5, 6, 7), np.uint8), geometry, LabelTable(()), "keys.nii.gz")


def test_no_key_slice_at_all(capfd) -> None:
    assert "keys.nii.gz" in refused(capfd, KeySlices.from_label_map, empty_labels())
    assert "no labelled slice" in refused(capfd, KeySlices.from_label_map, empty_labels(), [])


@pytest.mark.parametrize("z", [-1, 5, 99])
def test_key_slices_out_of_range(z, capfd) -> None:
    labels = empty_labels()
    labels.array[2, 1, 1] = 1
    assert "0 to 4" in refused(capfd, KeySlices.from_label_map, labels, [2, z])


def test_a_key_slice_without_a_label(capfd) -> None:
    labels = empty_labels()
    labels.array[2, 1, 1] = 1
    assert "--complete" in refused(capfd, KeySlices.from_label_map, labels, [2, 3])
