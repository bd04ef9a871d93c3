"""File to volume to label file: voxels in their place, the grid bit for bit."""

from __future__ import annotations

import gzip
import struct
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from volumes import LabelMap, LabelTable, read_label_map, read_volume, write_label_map

FORMATS = (".nii.gz", ".nrrd", ".mha")
ORDERS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def direction_of(order) -> np.ndarray:
    matrix = np.zeros((3, 3))
    for axis, (physical, sign) in enumerate(zip(*order, strict=True)):
        matrix[physical, axis] = sign
    return matrix


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    matrix, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    return matrix * np.sign(np.diag(upper))


def label_copy(source: Path, target: Path) -> float:
    """Write labels derived from the voxels of `source` on its grid."""
    volume = read_volume(source)
    labels = LabelMap((volume.array & 7).astype(np.uint8), volume.geometry, LabelTable.default(range(1, 8)))
    return write_label_map(labels, target)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "order", ORDERS, ids=lambda o: "".join("xyz"[p] + "-+"[s > 0] for p, s in zip(*o, strict=True))
)
def test_all_48_axis_orders(order, suffix, tmp_path, ct_file, grid_in_file) -> None:
    direction = direction_of(order)
    array = np.random.default_rng(1).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    # The corner that lies furthest to the left, to the back and to the top.
    corner = [0 if direction[:, axis].sum() < 0 else size - 1 for axis, size in enumerate((6, 5, 4))]
    array[tuple(corner[::-1])] = 3000
    source = ct_file("ct" + suffix, array, spacing=(0.7, 1.1, 2.3), direction=tuple(direction.ravel()))

    volume = read_volume(source)
    assert np.argwhere(volume.array == 3000).tolist() == [[n - 1 for n in volume.shape]]
    image = sitk.ReadImage(str(source))
    np.testing.assert_allclose(
        volume.geometry.position_of(*(n - 1 for n in volume.shape)),
        image.TransformIndexToPhysicalPoint(corner),
        atol=1e-4,
    )

    target = tmp_path / ("labels" + suffix)
    assert label_copy(source, target) == 0.0
    assert grid_in_file(target) == grid_in_file(source)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(target))), array & 7)


@pytest.mark.parametrize("suffix", [*FORMATS, ".nii"])
def test_oblique_grids_come_back_bit_for_bit(suffix, tmp_path, ct_file, grid_in_file) -> None:
    rng = np.random.default_rng(7)
    for trial in range(25):
        source = ct_file(
            f"ct{trial}{suffix}",
            spacing=tuple(rng.uniform(0.4, 5, 3)),
            origin=tuple(rng.uniform(-300, 300, 3)),
            direction=tuple(random_rotation(rng).ravel()),
        )
        target = tmp_path / f"labels{trial}{suffix}"
        assert label_copy(source, target) == 0.0
        assert grid_in_file(target) == grid_in_file(source)


@pytest.mark.parametrize("source_suffix", [".nii.gz", ".nrrd", ".mha"])
def test_any_grid_goes_into_mha_bit_for_bit(source_suffix, tmp_path, ct_file, grid_in_file) -> None:
    rng = np.random.default_rng(8)
    source = ct_file("ct" + source_suffix, direction=tuple(random_rotation(rng).ravel()))
    assert label_copy(source, tmp_path / "labels.mha") == 0.0
    assert grid_in_file(tmp_path / "labels.mha") == grid_in_file(source)


@pytest.mark.parametrize("target_suffix", [".nii.gz", ".seg.nrrd"])
def test_across_formats_the_distance_is_told_and_negligible(target_suffix, tmp_path, ct_file) -> None:
    rng = np.random.default_rng(9)
    source = ct_file(
        "ct.mha", spacing=(0.9765625001, 1.1, 2.3), direction=tuple(random_rotation(rng).ravel())
    )
    target = tmp_path / ("labels" + target_suffix)
    assert label_copy(source, target) < 1e-4
    assert read_label_map(target, like=read_volume(source)).geometry == read_volume(source).geometry


