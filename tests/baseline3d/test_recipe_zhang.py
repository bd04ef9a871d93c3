"""Zhang's recipe: from the coarse network to the small student, its choices by hand, killed and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from baseline3d.boxes import Box
from baseline3d.coarse_to_fine import region
from baseline3d.models import load_model
from baseline3d.postprocess_single_label import SmallPartsRemoved
from baseline3d.recipes import zhang
from baseline3d.recipes.run import train_recipe
from baseline3d.recipes.zhang import Zhang
from baseline3d.segmenter import VolumeSegmenter
from baseline3d.views import ViewSettings
from cps.round_state import RoundsState, read_rounds
from volumes.datasets import read_dataset
from volumes.errors import InputError
from volumes.labels import Label, LabelTable
from volumes.volume import Volume

ROOT = Path(__file__).resolve().parents[2]
Write = Callable[..., Path]
ZHANG: dict[str, Any] = {
    "kind": "zhang",
    "rounds": 3,
    "threshold": 0.01,
    "views": {"flips": ["x"], "crop": 0.8},
    "coarse": {"steps": 60, "optimizer": {"learning_rate": 3.0e-2}, "input": {"spacing": [6.0, 8.0, 8.0]}},
    "first": {"steps": 4},
    "last": {"network": {"filters": [4, 8, 8]}},
}
"""Its teachers have the tiny network's size."""


def test_what_each_round_is_trained_with() -> None:
    recipe = Zhang(
        rounds=4,
        teacher={"network": {"widths": [32]}},
        later={"steps": 60, "batch_size": 2},
        first={"steps": 100},
        last={"precision": "32-true"},
    )
    assert [recipe.overrides(number) for number in (1, 2, 3, 4)] == [
        {"network": {"widths": [32]}},
        {"network": {"widths": [32]}, "steps": 100, "batch_size": 2},
        {"network": {"widths": [32]}, "steps": 60, "batch_size": 2},
        {"steps": 60, "batch_size": 2, "precision": "32-true"},
    ]
    assert Zhang(rounds=1, teacher={"steps": 3}).overrides(1) == {"steps": 3}, "the supervised start alone"


def test_views_that_do_not_apply_are_left_out() -> None:
    """A left parotid without a right one: a mirrored view would call it right."""
    recipe = Zhang(views=ViewSettings(("yx", "y"), 0.8))
    one = LabelTable([Label(1, "left_parotid", (1, 1, 1)), Label(2, "mandible", (2, 2, 2))], "one")
    both = LabelTable([*one.values(), Label(3, "right_parotid", (3, 3, 3))], "both")
    assert recipe.views_of(one) == ViewSettings(("y",), 0.8) and recipe.views_of(both) == recipe.views


