"""Data sets in nnU-Net raw layout and in FLARE22's own: which cases there are and what their labels speak for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from volumes.datasets import DataCase, read_dataset, split
from volumes.errors import InputError

SET = {
    "Tr/a": (1, 2, 3),
    "Tr/b": (1, 2),
    "Tr/c": None,
    "Un/d": None,
    "Val/e": (1, 2, 3),
}


def _by_name(cases: tuple[DataCase, ...]) -> dict[str, DataCase]:
    return {case.name: case for case in cases}


def test_a_data_set_may_say_which_rules_its_structures_fall_under(nnunet_set: Callable[..., Path]) -> None:
    root = nnunet_set(SET)
    described = json.loads((root / "dataset.json").read_text(encoding="utf-8"))

    def roles(given: object) -> dict[int, str | None]:
        (root / "dataset.json").write_text(json.dumps({**described, "roles": given}))
        return {value: label.role for value, label in read_dataset(root).table.items()}

    assert roles({}) == {1: None, 2: None, 3: None}
    assert roles({"heart": "tubular", "Left lung": "organ"}) == {1: "organ", 2: None, 3: "tubular"}
    for wrong, told in (
        ({"hart": "tubular"}, "no label 'hart'"),
        ({"heart": "tubuler"}, "the role 'tubuler' of 'heart'; expected one of organ, tubular"),
        (["tubular"], "roles"),
        ({"heart": 3}, "roles"),
    ):
        with pytest.raises(InputError, match=told):
            roles(wrong)


def test_nnunet_raw(nnunet_set: Callable[..., Path]) -> None:
    root = nnunet_set(SET)
    found = read_dataset(root)
    assert {value: label.name for value, label in found.table.items()} == {1: "left_lung", 2: "right_lung", 3: "heart"}
    assert [case.name for case in found.training] == ["a", "b"]
    assert [case.name for case in found.unlabelled] == ["c", "d"]
    assert [case.name for case in found.validation] == ["e"]
    a = found.training[0]
    assert a.image == root / "imagesTr" / "a_0000.nii.gz" and a.label == root / "labelsTr" / "a.nii.gz"
    assert found.unlabelled[1].label is None and found.unlabelled[1].image.parent.name == "imagesUn"
    assert a.contoured is None and a.contours(3), "a whole set's labels speak for the table"
    assert not found.unlabelled[0].contours(1)


def test_the_table_is_named_after_the_set_and_not_after_its_place(nnunet_set: Callable[..., Path]) -> None:
    root = nnunet_set(SET)
    assert read_dataset(root).table.name == root.name


def test_a_partly_labelled_case_speaks_for_what_it_shows(nnunet_set: Callable[..., Path]) -> None:
    found = _by_name(read_dataset(nnunet_set(SET, partially_labelled=True)).training)
    assert found["a"].contoured is None and found["b"].contoured == {1, 2}
    assert found["b"].contours(2) and not found["b"].contours(3)


def test_a_listed_structure_was_contoured_even_where_the_map_shows_none(nnunet_set: Callable[..., Path]) -> None:
    root = nnunet_set(SET, partially_labelled=True)
    listed = {"b": {"structures": ["LeftLung", "right_lung", "Heart"]}, "e": {"structures": ["Heart"]}, "x": {}}
    (root / "cases.json").write_text(json.dumps(listed))
    found = read_dataset(root)
    assert found.training[1].contoured is None
    assert found.validation[0].contoured == {3}


def test_a_listed_structure_must_be_in_the_table(nnunet_set: Callable[..., Path]) -> None:
    root = nnunet_set(SET, partially_labelled=True)
    (root / "cases.json").write_text(json.dumps({"b": {"structures": ["Liver"]}}))
    with pytest.raises(InputError, match="cases.json.*'Liver' of b.*left_lung, right_lung, heart"):
        read_dataset(root)


def test_names_of_nnunet_1_and_of_a_table_that_is_built_in(nnunet_set: Callable[..., Path]) -> None:
    old = read_dataset(nnunet_set({"Tr/a": (1,)}, {"0": "background", "1": "liver"}, folder="old"))
    assert old.table.names() == ("liver",)
    names = "liver,right kidney,spleen,pancreas,aorta,IVC,right adrenal gland,left adrenal gland,gallbladder"
    names += ",oesophagus,stomach,duodenum,left_kidney"
    numbered = {name: number for number, name in enumerate(names.split(","), start=1)}
    table = read_dataset(nnunet_set({"Tr/a": (1,)}, {"background": 0, **numbered}, folder="new")).table
    assert table.name == "flare22" and table[12].tolerance_mm == 7


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ({"background": 0, "lungs": [1, 2]}, "a region of several labels"),
        ({"background": 0, "lung": 1, "ignore": 2}, "ignore label.*partially_labelled"),
        ({"background": 0, "lung": 1.5}, "'lung': 1.5"),
        ({"background": 0}, "no label but background"),
        ({"background": 0, "lung": 1, "heart": 1}, "number 1 twice"),
        ({"background": 0, "lung": 300}, "label number 300"),
    ],
)
def test_labels_that_make_no_table(nnunet_set: Callable[..., Path], labels: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        read_dataset(nnunet_set({"Tr/a": (1,)}, labels))


def test_what_is_no_data_set(tmp_path: Path, nnunet_set: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no dataset.json and no Training/FLARE22_LabeledCase50"):
        read_dataset(tmp_path)
    root = nnunet_set(SET, channel_names={"0": "CT", "1": "PET"})
    with pytest.raises(InputError, match="2 channels"):
        read_dataset(root)
    nnunet_set(SET)
    (root / "imagesTr" / "b_0000.nii.gz").unlink()
    with pytest.raises(InputError, match="labelsTr/b.nii.gz.*labels without their CT"):
        read_dataset(root)
    (root / "dataset.json").write_text("{")
    with pytest.raises(InputError, match="no JSON"):
        read_dataset(root)


def test_an_empty_set(nnunet_set: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="no image imagesTr/CASE_0000.nii.gz"):
        read_dataset(nnunet_set({"Val/a": (1,)}))


def test_split_keeps_the_labels_of_a_few_that_have_what_is_required(nnunet_set: Callable[..., Path]) -> None:
    cases = {f"Tr/{name}": (1, 2, 3) if name < "m" else (1,) for name in "abcdefghmnop"}
    found = read_dataset(nnunet_set(cases | {"Un/z": None, "Val/y": (1,)}, partially_labelled=True))
    few = split(found, 4, seed=1, require=(2, 3))
    kept = {case.name for case in few.training}
    assert len(kept) == 4 and all(name < "m" for name in kept)
    assert len(few.unlabelled) == 12 - 4 + 1 and few.validation == found.validation
    assert all(case.label is None and case.contoured is None for case in few.unlabelled)
    assert kept.isdisjoint(case.name for case in few.unlabelled)
    assert split(found, 4, seed=1, require=(2, 3)) == few
    assert {case.name for case in split(found, 2, seed=1, require=(2, 3)).training} < kept
    assert len({tuple(c.name for c in split(found, 4, seed=seed, require=(2, 3)).training) for seed in range(9)}) > 3
    assert len(split(found, 12, seed=0).training) == 12
    for labelled in (0, 9):
        with pytest.raises(InputError, match="8 labelled training cases with all of right_lung, heart"):
            split(found, labelled, seed=1, require=(2, 3))


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("inside", [False, True])
def test_flare22(tmp_path: Path, inside: bool) -> None:
    training = tmp_path / "FLARE2022" / "Training"
    labelled = training / "FLARE22_LabeledCase50"
    for number in (1, 2):
        _touch(labelled / "images" / f"FLARE22_Tr_000{number}_0000.nii.gz")
        _touch(labelled / "labels" / f"FLARE22_Tr_000{number}.nii.gz")
    _touch(training / "FLARE22_UnlabeledCase1-1000" / "Case_00001_0000.nii.gz")
    _touch(training / "FLARE22_UnlabeledCase1001-2000" / "Case_02000_0000.nii.gz")
    validation = tmp_path / "FLARE2022" / "Validation"
    _touch(validation / "FLARETs_0001_0000.nii.gz", validation / "FLARETs_0002_0000.nii.gz")
    folder = training if inside else training.parent
    assert read_dataset(folder).validation == (), "without labels nothing can be measured"
    _touch(validation / "labels" / "FLARETs_0002.nii.gz")
    found = read_dataset(folder)
    assert found.table.name == "flare22" and len(found.table) == 13
    assert [case.name for case in found.training] == ["FLARE22_Tr_0001", "FLARE22_Tr_0002"]
    assert found.training[0].label == labelled / "labels" / "FLARE22_Tr_0001.nii.gz"
    assert [case.name for case in found.unlabelled] == ["Case_00001", "Case_02000"]
    assert [case.name for case in found.validation] == ["FLARETs_0002"]


def test_flare22_still_packed(tmp_path: Path) -> None:
    _touch(tmp_path / "Training" / "FLARE22_LabeledCase50" / "images.zip")
    with pytest.raises(InputError, match="archives that are not unpacked.*unpack images.zip"):
        read_dataset(tmp_path)
