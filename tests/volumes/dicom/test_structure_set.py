"""RTSTRUCT: what Keyslice writes and reads back, and contours as other programs write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter

from tests.volumes.dicom.orders import OBLIQUE, STRAIGHT, different_values
from volumes import LabelMap, LabelTable, Volume, read_label_map, read_volume, write_label_map

ORGANS = (6, 40, 44)


def organs(volume: Volume) -> LabelMap:
    """Three smooth structures with holes, islands and pixels that touch at corners."""
    rng = np.random.default_rng(5)
    array = np.zeros(volume.shape, np.uint8)
    for label in (1, 2, 3):
        noise = gaussian_filter(rng.random(volume.shape), (1, 2.5, 2.5))
        array[noise > np.quantile(noise, 0.8)] = label
    return LabelMap(array, volume.geometry, LabelTable.default([1, 2, 3]), volume.name, volume.source)


def points_of(path: Any) -> list[tuple[int, str, np.ndarray]]:
    """Number of the region, SOP instance and points (N, 3) in mm of every contour."""
    return [
        (
            int(region.ReferencedROINumber),
            str(contour.ContourImageSequence[0].ReferencedSOPInstanceUID),
            np.asarray(contour.ContourData, dtype=float).reshape(-1, 3),
        )
        for region in pydicom.dcmread(path).ROIContourSequence
        for contour in region.ContourSequence
    ]


@pytest.mark.parametrize(("row", "column", "reverse"), [*STRAIGHT[::5], *OBLIQUE])
def test_voxels_come_back_in_every_order(row, column, reverse, series, labels_of, tmp_path) -> None:
    volume = read_volume(series.classic(different_values((3, 4, 5)), row=row, column=column, reverse=reverse))
    labels = labels_of(volume)
    write_label_map(labels, tmp_path / "rtstruct.dcm")
    again = read_label_map(tmp_path / "rtstruct.dcm", like=volume)
    np.testing.assert_array_equal(again.array, labels.array)
    assert again.table == labels.table.__class__(again.table.values()) and again.notes == ()


def test_contours_are_half_a_pixel_from_the_voxels_of_the_slice_that_they_name(series, tmp_path) -> None:
    folder = series.classic(np.zeros(ORGANS, np.int16), row=OBLIQUE[0][0], column=OBLIQUE[0][1])
    volume = read_volume(folder)
    labels = organs(volume)
    write_label_map(labels, tmp_path / "organs.rtstruct.dcm")
    headers = {str(one.SOPInstanceUID): one for one in (pydicom.dcmread(file) for file in folder.iterdir())}
    in_files = labels.geometry.to_file(labels.array)
    contours = points_of(tmp_path / "organs.rtstruct.dcm")
    assert {number for number, _, _ in contours} == {1, 2, 3}
    for number, instance, points in contours:
        header = headers[instance]
        along_row, along_column = np.reshape(np.asarray(header.ImageOrientationPatient, float), (2, 3))
        offset = points - np.asarray(header.ImagePositionPatient, float)
        assert np.abs(offset @ np.cross(along_row, along_column)).max() < 1e-3  # on the slice
        rows, columns = offset @ along_column / header.PixelSpacing[0], offset @ along_row / header.PixelSpacing[1]
        mask = np.pad(in_files[int(header.InstanceNumber) - 1] == number, 1)
        off_border = np.minimum(np.abs(rows % 1 - 0.5), np.abs(columns % 1 - 0.5))
        assert off_border.max() < 1e-3
        for centres in (np.argwhere(mask) - 1, np.argwhere(~mask) - 1):  # it is the border of this structure
            nearest = np.hypot(rows[:, None] - centres[:, 0], columns[:, None] - centres[:, 1]).min(axis=1)
            assert nearest.max() <= np.sqrt(0.5) + 1e-3


def test_contours_of_an_ellipsoid_come_back_within_half_a_pixel(series, tmp_path) -> None:
    """Contours drawn by hand, as it were: not along pixels. The voxels' border is where they were drawn."""
    volume = read_volume(series.classic(np.zeros(ORGANS, np.int16)))
    write_label_map(organs(volume), tmp_path / "rtstruct.dcm")
    dataset = pydicom.dcmread(tmp_path / "rtstruct.dcm")
    region = dataset.ROIContourSequence[0]
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    centre, radii = np.array([22.4, 19.7]), np.array([15.3, 11.8])  # columns, rows
    ellipse = np.column_stack([np.cos(angles), np.sin(angles)]) * radii + centre
    contours = []
    for z in range(1, 5):
        x, y, height = volume.source.positions[z]
        mm = np.column_stack([x + ellipse[:, 0] * 0.8, y + ellipse[:, 1] * 0.75, np.full(len(ellipse), height)])
        contours.append(_contour(mm))
    region.ContourSequence = contours
    dataset.ROIContourSequence = [region]
    dataset.save_as(tmp_path / "drawn.dcm")
    mask = read_label_map(tmp_path / "drawn.dcm", like=volume).array > 0
    assert not mask[0].any() and not mask[5].any()
    for plane in mask[1:5]:
        border = (distance_transform_edt(plane) == 1) | (distance_transform_edt(~plane) == 1)
        for r, c in np.argwhere(border):
            level = np.hypot((c - centre[0]) / radii[0], (r - centre[1]) / radii[1])
            assert plane[r, c] == (level <= 1) or abs(level - 1) < 1e-3
            distance = np.hypot(*(ellipse - (c, r)).T).min()
            assert distance <= 1.0 + 0.05  # a border's pixels lie on both sides: half a pixel from their border