_KILLED = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from baseline3d.recipes import zhang
from baseline3d.recipes.run import train_recipe
config, data, out, start = map(Path, sys.argv[1:])
train_recipe(config, data=data, out=out, start_from=start, progress=False)
"""


def killed_at(when: str, config: Path, data: Path, out: Path, start: Path) -> None:
    """Run the recipe in another process, and kill that as soon as a file is there."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", _KILLED, *map(str, (config, data, out, start))]
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (out / when).exists():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_from_coarse_to_student_killed_and_not(
    training_set: Path,
    taught_3d: Path,
    tiny_recipe: Write,
    tmp_path: Path,
    one_thread: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, whole, killed = tiny_recipe(ZHANG, strong={"paint_share": 1.0}), tmp_path / "whole", tmp_path / "killed"

    def run(out: Path) -> None:
        train_recipe(config, data=training_set, out=out, start_from=taught_3d, progress=False)

    run(whole)
    state = read_rounds(whole / "rounds")
    assert list(state.rounds) == [1, 2, 3] and state.ended == "3 rounds are done"
    check_boxes(whole, state)
    check_selection(state)
    check_student(whole, state)

    looked_at: list[str] = []

    def interrupted(coarse: VolumeSegmenter, volume: Volume, margin: float = 0.0) -> Box | None:
        looked_at.append(volume.name)
        if len(looked_at) == 5:
            raise KeyboardInterrupt
        return region(coarse, volume, margin)

    with monkeypatch.context() as changed, pytest.raises(KeyboardInterrupt):
        changed.setattr(zhang, "region", interrupted)
        run(killed)
    snapshot = "rounds/round_02/member_1/training/tiny-33.safetensors"
    killed_at(snapshot, config, training_set, killed, taught_3d)
    lines = [json.loads(line)["case"] for line in (killed / "stages" / "boxes" / "boxes.jsonl").open()]
    assert len(lines) == len(set(lines)) == 8, "boxes that were found are not looked for again"
    assert not (killed / "tiny.safetensors").exists()
    run(killed)
    for name in ("tiny.safetensors", snapshot, snapshot.replace("33", "67")):
        expected, found = load_file(whole / name), load_file(killed / name)
        assert set(expected) == set(found) and all((found[key] == one).all() for key, one in expected.items())
    for name in ("report.json", "report.md"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def check_boxes(folder: Path, state: RoundsState) -> None:
    """The coarse network's box is where all others look; with the margin, what people labelled is in it."""
    stages = {line["stage"]: line["result"] for line in map(json.loads, (folder / "stages.jsonl").open())}
    boxes, margin = stages["boxes"]["boxes"], stages["boxes"]["margin"]
    lines = [json.loads(line) for line in (folder / "stages" / "boxes" / "boxes.jsonl").open()]
    assert [line["case"] for line in lines] == list("ABCUVWXY")
    assert {line["case"] for line in lines if line["found"]} == set(boxes)
    for line in lines[:3]:
        labels, box = line["labels"], boxes.get(line["case"], [[0, 99]] * 3)
        assert all(low <= start and stop <= high for (low, high), (start, stop) in zip(box, labels, strict=True))
    for number in (1, 2, 3):
        record = json.loads((state.training_folder(number, 1) / "run.json").read_text(encoding="utf-8"))
        assert record.get("boxes", {}) == boxes and record["input"]["margin"] == margin
    coarse = load_model(folder / stages["coarse"])
    assert coarse.settings.spacing == (6.0, 8.0, 8.0)
    for number in (1, 2, 3):
        inside = load_model(state.rounds[number].members[1].weights).coarse
        assert inside is not None and inside.described == coarse.described


def check_selection(state: RoundsState) -> None:
    """The first re-training takes two of three cases at the most; the next one all that are stable."""
    first, second = state.rounds[1], state.rounds[2]
    best = sorted(first.scores, key=lambda case: -sum(sum(one) for one in first.scores[case].agreements.values()))
    assert len(first.accepted) == 2 and len(second.accepted) == 3
    assert first.verdicts is not None and all(
        not one.accepted and "later" in one.reason for case, one in first.verdicts.items() if case not in first.accepted
    )
    assert set(best) == {"U", "V", "W"}
    for scores in first.scores.values():
        assert all(len(one) == 2 and 0 <= min(one) <= max(one) <= 1 for one in scores.agreements.values())


def check_student(folder: Path, state: RoundsState) -> None:
    """The last network is small, had a teacher, and comes with the other one and with post-processing."""
    runs = [
        json.loads((state.training_folder(number, 1) / "run.json").read_text(encoding="utf-8")) for number in (1, 2, 3)
    ]
    assert [one["network"]["filters"] for one in runs] == [[8, 16, 16], [8, 16, 16], [4, 8, 8]]
    assert [one["training"]["steps"] for one in runs] == [3, 4, 3]
    assert ["teacher" in one for one in runs] == [False, False, True]
    pseudo = [sorted(name for name, one in run["cases"].items() if one["as"] == "pseudo-labelled") for run in runs]
    assert pseudo[0] == [] and len(pseudo[1]) == 2 and pseudo[2] == ["U", "V", "W"]
    shipped = load_model(folder / "tiny.safetensors")
    assert shipped.described.network["filters"] == [4, 8, 8] and shipped.coarse is not None
    assert shipped.described.postprocessing == SmallPartsRemoved(0.1)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["recipe"]["kind"] == "zhang" and report["gain"] is not None


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"share": 0.0}, "share: found 0"),
        ({"threshold": 1.5}, "threshold: found 1.5"),
        ({"small": -1.0}, "share: found -1.0"),
        ({"views": {"flips": ["q"]}}, "views.flips"),
        ({"coarse": {"stepps": 3}}, "coarse network.*did you mean 'steps'"),
        ({"teacher": {"input": {"intensity": {"rule": "clip"}}}}, "the teacher: found another intensity rule"),
    ],
)
def test_settings_that_will_not_do_are_told_before_anything_is_trained(
    training_set: Path, tiny_recipe: Write, tmp_path: Path, recipe: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told) as error:
        train_recipe(tiny_recipe({**ZHANG, **recipe}), data=training_set, out=tmp_path / "run", progress=False)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_a_case_that_cannot_be_read_is_left_out_with_a_line(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path
) -> None:
    dataset, told = read_dataset(training_set), []
    broken = tmp_path / "broken_0000.nii.gz"
    broken.write_bytes(b"no CT")
    unlabelled = (*dataset.unlabelled[:1], replace(dataset.unlabelled[1], name="broken", image=broken))
    config = tiny_recipe({**ZHANG, "rounds": 2, "last": {}})
    data = replace(dataset, unlabelled=unlabelled, validation=())
    train_recipe(config, data=data, out=tmp_path / "run", start_from=taught_3d, progress=False, tell=told.append)
    assert any(line.startswith("boxes: broken is left out") for line in told)
    assert read_rounds(tmp_path / "run" / "rounds").rounds[1].accepted == ["U"]
