"""Real CT (not part of the repository): read, write, compare the grid."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from volumes import LabelTable, read_label_map, read_volume, write_label_map

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
TORSO = DATA / "abdomen" / "torso_3mm"


@pytest.fixture(autouse=True)
def need_data() -> None:
    if not TORSO.is_dir():
        pytest.skip(f"no real CT at {DATA}")


@pytest.mark.parametrize("suffix", [".nii.gz", ".seg.nrrd", ".mha"])
def test_torso(suffix, tmp_path, grid_in_file) -> None:
    volume = read_volume(TORSO / "ct.nii.gz")
    labels = read_label_map(TORSO / "seg_total_v2_fast.nii.gz", like=volume)
    assert labels.geometry is volume.geometry
    np.testing.assert_array_equal(volume.array, _canonical_ct())
    target = tmp_path / ("out" + suffix)
    shift = write_label_map(labels, target)
    if suffix != ".seg.nrrd":
        assert shift == 0.0 and grid_in_file(target) == grid_in_file(TORSO / "ct.nii.gz")
    assert shift < 1e-9
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(target)))
    source = sitk.GetArrayFromImage(sitk.ReadImage(str(TORSO / "seg_total_v2_fast.nii.gz")))
    np.testing.assert_array_equal(stored, source)


def test_torso_lies_as_a_person_does(tmp_path) -> None:
    """Liver to the right of the spleen, spine behind the liver, the fifth lumbar vertebra below the first."""
    labels = read_label_map(TORSO / "seg_total_v2_fast.nii.gz")
    names = json.loads((TORSO / "class_map.json").read_text(encoding="utf-8"))["total_v2"]
    (tmp_path / "names.json").write_text(json.dumps({key: name for key, name in names.items() if key != "0"}))
    table = LabelTable.read(tmp_path / "names.json")

    def center(name: str) -> np.ndarray:
        return np.argwhere(labels.array == table.by_name(name).value).mean(axis=0)

    liver, spleen, spine = center("liver"), center("spleen"), center("vertebrae_L1")
    assert liver[2] < spleen[2]
    assert spine[1] > liver[1]
    assert center("vertebrae_L5")[0] < spine[0]


def _canonical_ct() -> np.ndarray:
    """The file runs to the right and to the front: two flips, written out here by hand."""
    image = sitk.ReadImage(str(TORSO / "ct.nii.gz"))
    assert image.GetDirection() == (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
    return sitk.GetArrayFromImage(image)[:, ::-1, ::-1]
