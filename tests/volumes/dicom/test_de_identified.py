"""What is copied from the source's headers: what the standard requires of a file in the same study, nothing else."""

from __future__ import annotations

import pydicom
import pytest

from volumes import read_volume, write_label_map

SECRETS = {
    "InstitutionName": "SECRET hospital",
    "InstitutionAddress": "SECRET street",
    "ReferringPhysicianName": "SECRET^referrer",
    "OperatorsName": "SECRET^operator",
    "PatientAddress": "SECRET home",
    "PatientComments": "SECRET comment",
    "OtherPatientIDs": "SECRET id",
    "PatientAge": "050Y",
    "PatientWeight": "77",
    "StudyDescription": "SECRET study",
    "SeriesDescription": "SECRET series",
    "StationName": "SECRET scanner",
    "DeviceSerialNumber": "SECRET serial",
    "ProtocolName": "SECRET protocol",
}
COPIED = {
    "PatientName": "Müller^Jörg",
    "PatientID": "P 17",
    "PatientBirthDate": "19700101",
    "PatientSex": "M",
    "StudyDate": "20200102",
    "StudyTime": "101112",
    "StudyID": "S1",
    "AccessionNumber": "A1",
}


@pytest.mark.parametrize("ending", ["seg.dcm", "rtstruct.dcm"])
def test_only_what_the_standard_requires_is_copied(ending, series, labels_of, tmp_path) -> None:
    folder = series.classic(**SECRETS)
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.private_block(0x0009, "SECRET maker", create=True).add_new(1, "LO", "SECRET private")
        dataset.save_as(file)
    write_label_map(labels_of(read_volume(folder)), tmp_path / ending)
    content = (tmp_path / ending).read_bytes()
    assert b"SECRET" not in content
    written = pydicom.dcmread(tmp_path / ending)
    assert {keyword: str(written.get(keyword)) for keyword in COPIED} == COPIED
    assert not written.ReferringPhysicianName and "PatientAge" not in written and "PatientWeight" not in written
    source = pydicom.dcmread(next(folder.iterdir()))
    assert written.StudyInstanceUID == source.StudyInstanceUID
    assert written.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert written.SeriesInstanceUID != source.SeriesInstanceUID


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "Łukasz^Żak"),
        ("ISO_IR 144", "Люкceмбypг"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_names_in_any_character_set(charset, name, series, labels_of, tmp_path) -> None:
    folder = series.classic(SpecificCharacterSet=charset, PatientName=name)
    write_label_map(labels_of(read_volume(folder)), tmp_path / "rtstruct.dcm")
    assert str(pydicom.dcmread(tmp_path / "rtstruct.dcm").PatientName) == name


@pytest.mark.parametrize("ending", ["seg.dcm", "rtstruct.dcm"])
def test_values_without_a_valid_form_are_left_empty(ending, series, labels_of, tmp_path) -> None:
    with pydicom.config.disable_value_validation():
        folder = series.classic(PatientBirthDate="1970-1-1", PatientSex="male", StudyTime="noon")
    write_label_map(labels_of(read_volume(folder)), tmp_path / ending)
    written = pydicom.dcmread(tmp_path / ending)
    assert not written.PatientBirthDate and not written.PatientSex and not written.StudyTime


@pytest.mark.parametrize("ending", ["seg.dcm", "rtstruct.dcm"])
def test_every_file_has_identifiers_of_its_own(ending, volume, labels_of, tmp_path) -> None:
    paths = [tmp_path / f"{number}.{ending}" for number in (1, 2)]
    for path in paths:
        write_label_map(labels_of(volume), path)
    first, second = map(pydicom.dcmread, paths)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
