"""The engine of the recipes: from data to weights and a report, killed and gone on with, and what is refused."""

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
from typer.testing import CliRunner

from baseline3d.models import load_model
from baseline3d.recipes.run import train_recipe
from baseline3d.segmenter import VolumeSegmenter
from baseline3d.training_settings import merged_settings
from cps.pseudo_labels import export_pseudo_labels
from cps.round_state import read_rounds
from tools.cli import app
from volumes.datasets import read_dataset
from volumes.errors import InputError, NotEnoughMemory
from volumes.volume import Volume

ROOT = Path(__file__).resolve().parents[2]
Write = Callable[..., Path]
GAO: dict[str, Any] = {"kind": "gao", "minimum_voxels": 1.0, "later": {"steps": 2, "patches": {"foreground": 1.0}}}


def run(config: Path, data: Any, out: Path, start: Path | None = None, **more: Any) -> list[str]:
    """Runs a recipe; returns what it told."""
    told: list[str] = []
    train_recipe(config, data=data, out=out, start_from=start, progress=False, tell=told.append, **more)
    return told


def test_a_recipe_ends_with_weights_and_a_report(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path
) -> None:
    out, config = tmp_path / "run", tiny_recipe(GAO)
    told = run(config, training_set, out, taught_3d)
    state = read_rounds(out / "rounds")
    assert list(state.rounds) == [1, 2] and state.ended == "2 rounds are done"
    assert state.rounds[1].accepted == ["U", "V", "W"]
    assert "round 2, member 1: trained with 3 pseudo-labelled cases" in told
    assert not list(out.glob("rounds/*/*/training/checkpoints")), "nobody needs them any more"
    second = state.rounds[2].members[1].weights
    record = json.loads((second.parent / "run.json").read_text(encoding="utf-8"))
    assert record["training"]["steps"] == 2 and record["training"]["patches"] == {"foreground": 1.0}
    assert [name for name, case in record["cases"].items() if case["as"] == "pseudo-labelled"] == ["U", "V", "W"]
    assert record["start_from"] is not None, "fine-tuning goes on from the round before"

    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    scores, gain = report["scores"], report["gain"]
    assert gain == pytest.approx(scores["trained"]["mean"] - scores["start"]["mean"], abs=1e-6)
    assert state.rounds[1].score == scores["start"]["mean"] > 0.1 and state.rounds[2].score == scores["trained"]["mean"]
    assert set(scores["start"]) == {"left_ball", "right_ball", "tube", "mean"}
    text = (out / "report.md").read_text(encoding="utf-8")
    for expected in (f"a gain of {gain:+.4f} over the supervised start", "| U | yes |", "### Round 1", "smallest: "):
        assert expected in text
    for name, tensor in load_file(second).items():
        assert (load_file(out / "tiny.safetensors")[name] == tensor).all()
    assert load_model(out / "tiny.safetensors").described.postprocessing is None
    assert export_pseudo_labels(state, tmp_path / "export") == ["U", "V", "W"], "as of keyslice pseudo-label --rounds"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors") if path.parent != out}
    assert run(config, training_set, out, taught_3d) == [], "nothing is left to do"
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_round_that_selects_no_case_ends_with_a_report(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path
) -> None:
    out, dataset, nothing = tmp_path / "run", read_dataset(training_set), {**GAO, "minimum_voxels": 1e9}
    told = run(tiny_recipe(nothing), dataset, out, taught_3d)
    assert told[-1] == "round 1: no case was added"
    assert not (out / "rounds" / "round_02").exists() and (out / "tiny.safetensors").exists()
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["gain"] == 0 and not report["pseudo_labels_used"]
    assert "less than 1e+09 mm³" in report["rounds"]["rounds"][0]["cases"]["U"]["reason"]
    assert "none of it by pseudo-labels" in (out / "report.md").read_text(encoding="utf-8")
    with pytest.raises(InputError, match=r"recipe.minimum_voxels was 1000000000.0, is 1.0"):
        run(tiny_recipe(GAO), training_set, out, taught_3d)
    with pytest.raises(InputError, match="expected an empty folder"):
        run(tiny_recipe(nothing), training_set, out, taught_3d, resume=False)
    with pytest.raises(InputError, match="cases.U was"):
        run(tiny_recipe(nothing), replace(dataset, unlabelled=dataset.unlabelled[1:]), out, taught_3d)


