"""Gao's recipe: which pseudo-labels are kept, and coarser voxels where memory runs out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from typer.testing import CliRunner

from baseline3d.memory import memory_for
from baseline3d.models import load_model, save_model
from baseline3d.preparation import Plan
from baseline3d.recipes.gao import VoxelCountRule
from baseline3d.recipes.run import check_recipe
from baseline3d.segmenter import VolumeSegmenter
from baseline3d.sliding import WindowSettings
from baseline3d.training_settings import checked, merged_settings, read_whole
from cps.selection import CaseScores
from tools.cli import app
from volumes.errors import NotEnoughMemory
from volumes.volume import Volume

ROOT = Path(__file__).resolve().parents[2]
RULE = VoxelCountRule(2000.0, ("liver", "aorta"))


def scores(voxel_mm3: float = 1.0, **voxels: int) -> CaseScores:
    return CaseScores("A", {name: (1.0,) for name in voxels}, voxels, voxel_mm3)


def test_a_case_is_kept_if_every_structure_has_2000_voxels() -> None:
    """The paper's number, on its voxels of 1 mm."""
    kept, few, missing, none = RULE.judge(
        [scores(liver=9000, aorta=2000), scores(liver=9000, aorta=1999), scores(liver=9000), scores()]
    )
    assert kept.accepted and kept.score == 2000 and kept.structures is None and "smallest: aorta 2000" in kept.reason
    assert not few.accepted and few.reason == "less than 2000 mm³: aorta 1999"
    assert not missing.accepted and missing.reason == "less than 2000 mm³: aorta 0"
    assert not none.accepted and none.reason == "less than 2000 mm³: liver 0, aorta 0"


def test_the_count_is_scaled_with_the_spacing() -> None:
    """2,000 voxels of 1 mm are 250 of 2 mm, and 4,000 of half a cubic millimetre."""
    eight, fewer = RULE.judge([scores(8.0, liver=250, aorta=250), scores(8.0, liver=250, aorta=249)])
    assert eight.accepted and not fewer.accepted
    half, less = RULE.judge([scores(0.5, liver=4000, aorta=4000), scores(0.5, liver=4000, aorta=3999)])
    assert half.accepted and not less.accepted


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0.01, 100))
def test_a_case_with_more_of_everything_is_never_worse(liver: int, aorta: int, voxel: float) -> None:
    less, more = RULE.judge([scores(voxel, liver=liver, aorta=aorta), scores(voxel, liver=liver + 7, aorta=aorta + 7)])
    assert more.score >= less.score and (more.accepted or not less.accepted)


def test_the_papers_settings_ship() -> None:
    recipe = check_recipe("gao")
    assert (recipe.rounds, recipe.fine_tune, recipe.anew) == (2, True, True)
    first, later = (checked(read_whole("gao", recipe.overrides(number)), "gao") for number in (1, 2))
    assert first.training.optimizer.learning_rate == 1e-4 and later.training.optimizer.learning_rate == 5e-5
    weak = later.training.augmentation
    assert not any([*weak.flip, weak.smooth_share, weak.noise_share, weak.gamma_share, weak.shift_share])
    assert first.inference.coarser == (2.0, 2.0, 2.0) and first.input.spacing == (1.0, 1.0, 1.0)
    small = checked(read_whole("gao-small"), "gao-small")
    assert small.network == checked(read_whole("small"), "small").network and small.name == "gao-small"
    assert small.input.intensity.rule == "range" and small.input.patch == (16, 48, 48)
    assert checked(read_whole("gao-small", merged_settings(check_recipe("gao-small").overrides(2))), "").training


LIMITED = """
import resource
import numpy as np, torch
from dataclasses import replace
torch.set_num_threads(1)
from seeing import seeing, STEP_HU
from volumes.errors import NotEnoughMemory
from baseline3d.segmenter import VolumeSegmenter
from baseline3d.sliding import WindowSettings
from volumes.volume import Geometry, Volume

def model(coarser):
    made = seeing(patch=(32, 64, 64), spacing=(1.0, 1.0, 1.0))
    return replace(made, described=replace(made.described, windows=WindowSettings(0.9, False, coarser)))

def volume(depth, side):
    array = np.zeros((depth, side, side), np.int16)
    array[:, side // 4 : side // 2] = STEP_HU
    return Volume(array, Geometry.axial(array.shape, (1.0, 1.0, 1.0)), "wide")

VolumeSegmenter(model(None), precision="float32").segment_all(volume(33, 128))  # libraries, threads
wide = volume(64, 512)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + wide.array.size + 100 * 2**20  # what is there, the label map, and 100 MB; a slab of 1 mm takes 200
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for coarser in (None, (2.0, 2.0, 2.0)):
    segmenter = VolumeSegmenter(model(coarser), precision="float32")
    try:
        found = segmenter.segment_all(wide)
        right = [((one == 2) == (hu > 0)).mean() for one, hu in zip(found, wide.array)]
        print(min(right) > 0.98, segmenter.warnings)
    except NotEnoughMemory as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a real limit on memory")
def test_coarser_voxels_are_taken_where_memory_runs_out() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", LIMITED], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    refused, coarser = done.stdout.splitlines()
    assert "found not enough memory" in refused and "lower input.patch" in refused
    assert coarser.startswith("True") and "coarser ones, 2 x 2 x 2 mm" in coarser


def test_the_report_of_a_case_says_that_its_voxels_were_coarser(
    training_set: Path, taught_3d: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, loaded, real = tmp_path / "tiny.safetensors", load_model(taught_3d), VolumeSegmenter.probability_slices
    save_model(loaded.network, replace(loaded.described, windows=WindowSettings(coarser=(6.0, 8.0, 8.0))), weights)

    def limited(segmenter: VolumeSegmenter, volume: Volume, made: Plan, *given: Any, **named: Any) -> Iterator[Tensor]:
        with memory_for("a patch", "input.patch"):
            if max(made.shape) > 12:
                raise MemoryError
        return real(segmenter, volume, made, *given, **named)

    monkeypatch.setattr(VolumeSegmenter, "probability_slices", limited)
    ct, report = next(training_set.glob("imagesVal/*.nii.gz")), tmp_path / "why.json"
    options = ["-i", ct, "-o", tmp_path / "found.nii.gz", "--model", weights, "--device", "cpu", "--report", report]
    result = CliRunner().invoke(app, ["segment", *map(str, options)])
    assert result.exit_code == 0, result.stderr
    assert "segmented on coarser ones, 6 x 8 x 8 mm" in json.dumps(json.loads(report.read_text(encoding="utf-8")))


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    import cv2

    for raised in (RuntimeError("a bug"), KeyError("not enough memory")):
        with pytest.raises(type(raised)), memory_for("a patch", "input.patch"):
            raise raised
    with pytest.raises(NotEnoughMemory, match="lower input.patch"), memory_for("a patch", "input.patch"):
        raise cv2.error("OpenCV: (-4:Insufficient memory) Failed to allocate 4 bytes in function 'OutOfMemoryError'")
