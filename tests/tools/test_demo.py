"""`make demo` on a CT of a few voxels, with a propagator that is done in no time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools import demo
from volumes.phantom import make_phantom


def test_the_demo_leaves_what_it_says(
    tmp_path: Path, fake_propagator: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SHAPE", (12, 48, 48))
    monkeypatch.setattr(demo, "SPACING", (20.0, 8.0, 8.0))
    assert demo.run_demo(tmp_path / "demo") == 0
    found = sorted(path.name for path in (tmp_path / "demo").iterdir())
    assert found == [
        *(
            "ct.nii.gz",
            "keys.nii.gz",
            "labels.nii.gz",
            "montage.png",
            "report.json",
            "scores.json",
            "truth.nii.gz",
        )
    ]
    shown = capsys.readouterr().out
    assert "montage.png" in shown
    assert "$ keyslice propagate" in shown
    scores = json.loads((tmp_path / "demo" / "scores.json").read_text(encoding="utf-8"))
    assert 0 < scores["mean"]["liver"]["dsc"] <= 1


def test_key_slices_are_three_a_structure_with_that_structure_alone() -> None:
    phantom = make_phantom(3, shape=(24, 32, 32), spacing=(9.0, 12.0, 12.0), missing=())
    keys = demo.key_slice_map(phantom)
    for value in phantom.labels.present():
        truth = (phantom.labels.array == value).any((1, 2)).sum()
        assert (keys.array == value).any((1, 2)).sum() == min(3, truth)
    painted = keys.array > 0
    assert np.array_equal(keys.array[painted], phantom.labels.array[painted])


def test_evenly_spaced_slices() -> None:
    assert demo.evenly_spaced(np.arange(10, 40), 3) == [15, 25, 35]
    assert demo.evenly_spaced(np.array([4]), 3) == [4]
