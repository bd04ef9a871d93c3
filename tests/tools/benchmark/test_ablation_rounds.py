"""Row 3 of the ablation, with members and trainings that take no time, and data that are not those of before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tools.benchmark.ablation.settings import AblationSettings, read_ablation
from tools.benchmark.ablation.truth import pseudo_labels
from tools.benchmark.stages import check_made_with
from volumes.errors import InputError
from volumes.formats import read_volume
from volumes.label_map import LabelMap
from volumes.labels import LabelTable

TABLE = LabelTable.default([1, 2, 3])


@pytest.fixture
def settings(tmp_path: Path, tiny_config: Callable[..., Path], tiny_cps: Callable[..., Path]) -> AblationSettings:
    """Two members that label, one that is trained last."""
    steps = dict.fromkeys(("supervised_steps", "further_steps", "member_steps", "last_steps"), 4)
    content = {
        "name": "tiny",
        "data": {"labelled": 2, "seed": 0, "require": ["left_ball", "right_ball", "tube"], "smallest": 1},
        "reference": str(tiny_config()),
        "cps": str(tiny_cps()),
        "training": {"seed": 5, **steps},
        "rounds": {"members": 2, "rounds": 2, "last_members": 1, "threshold": 0.0},
    }
    path = tmp_path / "ablation.yaml"
    path.write_text(yaml.safe_dump(content))
    return read_ablation(str(path))


def run_rounds(
    settings: AblationSettings, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, scores: dict[str, float]
) -> list[int]:
    """Run row 3's rounds with members that find nothing; how many pseudo-labels each last training had.

    Args:
        scores: on the validation cases, by what is in the weights: the name of their stage, or `last`.
    """
    from cps import members, training
    from tools.benchmark.ablation import stages as ablation_stages
    from tools.benchmark.ablation.run import make_plan

    last: list[int] = []

    def train(config: str, *, out: Path, pseudo: dict[str, Any], **named: Any) -> Path:
        last.append(len(pseudo))
        (out / "checkpoints").mkdir(parents=True)
        (out / "tiny.safetensors").write_text("last")
        return out / "tiny.safetensors"

    def opener(images: dict[str, Path], device: str) -> Any:
        def predict(case: str) -> Any:
            volume = read_volume(images[case])
            return LabelMap(np.zeros(volume.shape, np.uint8), volume.geometry, TABLE, case)

        return lambda weights: predict

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(members, "member_opener", opener)
    monkeypatch.setattr(
        members, "validation_score", lambda weights, *more: scores.get(weights.read_text(encoding="utf-8"))
    )
    out.mkdir()
    plan = make_plan(settings, data, out, device="cpu", quiet=True, progress=False)
    for stage in plan.stages_of(3)[:-1]:
        plan.folder(stage).mkdir(parents=True)
        (plan.folder(stage) / "tiny.safetensors").write_text(stage)
    ablation_stages.run_stage(plan, "rounds")
    return last


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ({"member-1": 0.5, "member-2": 0.7, "last": 0.65}, "last"),
        ({"member-1": 0.6, "member-2": 0.8, "last": 0.65}, "member-2"),
        ({}, "last"),
    ],
    ids=["the last round is better", "the first round is better", "nothing to validate on"],
)
def test_row_3_is_the_best_of_the_rounds_and_trains_as_long_as_row_2_without_pseudo_labels(
    training_set: Path,
    settings: AblationSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scores: dict[str, float],
    best: str,
) -> None:
    pytest.importorskip("lightning")
    out = tmp_path / "out"
    assert run_rounds(settings, training_set, out, monkeypatch, scores) == [0], "members that find nothing"
    assert (out / "stages/rounds/best.safetensors").read_text(encoding="utf-8") == best
    assert not list(out.glob("stages/**/checkpoints"))
    told = pseudo_labels(out / "stages/rounds")
    assert told["accepted"] == 0 and told["validation"] == [scores.get(one) for one in ("member-1", "member-2", "last")]
    assert len(json.loads((out / "stages/rounds/report.json").read_text(encoding="utf-8"))["rounds"]) == 2


def test_other_data_with_the_same_case_names_are_refused_and_scored_anew(
    training_set: Path, settings: AblationSettings, tmp_path: Path
) -> None:
    from tools.benchmark.ablation.rows import _digest
    from tools.benchmark.ablation.run import make_plan
    from tools.benchmark.ablation.stages import _made_with

    copy = Path(shutil.copytree(training_set, tmp_path / "copy"))
    (tmp_path / "out").mkdir()

    def made(data: Path) -> list[Any]:
        plan = make_plan(settings, data, tmp_path / "out", device="cpu", quiet=True, progress=False)
        for stage in plan.stages_of(3):
            plan.folder(stage).mkdir(parents=True, exist_ok=True)
            (plan.folder(stage) / "tiny.safetensors").write_text("the same")
        return [*(_made_with(plan, stage) for stage in ("supervised-three-1", "member-1", "rounds")), _digest(plan, 3)]

    before = made(training_set)
    assert made(copy) == before, "a copy is the same data"

    def differ(file: str, other: str) -> list[bool]:
        shutil.copyfile(copy / other, copy / file)
        return [one != two for one, two in zip(made(copy), before, strict=True)]

    assert differ("imagesVal/X_0000.nii.gz", "imagesVal/Y_0000.nii.gz") == [False, False, False, True]
    assert differ("imagesUn/U_0000.nii.gz", "imagesUn/V_0000.nii.gz") == [False, True, True, True]
    assert differ("labelsTr/A.nii.gz", "labelsTr/B.nii.gz") == [True, True, True, True]
    plan = make_plan(settings, copy, tmp_path / "out", device="cpu", quiet=True, progress=False)
    folder = plan.folder("member-1")
    check_made_with(folder, before[1])
    with pytest.raises(InputError, match=r"other settings \(files\)"):
        check_made_with(folder, _made_with(plan, "member-1"))
