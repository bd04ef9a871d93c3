"""`keyslice.evaluate`: the command's scores, of whatever kind the labels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import keyslice
from tests.keyslice.conftest import AXES, NAMES, Case


def test_all_kinds_score_alike(case: Case, files: Path) -> None:
    by_path = keyslice.evaluate("truth.nii.gz", "keys.nii.gz")
    by_image = keyslice.evaluate("truth.nii.gz", sitk.ReadImage("keys.nii.gz"))
    by_array = keyslice.evaluate(case.truth, case.keys, NAMES, axes=AXES)
    assert by_path["mean"] == by_image["mean"] == by_array["mean"]
    assert set(by_path["cases"]) == {"truth"}
    assert by_path["mean"]["liver"]["dsc"] == pytest.approx(
        2 * (case.keys == 1).sum() / ((case.keys == 1).sum() + (case.truth == 1).sum()), abs=1e-4
    )


def test_folders_are_matched_by_name_and_a_bad_case_does_not_stop_the_others(files: Path) -> None:
    for folder, source in (("a", "truth"), ("b", "keys")):
        Path(folder).mkdir()
        for name in ("one", "two"):
            Path(folder, f"{name}.nii.gz").write_bytes(Path(f"{source}.nii.gz").read_bytes())
    Path("b", "two.nii.gz").write_bytes(b"no image")
    scores = keyslice.evaluate("a", "b", NAMES)
    assert set(scores["cases"]) == {"one"} and set(scores["failed"]) == {"two"}


def test_bad_input_is_told_in_one_line(case: Case, files: Path) -> None:
    with pytest.raises(keyslice.InputError, match="an array without axes"):
        keyslice.evaluate(case.truth, case.keys)
    with pytest.raises(keyslice.InputError, match="expected a folder"):
        keyslice.evaluate(files, case.keys)
    with pytest.raises(keyslice.InputError, match="no such file"):
        keyslice.evaluate("truth.nii.gz", "nowhere.nii.gz")
    with pytest.raises(keyslice.InputError, match="grid"):
        keyslice.evaluate(case.truth, np.zeros((3, 40, 52), np.uint8), axes=AXES)
