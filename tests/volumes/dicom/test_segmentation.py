"""DICOM-SEG: what Keyslice writes, as highdicom reads it, and back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest

from tests.volumes.dicom.orders import OBLIQUE, STRAIGHT, different_values
from volumes import Label, LabelMap, LabelTable, Volume, read_label_map, read_volume, write_label_map
from volumes.dicom.equipment import DicomOptions


def seen_by_highdicom(path: Path) -> dict[str, np.ndarray]:
    """Labels (rows, columns) by the SOP Instance UID of the source slice, numbered as the segments are."""
    segmentation = highdicom.seg.segread(path)
    instances = [str(uid) for _, _, uid in segmentation.get_source_image_uids()]
    planes = segmentation.get_pixels_by_source_instance(
        instances, combine_segments=True, ignore_spatial_locations=False, assert_missing_frames_are_empty=True
    )
    return dict(zip(instances, planes, strict=True))


def expected_of(folder: Path, labels: LabelMap, volume: Volume) -> dict[str, np.ndarray]:
    """The same from the CT's own files: a voxel is known by its HU, which no other has."""
    numbers = np.zeros(256, np.uint8)
    numbers[list(labels.present())] = range(1, len(labels.present()) + 1)
    label_of = dict(zip(volume.array.ravel().tolist(), numbers[labels.array].ravel().tolist(), strict=True))
    found = {}
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        found[str(dataset.SOPInstanceUID)] = np.vectorize(label_of.get)(dataset.pixel_array.astype(int) - 1024)
    return found


@pytest.mark.parametrize(("row", "column", "reverse"), [*STRAIGHT, *OBLIQUE])
def test_highdicom_sees_the_same_voxels(row, column, reverse, series, labels_of, tmp_path) -> None:
    folder = series.classic(different_values((3, 4, 5)), row=row, column=column, reverse=reverse)
    volume = read_volume(folder)
    labels = labels_of(volume)
    path = tmp_path / "out.seg.dcm"
    assert write_label_map(labels, path) == 0.0
    seen, expected = seen_by_highdicom(path), expected_of(folder, labels, volume)
    assert seen.keys() == expected.keys()
    for instance, plane in expected.items():
        np.testing.assert_array_equal(seen[instance], plane)
    again = read_label_map(path, like=volume)
    np.testing.assert_array_equal(again.array, labels.array)
    assert again.geometry == volume.geometry and again.notes == ()


def test_there_are_48_orders() -> None:
    assert len(STRAIGHT) == len(set(STRAIGHT)) == 48


def test_names_numbers_colours_and_codes_come_back(volume, labels_of, tmp_path) -> None:
    path = tmp_path / "out.dcm"
    write_label_map(labels_of(volume), path)
    table = read_label_map(path, like=volume).table
    assert {value: (one.name, one.color) for value, one in table.items()} == {
        2: ("liver", (181, 98, 66)),
        5: ("left kidney", (134, 142, 36)),
        9: ("Läsion №1", (0, 255, 9)),
    }
    assert table[2].snomed is not None and table[2].snomed.code == "10200004"
    assert table[5].snomed is not None and (table[5].snomed.code, table[5].snomed.side) == ("64033007", "left")
    assert table[9].snomed is None  # no code was made up for it


def test_segments_are_coded_as_the_standard_wants(volume, labels_of, tmp_path) -> None:
    path = tmp_path / "out.seg.dcm"
    write_label_map(labels_of(volume), path)
    liver, kidney, own = highdicom.seg.segread(path).SegmentSequence
    anatomy = pydicom.sr.codedict.codes.cid7150.AnatomicalStructure
    types = pydicom.sr.codedict.codes.cid7151
    assert highdicom.sr.CodedConcept.from_dataset(liver.SegmentedPropertyCategoryCodeSequence[0]) == anatomy
    assert highdicom.sr.CodedConcept.from_dataset(liver.SegmentedPropertyTypeCodeSequence[0]) == types.Liver
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert highdicom.sr.CodedConcept.from_dataset(kind) == types.Kidney
    side = kind.SegmentedPropertyTypeModifierCodeSequence[0]
    assert highdicom.sr.CodedConcept.from_dataset(side) == pydicom.sr.codedict.codes.cid244.Left
    private = own.SegmentedPropertyTypeCodeSequence[0]
    assert (private.CodingSchemeDesignator, private.CodeMeaning) == ("99KEYSLICE", "Läsion №1")
    assert {one.SegmentAlgorithmType for one in (liver, kidney, own)} == {"SEMIAUTOMATIC"}


def test_a_long_name_survives(volume, tmp_path) -> None:
    name = "a structure whose name is longer than the sixty-four characters of a segment label"
    array = np.zeros(volume.shape, np.uint8)
    array[2, 1:4, 1:4] = 1
    table = LabelTable([Label(1, name, (255, 0, 0))])
    labels = LabelMap(array, volume.geometry, table, "long", volume.source)
    for ending in ("seg.dcm", "rtstruct.dcm"):
        path = tmp_path / ending
        write_label_map(labels, path)
        assert read_label_map(path, like=volume).table[1].name == name


def test_empty_frames_can_be_kept(volume, labels_of, tmp_path) -> None:
    labels = labels_of(volume)
    array = labels.array.copy()
    array[1:4][array[1:4] == 9] = 0
    labels = LabelMap(array, volume.geometry, labels.table, "sparse", volume.source)
    write_label_map(labels, tmp_path / "without.seg.dcm")
    write_label_map(labels, tmp_path / "with.seg.dcm", dicom=DicomOptions(empty_frames=True))
    without, kept = (pydicom.dcmread(tmp_path / f"{one}.seg.dcm") for one in ("without", "with"))
    assert (without.NumberOfFrames, kept.NumberOfFrames) == (12, 15)
    for name in ("without", "with"):
        np.testing.assert_array_equal(read_label_map(tmp_path / f"{name}.seg.dcm", like=volume).array, array)


