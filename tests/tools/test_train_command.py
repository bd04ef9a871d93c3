"""`keyslice train reference|cps|rounds`: from a data set to weights for `keyslice segment`, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner, Result

from tests.tools.pairs import SPACING, ellipsoids
from tests.tools.test_bad_input import refused
from tools.cli import app
from tools.train import FINDINGS_NAME, Job, _checked

REFERENCE = """
name: tiny
network:
  first: {kind: transunet, layers: [1, 1, 1], stem: 16, hidden: 32, depth: 1, heads: 2, mlp: 32,
          decoder: [16, 16, 16, 16], head: 16, grid: 4}
  second: {kind: deeplabv3plus, encoder: tu-resnet18, channels: 16, rates: [2, 4, 8]}
input: {pixel: null, windows: three}
"""
TRAINING = """
training:
  {seed: 1, steps: 2, batch_size: 2, workers: 0, learning_rate: 1e-3, weight_decay: 0.0, schedule: halve,
   precision: 32-true, gradient_clip: 1.0, checkpoint_every: 1, log_every: 1, validate_every: 0,
   slices: {size: 32, rare: 0.5, augmentation: 0.0, flips: none}, losses: {dice: 1.0, cross_entropy: 1.0}MORE}
"""


def train(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", *(str(argument) for argument in arguments)])


def save(array: np.ndarray, path: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])
    path.parent.mkdir(exist_ok=True)
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labelled cases and an unlabelled one, nnU-Net raw."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(3):
        volume, labels = ellipsoids(6 + number, second=(1, 4))
        save(volume.array, folder / "imagesTr" / f"P_{number}_0000.nii.gz")
        if number < 2:
            save(labels, folder / "labelsTr" / f"P_{number}.nii.gz")
    description = {"labels": {"background": 0, "large": 1, "small": 2}, "channel_names": {"0": "CT"}}
    (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": 2, "file_ending": ".nii.gz"}))
    return folder


@pytest.fixture
def configs(tmp_path: Path) -> dict[str, Path]:
    reference, cps = tmp_path / "reference.yaml", tmp_path / "cps.yaml"
    reference.write_text(REFERENCE + TRAINING.replace("MORE", ""))
    cps.write_text(f"name: tiny\nreference: {reference}\n" + TRAINING.replace("MORE", ", unlabelled_batch_size: 2"))
    return {"reference": reference, "cps": cps}


@pytest.mark.parametrize("kind", ["reference", "cps"])
def test_from_a_data_set_to_labels(kind: str, configs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = train(kind, "--config", configs[kind], "--data", data, "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert any("2 labelled, 1 unlabelled and 0 validation cases" in line for line in lines), "the look into the data"
    assert json.loads((out / FINDINGS_NAME).read_text(encoding="utf-8"))["structures"][1]["name"] == "small"
    weights = out / "tiny.safetensors"
    assert lines[-1] == str(weights) and weights.is_file()
    image, labels = data / "imagesTr" / "P_2_0000.nii.gz", tmp_path / "labels.nii.gz"
    segment = ["segment", "-i", str(image), "-o", str(labels), "--model", str(weights)]
    assert CliRunner().invoke(app, segment).exit_code == 0
    again = train(kind, "--config", configs[kind], "--data", data, "--out", out, "--device", "cpu", "--no-resume")
    refused(again, out, "found a run")


@pytest.mark.parametrize("kind", ["reference", "cps", "rounds"])
@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("stepz=5", ("training", "stepz", "did you mean 'steps'")),
        ("steps=many", ("training.steps", "'many'", "a whole number")),
        ("slices.size=[1]", ("training.slices.size", "a list")),
        ("steps", ("--set steps", "steps=2000")),
        ("steps=[1", ("--set steps=[1", "not YAML", "close the brackets")),
        ("seed=-1", ("training.seed", "-1", "0 or more")),
        ("input=5", ("found 5", "settings, by name")),
    ],
)
def test_settings_are_checked_before_the_data(
    kind: str, configs: dict[str, Path], tmp_path: Path, setting: str, parts: tuple[str, ...]
) -> None:
    (tmp_path / "data").mkdir()  # empty: would be refused too, but later
    out = tmp_path / "run"
    config = configs["reference" if kind == "reference" else "cps"]
    refused(train(kind, "--config", config, "--data", tmp_path / "data", "--out", out, "--set", setting), *parts)


@pytest.mark.parametrize("kind", ["reference", "cps", "rounds"])
@pytest.mark.parametrize(
    ("line", "instead", "told"),
    [
        ("name: tiny", "", "no value for name"),
        ("training:", "trainning:", "did you mean 'training'"),
    ],
)
def test_sections_are_checked_before_the_data(
    kind: str, configs: dict[str, Path], tmp_path: Path, line: str, instead: str, told: str
) -> None:
    (tmp_path / "data").mkdir()
    config = configs["reference" if kind == "reference" else "cps"]
    config.write_text(config.read_text(encoding="utf-8").replace(line, instead))
    result = train(kind, "--config", config, "--data", tmp_path / "data", "--out", tmp_path / "run")
    refused(result, told)


def test_one_process_of_several_looks_into_the_data(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []

    class Findings:
        def as_dict(self) -> dict[str, str]:
            return {}

        def summary(self) -> str:
            return ""

    monkeypatch.setattr("volumes.integrity.check_dataset", lambda *_: looked.append(1) or Findings())
    for rank in ("0", "1", "2"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert len(_checked(Job(config="", data=data, out=tmp_path, quiet=True)).training) == 2
    assert len(looked) == 1


@pytest.mark.parametrize("kind", ["reference", "cps", "rounds"])
def test_data_that_cannot_be_trained_on(kind: str, configs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    config, out = configs["reference" if kind == "reference" else "cps"], tmp_path / "run"
    arguments = (kind, "--config", config, "--out", out, "--device", "cpu")
    refused(train(*arguments, "--data", tmp_path / "none"), "none", "no such folder")
    bad = tmp_path / "bad"
    for folder in ("imagesTr", "labelsTr"):
        (bad / folder).mkdir(parents=True)
    (bad / "dataset.json").write_text((data / "dataset.json").read_text(encoding="utf-8"))
    image = (data / "imagesTr" / "P_0_0000.nii.gz").read_bytes()
    (bad / "imagesTr" / "P_0_0000.nii.gz").write_bytes(image)
    refused(train(*arguments, "--data", bad), "no labelled case")
    other = sitk.ReadImage(str(data / "labelsTr" / "P_1.nii.gz"))
    sitk.WriteImage(other, str(bad / "labelsTr" / "P_0.nii.gz"))
    refused(train(*arguments, "--data", bad), "P_0.nii.gz", "(7, 40, 52)")
    assert not list(out.glob("**/*.ckpt")) and not list(out.glob("*.safetensors"))


def test_a_start_that_is_not_there(configs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    arguments = ("reference", "--config", configs["reference"], "--data", data, "--out", tmp_path / "run")
    refused(train(*arguments, "--start-from", tmp_path / "w.safetensors"), "w.safetensors")
