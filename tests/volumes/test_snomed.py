"""SNOMED CT codes in label tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from volumes import InputError, LabelTable
from volumes.labels import builtin_tables
from volumes.snomed import Snomed, is_identifier


def test_every_built_in_structure_has_a_code_of_the_standards_list() -> None:
    concepts = pytest.importorskip("pydicom.sr._concepts_dict", reason="needs keyslice[dicom]").concepts["SCT"]
    segmentation_types = {code for found in concepts.values() for code, (_, groups) in found.items() if 7151 in groups}
    for name in builtin_tables():
        for label in LabelTable.read(name).values():
            assert label.snomed is not None and label.snomed.code in segmentation_types, label.name
            side = next((side for side in ("left", "right") if side in label.name), None)
            assert label.snomed.side == side, label.name


def test_the_meaning_is_what_the_standard_calls_the_code() -> None:
    concepts = pytest.importorskip("pydicom.sr._concepts_dict", reason="needs keyslice[dicom]").concepts["SCT"]
    meanings = {(code, meaning) for found in concepts.values() for code, (meaning, _) in found.items()}
    for name in builtin_tables():
        for label in LabelTable.read(name).values():
            assert label.snomed is not None
            assert (label.snomed.code, label.snomed.meaning) in meanings


def test_a_table_with_codes(tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(
        "1: {name: kidney, snomed: {code: 64033007, meaning: Kidney, side: left}}\n"
        "2: {name: tumour, snomed: {code: '108369006', meaning: Neoplasm, category: lesion}}\n"
        "3: bone\n"
    )
    table = LabelTable.read(path)
    assert table[1].snomed == Snomed("64033007", "Kidney", "left")
    assert table[2].snomed == Snomed("108369006", "Neoplasm", None, "lesion")
    assert table[3].snomed is None


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("64033007", "not {code"),
        ("{code: 64033007}", "not {code"),
        ("{code: 64033008, meaning: Kidney}", "no SNOMED CT identifier"),  # a wrong check digit
        ("{code: T-71000, meaning: Kidney}", "no SNOMED CT identifier"),
        ("{code: true, meaning: Kidney}", "no SNOMED CT identifier"),
        ("{code: 64033007, meaning: ''}", "meaning"),
        ("{code: 64033007, meaning: Kidney, side: both}", "side"),
        ("{code: 64033007, meaning: Kidney, category: organ}", "category"),
        ("{code: 64033007, meaning: Kidney, colour: red}", "not {code"),
    ],
)
def test_what_is_wrong_with_a_code_is_told(entry: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(f"1: {{name: kidney, snomed: {entry}}}\n")
    with pytest.raises(InputError) as caught:
        LabelTable.read(path)
    assert complaint in str(caught.value) and "\n" not in str(caught.value)


def test_identifiers_end_in_a_check_digit() -> None:
    assert is_identifier("64033007") and is_identifier("10200004") and is_identifier("900000000000012004")
    for last in "012345689":
        assert not is_identifier(f"6403300{last}")
    assert not is_identifier("64303007")  # two digits changed places
    assert not is_identifier("12345") and not is_identifier("")
