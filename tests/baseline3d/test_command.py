"""`keyslice train baseline3d` and `keyslice info`: from a data set to weights, and what is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from baseline3d.models import load_model
from tools.cli import app
from volumes.formats import read_label_map, read_volume

Write = Callable[..., Path]


def keyslice(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_from_a_data_set_to_weights(training_set: Path, tiny_3d: Write, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--config", tiny_3d(steps=2), "--data", training_set, "--out", out, "--device", "cpu")
    result = keyslice("train", "baseline3d", *options, "--set", "inference.step=0.9")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(out / "tiny.safetensors")
    assert load_model(out / "tiny.safetensors").windows.step == 0.9
    ct, labels = next(training_set.glob("imagesTr/*.nii.gz")), tmp_path / "labels.nii.gz"
    segmented = keyslice("segment", "-i", ct, "-o", labels, "--model", out / "tiny.safetensors", "--device", "cpu")
    assert segmented.exit_code == 0, segmented.stderr
    assert "by the 3D network" in segmented.stdout and read_label_map(labels, like=read_volume(ct)).array.shape
    again = keyslice("train", "baseline3d", *options, "--no-resume")
    assert again.exit_code == 2 and "empty folder" in again.stderr


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("stepps=2", "did you mean 'steps'"),
        ("input.patch=[5,16,16]", "multiples of 2 x 4 x 4"),
        ("optimizer.kind=lion", "'sgd' or 'adam' or 'adamw'"),
    ],
)
def test_bad_settings_end_in_one_line(
    training_set: Path, tiny_3d: Write, tmp_path: Path, setting: str, told: str
) -> None:
    options = ("--config", tiny_3d(), "--data", training_set, "--out", tmp_path / "run", "--device", "cpu")
    result = keyslice("train", "baseline3d", *options, "--set", setting)
    assert result.exit_code == 2 and told in result.stderr
    assert result.stderr.strip().count("\n") == 0 and "Traceback" not in result.stderr
    assert "cases of" not in result.stdout, "before the look into the data"


def test_a_configuration_that_is_not_there_names_those_that_are(training_set: Path, tmp_path: Path) -> None:
    result = keyslice("train", "baseline3d", "--config", "goa", "--data", training_set, "--out", tmp_path / "run")
    assert result.exit_code == 2 and all(name in result.stderr for name in ("alves", "gao", "small", "tong", "zhang"))


def test_info_lists_them() -> None:
    models = json.loads(keyslice("info", "--json").stdout)["models"]
    assert models["baseline3d/zhang"] == {"parameters": 10_705_552, "weights": None}
    assert {f"baseline3d/{name}" for name in ("alves", "gao", "small", "tong")} < set(models)