@pytest.mark.parametrize("codes", [(1, 0), (0, 2), (1, 1), (0, 0)], ids=["qform", "sform", "both", "neither"])
@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
def test_nifti_headers_of_other_programs(codes, order, tmp_path, ct_file, grid_in_file) -> None:
    source = ct_file("ct.nii", direction=tuple(random_rotation(np.random.default_rng(3)).ravel()))
    content = bytearray(source.read_bytes())
    struct.pack_into("<2h", content, 252, *codes)
    struct.pack_into("<f", content, 280, struct.unpack_from("<f", content, 280)[0] * (1 + 3e-7))
    if order == ">":
        content = swapped(content)
    (tmp_path / "other.nii.gz").write_bytes(gzip.compress(bytes(content)))
    assert label_copy(tmp_path / "other.nii.gz", tmp_path / "labels.nii.gz") == 0.0
    assert grid_in_file(tmp_path / "labels.nii.gz") == grid_in_file(tmp_path / "other.nii.gz")


def swapped(content: bytearray) -> bytearray:
    """A little-endian int16 .nii in big-endian order."""
    result = bytearray(content)
    for offset, form in ((0, "i"), (32, "i"), (36, "h"), (40, "8h"), (56, "3f"), (68, "4h"), (76, "11f"),
                         (120, "h"), (124, "4f"), (140, "2i"), (252, "2h"), (256, "18f")):  # fmt: skip
        struct.pack_into(">" + form, result, offset, *struct.unpack_from("<" + form, content, offset))
    voxels = np.frombuffer(content, "<i2", offset=352)
    result[352:] = voxels.astype(">i2").tobytes()
    return result


@pytest.mark.parametrize("suffix", FORMATS)
def test_one_slice_is_a_volume(suffix, tmp_path, ct_file, grid_in_file) -> None:
    source = ct_file("ct" + suffix, np.arange(20, dtype=np.int16).reshape(1, 4, 5), spacing=(0.7, 1.1, 2.3))
    assert read_volume(source).shape == (1, 4, 5)
    target = tmp_path / ("labels" + suffix)
    label_copy(source, target)
    assert grid_in_file(source) == grid_in_file(target)


def test_a_fourth_axis_of_one_entry_is_no_obstacle(tmp_path, make_image) -> None:
    image = make_image(np.ones((3, 4, 5), np.int16))
    sitk.WriteImage(sitk.JoinSeries([image]), str(tmp_path / "ct.mha"))
    volume = read_volume(tmp_path / "ct.mha")
    assert volume.shape == (3, 4, 5)
    assert volume.geometry.spacing_xyz == image.GetSpacing()


def test_detached_headers_are_read(tmp_path, make_image) -> None:
    for name in ("ct.mhd", "ct.nhdr"):
        sitk.WriteImage(make_image(np.full((3, 4, 5), 40, np.int16)), str(tmp_path / name))
        assert (read_volume(tmp_path / name).array == 40).all()


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int32", "int64", "uint64", "float32", "float64"])
def test_voxel_types(kind, ct_file) -> None:
    array = np.arange(60).reshape(3, 4, 5).astype(kind)
    np.testing.assert_array_equal(read_volume(ct_file("ct.mha", array)).array, array)


def test_fractions_are_rounded_and_extremes_end_at_int16(ct_file) -> None:
    array = np.zeros((2, 2, 2), np.float32)
    array.ravel()[:5] = [10.4, 10.6, -0.6, 1e6, -100000]
    assert read_volume(ct_file("ct.mha", array)).array.ravel()[:5].tolist() == [10, 11, -1, 32767, -32768]
    whole = array.astype(np.int32)
    assert read_volume(ct_file("whole.mha", whole)).array.ravel()[3:5].tolist() == [32767, -32768]


def test_a_rescaled_nifti_is_in_hounsfield_units(tmp_path, ct_file) -> None:
    source = ct_file("ct.nii", np.full((3, 4, 5), 1064, np.int16))
    content = bytearray(source.read_bytes())
    struct.pack_into("<2f", content, 112, 1.0, -1024.0)
    source.write_bytes(content)
    assert (read_volume(source).array == 40).all()


def test_case_names(ct_file) -> None:
    assert read_volume(ct_file("patient.7.nii.gz")).name == "patient.7"
