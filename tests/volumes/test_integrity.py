"""The look into a data set: what is refused, and what is told."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from volumes.datasets import read_dataset, split
from volumes.errors import InputError
from volumes.fingerprints import check_whole, same_contents
from volumes.integrity import Findings, check_dataset, examine

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SET = {"Tr/a": (1, 2, 3), "Tr/b": (1, 2), "Tr/c": None, "Un/d": None, "Val/e": (1, 2, 3)}
Maker = Callable[..., Path]


def _check(root: Path) -> Findings:
    return check_dataset(read_dataset(root))


def _rewrite(path: Path, **change: object) -> None:
    image = sitk.ReadImage(str(path))
    for name, value in change.items():
        getattr(image, name)(value)
    sitk.WriteImage(image, str(path))


def test_a_good_set_is_described(nnunet_set: Maker) -> None:
    steps: list[tuple[int, int]] = []
    found = check_dataset(read_dataset(nnunet_set(SET)), progress=lambda *step: steps.append(step))
    assert steps == [(number, 5) for number in range(1, 6)]
    assert (found.labelled, found.unlabelled, found.validation) == (2, 2, 1)
    assert found.slices == (5, 5) and found.smallest == found.largest == pytest.approx((2.5, 0.7, 0.8))
    assert [(one.name, one.contoured, one.present) for one in found.structures] == [
        ("left_lung", 2, 2),
        ("right_lung", 2, 2),
        ("heart", 2, 1),
    ]
    assert not found.partly and not found.empty and not found.duplicates
    assert found.summary() == "2 labelled, 2 unlabelled and 1 validation cases of 5 to 5 slices, 3 structures"
    assert json.loads(json.dumps(found.as_dict()))["structures"][2] == {
        "label": 3,
        "name": "heart",
        "contoured": 2,
        "present": 1,
    }
    assert "heart" in found.table()


def test_partly_labelled_and_empty_cases_are_told(nnunet_set: Maker) -> None:
    root = nnunet_set(SET | {"Tr/f": ()}, partially_labelled=True)
    found = _check(root)
    assert found.partly == {"b": ("heart",), "f": ("left_lung", "right_lung", "heart")}
    assert found.empty == ("f",)
    assert found.structures[2].contoured == 1
    assert "2 partly labelled" in found.summary() and "1 case was not contoured for heart: b" in found.table()


def test_no_labelled_case(nnunet_set: Maker) -> None:
    with pytest.raises(InputError, match="no labelled case to train on \\(1 unlabelled\\)"):
        _check(nnunet_set({"Tr/a": None}))


def test_a_class_that_no_case_has(nnunet_set: Maker) -> None:
    with pytest.raises(InputError, match="no labelled training case with heart"):
        _check(nnunet_set({"Tr/a": (1, 2), "Val/e": (1, 2, 3)}))


def test_a_class_that_the_few_labelled_cases_lack(nnunet_set: Maker) -> None:
    data = read_dataset(nnunet_set({"Tr/a": (1, 2, 3), "Tr/b": (1, 2), "Tr/c": (1, 2)}))
    few = next(one for seed in range(50) if (one := split(data, 1, seed)).training[0].name != "a")
    with pytest.raises(InputError, match="no labelled training case with heart"):
        check_dataset(few)


def test_a_label_outside_the_table(nnunet_set: Maker) -> None:
    with pytest.raises(InputError, match=r"a.nii.gz: found label 7 \(and 1 more fault\).*1, 2, 3"):
        _check(nnunet_set({"Tr/a": (1, 7), "Tr/b": (9,)}))


def test_a_label_that_the_case_is_said_not_to_have(nnunet_set: Maker) -> None:
    root = nnunet_set(SET, partially_labelled=True)
    (root / "cases.json").write_text(json.dumps({"a": {"structures": ["LeftLung", "Heart"]}}))
    with pytest.raises(InputError, match="a.nii.gz: found right_lung, which cases.json does not list for a"):
        _check(root)


def test_grids_that_differ(nnunet_set: Maker) -> None:
    root = nnunet_set(SET)
    _rewrite(root / "labelsTr" / "b.nii.gz", SetOrigin=(-120.5, 36.25, -410.0))
    with pytest.raises(InputError, match="labelsTr/b.nii.gz: found a grid that lies up to 3 mm off.*the grid of b"):
        _check(root)


def test_the_grid_of_a_held_back_case_counts_too(nnunet_set: Maker, make_image: Callable[..., sitk.Image]) -> None:
    root = nnunet_set(SET)
    sitk.WriteImage(make_image(np.ones((4, 6, 7), np.uint8)), str(root / "labelsVal" / "e.nii.gz"))
    with pytest.raises(InputError, match=r"labelsVal/e.nii.gz: found \(4, 6, 7\) voxels"):
        _check(root)


def test_images_that_are_cut_short(nnunet_set: Maker) -> None:
    root = nnunet_set(SET)
    path = root / "imagesUn" / "d_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="d_0000.nii.gz: found a file that is cut short"):
        _check(root)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="d_0000.nii.gz: found an empty file"):
        _check(root)


def test_an_unpacked_file_that_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(bytes(1000))
    check_whole(path, 1000)
    with pytest.raises(InputError, match="cut short"):
        check_whole(path, 1001)


def test_the_same_image_twice_in_training_is_told(nnunet_set: Maker) -> None:
    root = nnunet_set(SET)
    content = gzip.decompress((root / "imagesTr" / "a_0000.nii.gz").read_bytes())
    (root / "imagesUn" / "d_0000.nii.gz").write_bytes(gzip.compress(content, compresslevel=1, mtime=5))
    found = _check(root)
    assert found.duplicates == (("a", "d"),)
    assert "the same image: a, d" in found.table()


def test_the_same_image_to_train_and_to_validate_on(nnunet_set: Maker) -> None:
    root = nnunet_set(SET)
    (root / "imagesVal" / "e_0000.nii.gz").write_bytes((root / "imagesTr" / "b_0000.nii.gz").read_bytes())
    with pytest.raises(InputError, match="imagesVal/e_0000.nii.gz: found an image that is also in training, as b"):
        _check(root)


@pytest.mark.parametrize("place", ["Val/a", "Un/a"])
def test_one_name_twice(nnunet_set: Maker, place: str) -> None:
    with pytest.raises(InputError, match="the case a 2 times"):
        _check(nnunet_set(SET | {place: (1, 2, 3) if place.startswith("Val") else None}))


def test_equal_length_is_not_equal_content(tmp_path: Path) -> None:
    for name, content in (("a", b"one"), ("b", b"two"), ("c", b"one")):
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in "abc"]
    assert same_contents(paths) == [[paths[0], paths[2]]]


@pytest.mark.skipif(not (DATA / "head-neck").is_dir(), reason=f"no real CT at {DATA}")
def test_head_neck() -> None:
    found = _check(DATA / "head-neck")
    assert (found.labelled, found.validation) == (167, 31)
    assert {one.name: one.contoured for one in found.structures}["esophagus"] == 56
    assert all(one.contoured == one.present for one in found.structures)
    assert len(found.partly) == 164 and not found.duplicates and not found.empty


def test_all_faults_are_found_and_the_rest_is_described_all_the_same(nnunet_set: Maker) -> None:
    root = nnunet_set(SET | {"Tr/b": (1, 9)})
    cut = root / "imagesUn" / "d_0000.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-40])
    (root / "imagesVal" / "e_0000.nii.gz").write_bytes((root / "imagesTr" / "a_0000.nii.gz").read_bytes())
    findings, faults = examine(read_dataset(root))
    assert [Path(one.where).name for one in faults] == ["b.nii.gz", "d_0000.nii.gz", "e_0000.nii.gz"]
    assert findings is not None and findings.duplicates == (("a", "e"),)
    assert (findings.labelled, findings.slices) == (2, (5, 5))


def test_nothing_that_can_be_read_is_no_crash(nnunet_set: Maker) -> None:
    root = nnunet_set({"Tr/a": None})
    (root / "imagesTr" / "a_0000.nii.gz").write_bytes(b"")
    findings, faults = examine(read_dataset(root))
    assert findings is None
    assert ["no labelled case" in one.found for one in faults] == [True, False]