def test_without_validation_cases_nothing_is_claimed(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path
) -> None:
    dataset = replace(read_dataset(training_set), validation=())
    run(tiny_recipe(GAO), dataset, tmp_path / "run", taught_3d)
    assert json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))["gain"] is None
    assert "nobody knows what it gained" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")


_KILLED = """
import sys
from pathlib import Path
from baseline3d.recipes.run import train_recipe
config, data, out, start = map(Path, sys.argv[1:])
train_recipe(config, data=data, out=out, start_from=start, progress=False)
"""


def test_killed_and_gone_on_with_it_ends_the_same(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path, one_thread: None
) -> None:
    """Killed twice: as it labels, and as it trains on what it has labelled."""
    config, whole, killed = tiny_recipe(GAO), tmp_path / "whole", tmp_path / "killed"
    run(config, training_set, whole, taught_3d)
    arguments = [sys.executable, "-c", _KILLED, *map(str, (config, training_set, killed, taught_3d))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for when in ("rounds/round_01/pseudo_labels/U.nii.gz", "rounds/round_02/member_1/training/run.json"):
        process = subprocess.Popen(
            arguments, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not (killed / when).exists():
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.002)
        process.send_signal(signal.SIGSTOP)  # so small a recipe may else have ended before it is asked for
        with pytest.raises(InputError, match="another process at it"):
            run(config, training_set, killed, taught_3d)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(config, training_set, killed, taught_3d)
    for name, tensor in load_file(whole / "tiny.safetensors").items():
        assert (load_file(killed / "tiny.safetensors")[name] == tensor).all()
    for name in ("report.json", "report.md", "stages.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"kind": "goa"}, "kind 'goa'; expected kind: one of gao, alves, tong, zhang"),
        ({}, "found no kind"),
        ({**GAO, "minimal_voxels": 3}, "did you mean 'minimum_voxels'"),
        ({**GAO, "minimum_voxels": 0}, "recipe.minimum_voxels: found 0.0; expected more than 0"),
        ({**GAO, "rounds": 0}, "recipe.rounds: found 0"),
        ({**GAO, "later": {"stepps": 3}}, "round 2.*did you mean 'steps'"),
        ({**GAO, "last": {"steps": 0}}, "steps: found 0"),
        ({**GAO, "later": {"network": {"filters": [4, 8, 8]}}}, "round 2: found another network than in the round bef"),
        (
            {**GAO, "later": {"input": {"intensity": {"rule": "clip", "low": 0.0, "high": 9.0}}}},
            "round 2: found another intensity rule.*or set recipe.fine_tune=false",
        ),
    ],
)
def test_settings_that_will_not_do_are_told_before_anything_is_trained(
    training_set: Path, tiny_recipe: Write, tmp_path: Path, recipe: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told) as error:
        run(tiny_recipe(recipe), training_set, tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_too_little_memory_to_train_names_the_settings(
    training_set: Path, tiny_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from baseline3d.learner import VolumeTraining

    def full(*given: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(VolumeTraining, "training_step", full)
    with pytest.raises(
        InputError, match="2 patches of 4 x 16 x 16 voxels.*lower training: batch_size, or input: patch"
    ):
        run(tiny_recipe(GAO), training_set, tmp_path / "run")


@pytest.mark.parametrize("kind", ["gao", "zhang"])
def test_a_start_of_another_network_is_refused_before_any_stage(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tiny_3d: Write, tmp_path: Path, kind: str
) -> None:
    config = tiny_recipe({"kind": kind})
    text = config.read_text(encoding="utf-8").replace("- 16\n  - 16\n  head", "- 16\n  - 12\n  head")
    config.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="weights of another network"):
        run(config, training_set, tmp_path / "run", taught_3d)
    assert not (tmp_path / "run").exists()


def test_where_memory_runs_out_as_cases_are_labelled_it_ends_and_goes_on_later(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, config = tmp_path / "run", tiny_recipe(GAO)
    segment_all = VolumeSegmenter.segment_all

    def full(self: VolumeSegmenter, volume: Volume, **more: Any) -> Any:
        if volume.name == "V":
            raise NotEnoughMemory("a patch", found="not enough memory", expected="a patch that fits", fix="lower it")
        return segment_all(self, volume, **more)

    with monkeypatch.context() as changed, pytest.raises(NotEnoughMemory, match="lower it"):
        changed.setattr(VolumeSegmenter, "segment_all", full)
        run(config, training_set, out, taught_3d)
    assert list(read_rounds(out / "rounds").rounds[1].scores) == ["U"]
    run(config, training_set, out, taught_3d)
    assert read_rounds(out / "rounds").rounds[1].accepted == ["U", "V", "W"], "none is left out for that"


def test_coarser_voxels_for_want_of_memory_are_told(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment_all = VolumeSegmenter.segment_all

    def coarser(self: VolumeSegmenter, volume: Volume, **more: Any) -> Any:
        found = segment_all(self, volume, **more)
        self.warnings = ("segmented on coarser ones",) if volume.name == "V" else ()
        return found

    monkeypatch.setattr(VolumeSegmenter, "segment_all", coarser)
    assert "V: segmented on coarser ones" in run(tiny_recipe(GAO), training_set, tmp_path / "run", taught_3d)


def test_batches_of_one_patch_have_no_room_for_pseudo_labels(
    training_set: Path, tiny_recipe: Write, tmp_path: Path
) -> None:
    for later in ({"batch_size": 1}, {"pseudo_share": 0.1}):
        with pytest.raises(InputError, match=r"round 2: training.*no place for a pseudo-label.*in recipe.later"):
            run(tiny_recipe({**GAO, "later": later}), training_set, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    dataset = replace(read_dataset(training_set), unlabelled=())
    with pytest.raises(InputError, match="no case with no labels"):
        run(tiny_recipe(GAO), dataset, tmp_path / "none")


def test_the_command_runs_the_recipe_and_its_weights_segment(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path
) -> None:
    out, labels = tmp_path / "run", tmp_path / "labels.nii.gz"
    options = ["--config", tiny_recipe(GAO), "--data", training_set, "--out", out, "--device", "cpu"]
    options += ["--start-from", taught_3d, "--set", "recipe.minimum_voxels=2.0", "--set", "steps=1"]
    result = CliRunner().invoke(app, ["train", "baseline3d", *map(str, options)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(out / "tiny.safetensors")
    assert "round 1: 3 of 3 cases accepted" in result.stdout
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["recipe"]["minimum_voxels"] == 2.0
    ct = next(training_set.glob("imagesVal/*.nii.gz"))
    options = ["-i", ct, "-o", labels, "--model", out / "tiny.safetensors", "--device", "cpu"]
    segmented = CliRunner().invoke(app, ["segment", *map(str, options)])
    assert segmented.exit_code == 0 and labels.exists(), segmented.stderr
    wrong = ["train", "baseline3d", "--config", "gao-small", "--data", str(training_set), "--out", str(tmp_path / "x")]
    result = CliRunner().invoke(app, [*wrong, "--set", "recipe.later.stepps=1"])
    assert result.exit_code == 2 and "did you mean 'steps'" in result.stderr and result.stderr.strip().count("\n") == 0


def test_later_settings_replace_earlier_ones_one_by_one() -> None:
    changed = merged_settings({"steps": 1, "optimizer": {"kind": "sgd"}}, {}, {"optimizer": {"momentum": 0.5}})
    assert changed == {"steps": 1, "optimizer": {"kind": "sgd", "momentum": 0.5}}