def test_an_outline_longer_than_64_kilobytes(series, tmp_path) -> None:
    """As long as a value with an explicit representation can be; a structure with many holes has such an outline."""
    volume = read_volume(series.classic(np.zeros((2, 61, 61), np.int16)))
    array = np.zeros(volume.shape, np.uint8)
    array[0] = 1
    array[0, 1::2, 1::2] = 0
    labels = LabelMap(array, volume.geometry, LabelTable.default([1]), "sieve", volume.source)
    path = tmp_path / "rtstruct.dcm"
    write_label_map(labels, path)
    (contour,) = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    assert len("\\".join(map(str, contour.ContourData))) > 1 << 16
    np.testing.assert_array_equal(read_label_map(path, like=volume).array, array)


def test_separate_inner_contours_are_holes(volume, tmp_path) -> None:
    path = _drawn(
        volume,
        tmp_path,
        [[(0.6, 0.6), (0.6, 4.4), (5.4, 4.4), (5.4, 0.6)], [(1.6, 1.6), (1.6, 3.4), (3.4, 3.4), (3.4, 1.6)]],
    )
    array = read_label_map(path, like=volume).array[2]
    assert array[1, 1] == array[4, 5] == array[2, 5] == 1
    assert not array[2:4, 2:4].any() and array[0, 0] == 0


def test_points_and_open_lines_are_left_out_and_told(volume, tmp_path) -> None:
    path = _drawn(volume, tmp_path, [[(0.6, 0.6), (0.6, 4.4), (5.4, 4.4), (5.4, 0.6)]])
    dataset = pydicom.dcmread(path)
    second = pydicom.Dataset()
    second.ROINumber, second.ROIName = 2, "isocentre"
    second.ReferencedFrameOfReferenceUID = dataset.FrameOfReferenceUID
    dataset.StructureSetROISequence.append(second)
    point = _contour(np.asarray([volume.source.positions[1]]))
    point.ContourGeometricType = "POINT"
    drawn = pydicom.Dataset()
    drawn.ReferencedROINumber, drawn.ContourSequence = 2, [point]
    dataset.ROIContourSequence.append(drawn)
    dataset.save_as(path)
    found = read_label_map(path, like=volume)
    assert list(found.table) == [1] and found.notes == ("without closed contours and left out: isocentre",)


def test_a_volume_that_is_no_dicom_takes_contours_by_position(volume, labels_of, tmp_path) -> None:
    labels = labels_of(volume)
    write_label_map(labels, tmp_path / "rtstruct.dcm")
    elsewhere = Volume(volume.array, volume.geometry, "ct.nii.gz")
    np.testing.assert_array_equal(read_label_map(tmp_path / "rtstruct.dcm", like=elsewhere).array, labels.array)


def test_enhanced_ct_is_referred_to_by_frames(series, labels_of, tmp_path) -> None:
    volume = read_volume(series.enhanced(order=[3, 0, 4, 2, 1]))
    labels = labels_of(volume)
    write_label_map(labels, tmp_path / "rtstruct.dcm")
    np.testing.assert_array_equal(read_label_map(tmp_path / "rtstruct.dcm", like=volume).array, labels.array)
    contour = pydicom.dcmread(tmp_path / "rtstruct.dcm").ROIContourSequence[0].ContourSequence[0]
    image = contour.ContourImageSequence[0]
    z = volume.source.positions.index(tuple(float(v) for v in _first_on_slice(contour, volume)))
    assert image.ReferencedFrameNumber == [2, 5, 4, 1, 3][z]


def _first_on_slice(contour: Any, volume: Volume) -> tuple[float, ...]:
    height = float(contour.ContourData[2])
    return next(position for position in volume.source.positions if abs(position[2] - height) < 1e-3)


def _contour(points: np.ndarray) -> Any:
    item = pydicom.Dataset()
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(points)
    item.ContourData = [f"{value:.4f}" for value in points.ravel()]
    return item


def _drawn(volume: Volume, folder: Any, contours: list[list[tuple[float, float]]]) -> Any:
    """A structure set of one region with contours on slice 2, in (column, row)."""
    one = np.zeros(volume.shape, np.uint8)
    one[2, 2, 2] = 1
    path = folder / "drawn.rtstruct.dcm"
    write_label_map(LabelMap(one, volume.geometry, LabelTable.default([1]), "one", volume.source), path)
    dataset = pydicom.dcmread(path)
    x, y, height = volume.source.positions[2]
    dataset.ROIContourSequence[0].ContourSequence = [
        _contour(np.array([(x + column * 0.8, y + row * 0.75, height) for column, row in contour]))
        for contour in contours
    ]
    dataset.save_as(path)
    return path
