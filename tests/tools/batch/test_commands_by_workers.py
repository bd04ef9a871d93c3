"""`evaluate`, `segment` and `pseudo-label` by workers say what they say in one process; lists name cases anywhere."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from reference_module.models import InputSettings, build_pair, save_pair
from tests.tiny import TINY_NETWORK
from tests.tools.batch.many_cases import manifest_lines, write_cases, write_image
from tests.tools.pairs import twin
from tools.cli import app
from volumes.labels import LabelTable


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def labels(tmp_path: Path) -> tuple[Path, Path]:
    """Truth and prediction of three cases; one prediction is missing, one is on another grid."""
    truth, prediction = tmp_path / "truth", tmp_path / "prediction"
    for index, name in enumerate("ABCD"):
        array = np.zeros((6, 20, 18), np.uint8)
        array[1:5, 4:14, 3:12] = 1
        write_image(truth / f"{name}.nii.gz", array)
        shifted = np.roll(array, index, axis=2)[: 5 if name == "D" else 6]
        if name != "C":
            write_image(prediction / f"{name}.nii.gz", shifted)
    return truth, prediction


def test_scores_by_workers_are_those_of_one_process(labels: tuple[Path, Path], tmp_path: Path) -> None:
    truth, prediction = labels
    plain, spread = tmp_path / "plain.json", tmp_path / "spread.json"
    alone = run("evaluate", "-r", truth, "-p", prediction, "--labels", "flare22", "--json", plain)
    out = tmp_path / "out"
    arguments = ("evaluate", "-r", truth, "-p", prediction, "--labels", "flare22", "--json", spread, "-o", out)
    by_workers = run(*arguments, "--jobs", 2)
    assert alone.exit_code == by_workers.exit_code == 1, by_workers.stderr
    assert json.loads(spread.read_text(encoding="utf-8")) == json.loads(plain.read_text(encoding="utf-8"))
    assert sorted(by_workers.stderr.splitlines()) == sorted(alone.stderr.splitlines())
    with (out / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows[:2]] == ["C", "D"] and rows[0]["state"] == "failed"
    begun = len(manifest_lines(out))
    assert run(*arguments, "--jobs", 2).exit_code == 1
    assert len(manifest_lines(out)) == begun, "what is scored is not scored again"


def test_scores_of_a_list(labels: tuple[Path, Path], tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("case;reference;prediction;ward\nx;truth/A.nii.gz;prediction/B.nii.gz;3\n")
    scores = tmp_path / "scores.json"
    assert run("evaluate", "-r", listed, "--labels", "flare22", "--json", scores, "-q").exit_code == 0
    assert 0.8 < json.loads(scores.read_text(encoding="utf-8"))["cases"]["x"]["liver"]["dsc"] < 1


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    built = build_pair({"network": TINY_NETWORK}, 3)
    save_pair(built, path, LabelTable.default([1, 2]), InputSettings(None, "three"))
    return path


def test_segment_and_pseudo_label_by_workers(pair: Path, tmp_path: Path) -> None:
    write_cases(tmp_path, 3)
    listed = tmp_path / "cases.json"
    rows: list[dict[str, Any]] = [{"input": f"cts/P0{number}.nii.gz", "patient": number} for number in range(3)]
    listed.write_text(json.dumps(rows + [{"input": "cts/none.nii.gz"}]))
    segment = ("segment", "-i", listed, "--model", pair, "--reference-only", "--device", "cpu")
    worker = ("--time-limit", "1h")  # one process besides this one: loading what it needs is most of this test
    alone, spread = run(*segment, "-o", tmp_path / "alone"), run(*segment, "-o", tmp_path / "spread", *worker)
    assert alone.exit_code == spread.exit_code == 1
    assert "none.nii.gz: found nothing there" in spread.stderr and len(spread.stderr.splitlines()) == 1
    label = ("pseudo-label", "-i", tmp_path / "cts", "--weights", pair, "--weights", twin(pair), "--device", "cpu")
    (tmp_path / "cts" / "P01.nii.gz").write_text("not an image")
    first, second = run(*label, "-o", tmp_path / "first"), run(*label, "-o", tmp_path / "second", *worker)
    assert first.exit_code == second.exit_code == 1, second.stderr
    assert first.stderr == second.stderr and "P01.nii.gz" in first.stderr
    for one, other in ((tmp_path / "alone", tmp_path / "spread"), (tmp_path / "first", tmp_path / "second")):
        names = {str(path.relative_to(one)) for path in one.rglob("*.nii.gz") if "labelling" not in path.parts}
        assert len(names) >= 3
        for name in names:
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