def test_enhanced_ct_is_referred_to_by_frames(series, labels_of, tmp_path) -> None:
    order = [3, 0, 4, 2, 1]
    file = series.enhanced(order=order)
    volume = read_volume(file)
    labels = labels_of(volume)
    write_label_map(labels, tmp_path / "out.seg.dcm")
    segmentation = highdicom.seg.segread(tmp_path / "out.seg.dcm")
    instance = str(pydicom.dcmread(file).SOPInstanceUID)
    planes = segmentation.get_pixels_by_source_frame(instance, [1, 2, 3, 4, 5], combine_segments=True)
    numbers = np.zeros(256, np.uint8)
    numbers[[2, 5, 9]] = [1, 2, 3]
    np.testing.assert_array_equal(planes, numbers[labels.array][order])
    np.testing.assert_array_equal(read_label_map(tmp_path / "out.seg.dcm", like=volume).array, labels.array)


@pytest.mark.parametrize("ending", ["seg.dcm", "rtstruct.dcm"])
@pytest.mark.parametrize("enhanced", [False, True])
def test_dciodvfy_has_no_complaint(ending, enhanced, series, labels_of, tmp_path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (apt-get install dicom3tools)")
    volume = read_volume(series.enhanced() if enhanced else series.classic())
    write_label_map(labels_of(volume), tmp_path / ending)
    told = subprocess.run(["dciodvfy", "-new", str(tmp_path / ending)], capture_output=True, text=True)
    errors = [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")]
    assert told.returncode == 0 and not errors


def test_a_table_chooses_and_renumbers(volume, labels_of, tmp_path) -> None:
    labels = labels_of(volume)
    write_label_map(labels, tmp_path / "out.seg.dcm")
    flare = read_label_map(tmp_path / "out.seg.dcm", like=volume, table=LabelTable.read("flare22"))
    np.testing.assert_array_equal(flare.array == 1, labels.array == 2)
    np.testing.assert_array_equal(flare.array == 13, labels.array == 5)  # named "left kidney" in the file
    assert set(np.unique(flare.array)) == {0, 1, 13}
    assert flare.notes == ("not in flare22 and left out: Läsion №1",)


def test_a_table_knows_a_foreign_name_by_its_code(volume, labels_of, tmp_path) -> None:
    path = tmp_path / "foreign.dcm"
    write_label_map(labels_of(volume), path)
    dataset = pydicom.dcmread(path)
    for item, name in zip(dataset.SegmentSequence, ("Leber", "Niere links", "Sonstiges"), strict=True):
        item.SegmentLabel = name
    dataset.save_as(path)
    flare = read_label_map(path, like=volume, table=LabelTable.read("flare22"))
    assert set(np.unique(flare.array)) == {0, 1, 13}


def test_without_our_private_numbers_segments_count_from_one(volume, labels_of, tmp_path) -> None:
    path = tmp_path / "foreign.dcm"
    labels = labels_of(volume)
    write_label_map(labels, path)
    dataset = pydicom.dcmread(path)
    dataset.remove_private_tags()
    dataset.save_as(path)
    again = read_label_map(path, like=volume)
    assert list(again.table) == [1, 2, 3]
    np.testing.assert_array_equal(again.array == 3, labels.array == 9)


def test_overlapping_segments_go_to_the_smaller_one(volume, tmp_path) -> None:
    big, small = np.zeros(volume.shape, bool), np.zeros(volume.shape, bool)
    big[1:4, 1:5, 1:6], small[2, 2:4, 2:7] = True, True
    path = tmp_path / "overlapping.dcm"
    _write_with_highdicom(path, volume, np.stack([big, small], axis=-1), ["organ", "tumour"])
    found = read_label_map(path, like=volume)
    np.testing.assert_array_equal(found.array, np.where(small, 2, np.where(big, 1, 0)))
    assert found.notes == ("'organ' and 'tumour' overlap: 8 voxels went to 'tumour', the smaller one",)


def test_label_map_segmentations_of_others_are_read(volume, labels_of, tmp_path) -> None:
    labels = labels_of(volume)
    path = tmp_path / "labelmap.dcm"
    _write_with_highdicom(path, volume, labels.array, ["liver", "left kidney", "other"], "LABELMAP", [2, 5, 9])
    found = read_label_map(path, like=volume)
    assert found.table.names() == ("liver", "left kidney", "other")
    np.testing.assert_array_equal(found.array, labels.array)


def _write_with_highdicom(
    path: Path, volume: Volume, pixels: np.ndarray, names: list[str], kind: str = "BINARY", numbers: Any = None
) -> None:
    """A segmentation as another program makes it; `volume` must be in its files' order."""
    codes = pydicom.sr.codedict.codes
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.cid7150.Tissue,
            segmented_property_type=codes.cid7166.Organ,
            algorithm_type="MANUAL",
        )
        for number, name in zip(numbers or range(1, len(names) + 1), names, strict=True)
    ]
    files = sorted((path.parent / "ct").iterdir())
    highdicom.seg.Segmentation(
        [pydicom.dcmread(file) for file in files],
        pixels.astype(np.uint8),
        kind,
        segments,
        series_instance_uid=highdicom.UID(),
        series_number=9,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="Another",
        manufacturer_model_name="Another",
        software_versions="1",
        device_serial_number="1",
    ).save_as(path)
