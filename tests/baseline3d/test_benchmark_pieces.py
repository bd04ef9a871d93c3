"""The benchmarks of two pieces of the 3D side: components by the number of labels, and half precision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tools.benchmark.__main__ import app
from tools.benchmark.components import labelled, numbered_bodies


def benchmark(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_bodies_are_the_same_whatever_they_are_called() -> None:
    bodies = numbered_bodies((20, 40, 80))
    assert sorted(np.unique(bodies)) == list(range(251))
    one, many = labelled(bodies, 1), labelled(bodies, 250)
    assert set(np.unique(one)) == {0, 1} and len(np.unique(many)) == 251
    assert np.array_equal(one > 0, many > 0) and 0.2 < (one > 0).mean() < 0.8


def test_one_labelling_gives_what_one_each_gives(tmp_path: Path) -> None:
    result = benchmark("components", "--size", 40, "--depth", 20, "--counts", "1,3,250", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "components.json").read_text(encoding="utf-8"))["rows"]
    assert [row["labels"] for row in rows] == [1, 3, 250] and all(row["same"] for row in rows)
    assert "| 250 |" in result.stdout
    assert benchmark("components", "--counts", "1,251", "--out", tmp_path).exit_code == 2


def test_half_precision_beside_float32(
    training_set: Path, taught_3d: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import networks.inference

    ct = training_set / "imagesVal" / "X_0000.nii.gz"
    options = ("precision", "--ct", ct, "--model", taught_3d, "--device", "cpu", "--repeats", 1, "--out", tmp_path)
    monkeypatch.setattr(networks.inference, "computes_bfloat16", lambda device: True)
    result = benchmark(*options)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "precision.json").read_text(encoding="utf-8"))
    assert [row["precision"] for row in content["rows"]] == ["float32", "auto"]
    assert content["dice_between"] and min(content["dice_between"].values()) > 0.9
    monkeypatch.setattr(networks.inference, "computes_bfloat16", lambda device: False)
    refused = benchmark(*options)
    assert refused.exit_code == 2 and "no instructions for half precision" in refused.stderr
