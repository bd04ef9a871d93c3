"""`keyslice check`: what a data set holds and all that is wrong with it, of both layouts, without training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner, Result

from tests.tools.test_bad_input import refused
from tools.cli import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["check", *(str(argument) for argument in arguments)])


@pytest.fixture
def data(training_set: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(training_set, tmp_path / "data"))


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


def test_a_good_set(data: Path) -> None:
    before = sorted(path.relative_to(data) for path in data.rglob("*"))
    result = run(data)
    assert result.exit_code == 0 and result.stderr == ""
    assert "3 labelled, 3 unlabelled and 2 validation cases of 6 to 6 slices" in result.stdout
    assert "1 case was not contoured for tube: C" in result.stdout and "left_ball" in result.stdout
    assert result.stdout.strip().endswith("keyslice train takes it")
    assert sorted(path.relative_to(data) for path in data.rglob("*")) == before, "it writes nothing"


def test_every_fault_has_its_line(data: Path) -> None:
    cut = data / "imagesUn" / "U_0000.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-30])
    write(data / "labelsTr" / "B.nii.gz", np.ones((6, 34, 36), np.uint8))  # another grid
    shutil.copy(data / "imagesTr" / "A_0000.nii.gz", data / "imagesVal" / "X_0000.nii.gz")
    result = run(data)
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert [line.split(": found")[0].rpartition("/")[2] for line in lines] == [
        "B.nii.gz", "U_0000.nii.gz", "X_0000.nii.gz",
    ]  # fmt: skip
    assert all(line.startswith("error: ") and "; expected " in line for line in lines)
    assert "the same image: A, X" in result.stdout and "3 faults: keyslice train refuses" in result.stdout
    told = json.loads((found := run(data, "--json")).stdout)
    assert found.exit_code == 2 and not told["trainable"] and len(told["faults"]) == 3
    assert told["faults"][1]["where"] == str(cut) and told["findings"]["duplicates"] == [["A", "X"]]
    quiet = run(data, "--quiet")
    assert quiet.exit_code == 2 and quiet.stdout == "" and quiet.stderr == result.stderr


def test_json_of_a_good_set(data: Path) -> None:
    told = json.loads(run(data, "--json").stdout)
    assert told["trainable"] and told["faults"] == []
    assert told["findings"]["partly"] == {"C": ["tube"]}
    assert told["findings"]["structures"][2] == {"label": 3, "name": "tube", "contoured": 2, "present": 2}


def test_what_other_trainings_lack_is_said(data: Path) -> None:
    shutil.rmtree(data / "imagesUn")
    result = run(data)
    assert result.exit_code == 0 and "cps and rounds need cases without labels" in result.stdout


def test_the_layout_of_flare22(tmp_path: Path) -> None:
    labelled = tmp_path / "Training" / "FLARE22_LabeledCase50"
    hu = np.random.default_rng(0).integers(-100, 100, (4, 20, 20)).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[1, :13, 3] = np.arange(1, 14)
    write(labelled / "images" / "FLARE22_Tr_0001_0000.nii.gz", hu)
    write(labelled / "labels" / "FLARE22_Tr_0001.nii.gz", labels)
    write(tmp_path / "Training" / "FLARE22_UnlabeledCase1-1000" / "Case_00001_0000.nii.gz", hu + 1)
    result = run(tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "1 labelled, 1 unlabelled and 0 validation cases" in result.stdout and "liver" in result.stdout
    labels[labels == 13] = 0
    write(labelled / "labels" / "FLARE22_Tr_0001.nii.gz", labels)
    refused_for_class = run(tmp_path)
    assert refused_for_class.exit_code == 2 and "no labelled training case with" in refused_for_class.stderr


def test_no_data_set(tmp_path: Path) -> None:
    refused(run(tmp_path / "nowhere"), "no such folder")
    refused(run(tmp_path), "no dataset.json")
    (tmp_path / "dataset.json").write_text("[")
    refused(run(tmp_path), "no JSON")
