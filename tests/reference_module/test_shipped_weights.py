"""The pair that ships: small enough, described, and at work on a CT as it comes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reference_module.referencer import Referencer
from tools.cli import app
from volumes.formats import read_label_map, read_volume
from volumes.metrics import dice

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "head-neck"
WEIGHTS = Path(str(files("reference_module"))) / "weights" / "head-neck.safetensors"
STRUCTURES = ("brainstem", "spinal_cord", "right_parotid", "left_parotid", "esophagus", "larynx", "mandible")


def test_they_are_small_enough_for_the_repository_and_have_a_model_card() -> None:
    assert WEIGHTS.stat().st_size <= 25_000_000
    assert WEIGHTS.with_name("README.md").is_file()
    assert Referencer.load(WEIGHTS, device="cpu").table.names() == STRUCTURES


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}: put the data set there to run this test")
def test_by_their_name_they_label_a_patient(tmp_path: Path) -> None:
    """One that they were not trained on; over all 16 the mean Dice of parotids and mandible is .74 to .85."""
    ct, out = DATA / "imagesVal" / "HN_219_0000.nii.gz", tmp_path / "out.nii.gz"
    arguments = ["-i", str(ct), "-o", str(out), "--model", "head-neck", "--reference-only", "--device", "cpu"]
    result = CliRunner().invoke(app, ["segment", *arguments])
    assert result.exit_code == 0, result.stderr
    volume = read_volume(ct)
    found = read_label_map(out, like=volume)
    truth = read_label_map(DATA / "labelsVal" / "HN_219.nii.gz", like=volume, table=found.table)
    for name in ("right_parotid", "left_parotid", "mandible"):
        label = found.table.by_name(name).value
        assert dice(truth.array == label, found.array == label) > 0.4, name
