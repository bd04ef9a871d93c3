"""Rounds with real pairs: tiny ones, a few steps, on a data set of small boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.tiny import TINY_NETWORK
from volumes.errors import InputError
from volumes.formats import read_label_map, read_volume, write_label_map
from volumes.label_map import LabelMap
from volumes.labels import LabelTable
from volumes.volume import Geometry

pytest.importorskip("lightning")

GEOMETRY = Geometry.axial((4, 32, 32), (3.0, 2.0, 2.0))
STEPS = 3


def make_data(folder: Path) -> Path:
    """Two labelled cases, three without labels, one to validate on: a bright and a dark box in each."""
    import SimpleITK as sitk

    table = LabelTable.default([1, 2])
    rng = np.random.default_rng(7)
    for part, cases in (("Tr", ("A", "B", "U1", "U2", "U3")), ("Val", ("V",))):
        (folder / f"images{part}").mkdir(parents=True)
        (folder / f"labels{part}").mkdir()
        for case in cases:
            labels = np.zeros(GEOMETRY.shape_dhw, np.uint8)
            y, x = rng.integers(2, 14, 2)
            labels[:, y : y + 12, x : x + 8] = 1
            labels[1:, y : y + 12, x + 9 : x + 15] = 2
            hu = np.choose(labels, (-50, 150, -120)) + rng.integers(-9, 9, labels.shape)
            image = sitk.GetImageFromArray(hu.astype(np.int16))
            image.SetSpacing(GEOMETRY.spacing_xyz)
            sitk.WriteImage(image, str(folder / f"images{part}" / f"{case}_0000.nii.gz"))
            if not case.startswith("U"):
                write_label_map(LabelMap(labels, GEOMETRY, table, case), folder / f"labels{part}" / f"{case}.nii.gz")
    described = {"labels": {"background": 0, "bright": 1, "dark": 2}, "file_ending": ".nii.gz", "numTraining": 2}
    (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, **described}))
    return folder


def make_config(folder: Path, **rounds: Any) -> Path:
    reference, config = folder / "tiny.yaml", folder / "tiny_cps.yaml"
    training = {
        "seed": 3,
        "steps": STEPS,
        "batch_size": 2,
        "workers": 0,
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "schedule": "halve",
        "precision": "32-true",
        "gradient_clip": 1.0,
        "checkpoint_every": 2,
        "log_every": 1,
        "validate_every": 0,
        "slices": {"size": 32},
        "losses": {},
    }
    whole = {"name": "tiny", "network": TINY_NETWORK, "input": {"pixel": 2.0}, "training": training}
    reference.write_text(yaml.safe_dump(whole))
    training = {**training, "unlabelled_batch_size": 2}
    content = {"name": "tiny_cps", "reference": str(reference), "training": training, "rounds": rounds}
    config.write_text(yaml.safe_dump(content))
    return config


def test_rounds_of_real_members(tmp_path: Path) -> None:
    from cps.self_training import train_rounds

    data = make_data(tmp_path / "data")
    config = make_config(tmp_path, members=2, rounds=2, last_members=1, threshold=0.0, minimum_gain=-1.0)
    lines: list[str] = []
    state = train_rounds(config, data=data, out=tmp_path / "rounds", progress=False, tell=lines.append)
    assert state.ended in ("2 rounds are done", "all cases without labels are used", "no case was added")
    first = state.rounds[1]
    assert set(first.scores) == {"U1", "U2", "U3"}
    weights = [member.weights for _, member in sorted(first.members.items())]
    assert weights[0].read_bytes() != weights[1].read_bytes()  # each has its own seed
    assert weights[0].is_file() and not (weights[0].parent / "checkpoints").exists()
    assert all(member.score is not None and 0 <= member.score <= 1 for member in first.members.values())
    for case in first.scores:
        volume = read_volume(data / "imagesTr" / f"{case}_0000.nii.gz")
        for path in (state.prediction(1, 1, case), state.pseudo_label(1, case)):
            assert read_label_map(path, like=volume).table.names() == ("bright", "dark")
    assert any("validation" in line for line in lines)
    best = state.best()
    assert best is not None
    assert (tmp_path / "rounds" / "tiny_cps.safetensors").read_bytes() == best.weights.read_bytes()
    report = json.loads((tmp_path / "rounds" / "report.json").read_text(encoding="utf-8"))
    assert report["labelled"] == ["A", "B"] and report["structures"] == {"1": "bright", "2": "dark"}


def test_accepted_cases_are_trained_on_in_the_next_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cps import self_training

    data = make_data(tmp_path / "data")
    seen: list[dict[str, Any]] = []
    real = self_training.train

    def train(*arguments: Any, **named: Any) -> Path:
        seen.append({**named, "seed": named["overrides"]["seed"]})
        return real(*arguments, **named)

    def opener(images: Any, device: str) -> Any:  # members that agree on all but one case
        def open_member(weights: Path) -> Any:
            def predict(case: str) -> LabelMap:
                array = np.zeros(GEOMETRY.shape_dhw, np.uint8)
                array[:, 4:12, 4:12] = 1
                array[:, 20:26, 20:26] = 2 if case != "U3" or "member_1" in str(weights) else 0
                return LabelMap(array, GEOMETRY, LabelTable.default([1, 2]), case)

            return predict

        return open_member

    monkeypatch.setattr(self_training, "train", train)
    monkeypatch.setattr(self_training, "member_opener", opener)
    config = make_config(tmp_path, members=2, rounds=2, last_members=1, minimum_gain=-1.0, fine_tune=True)
    state = self_training.train_rounds(
        config, data=data, out=tmp_path / "rounds", overrides={"steps": 2, "rounds": {"threshold": 0.8}}, progress=False
    )
    assert state.about["rule"]["threshold"] == 0.8 and state.about["origin"]["replaced"] == {"steps": 2}
    assert [sorted(one["pseudo"]) for one in seen] == [[], [], ["U1", "U2"]]
    assert len({one["seed"] for one in seen}) == 3
    assert len({one["cache"] for one in seen}) == 1
    assert [one["start_from"] for one in seen] == [None, None, state.rounds[1].members[1].weights]
    assert state.ended == "2 rounds are done"


def test_members_begin_with_the_weights_that_are_given_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cps import self_training

    begun: list[str] = []

    def train(*arguments: Any, **named: Any) -> Path:
        begun.append(named["start_from"].name)
        return named["start_from"]

    def opener(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(self_training, "train", train)
    monkeypatch.setattr(self_training, "new_pair", lambda *arguments: None)
    monkeypatch.setattr(self_training, "validation_score", lambda *arguments: None)
    monkeypatch.setattr(self_training, "member_opener", lambda *arguments: opener)
    starts, third = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"], tmp_path / "three.safetensors"
    for path in (*starts, third):
        path.write_text(path.name)
    config, data = make_config(tmp_path, members=3), make_data(tmp_path / "data")
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        self_training.train_rounds(
            config, data=data, out=tmp_path / "rounds", start_from=starts, progress=False, tell=told.append
        )
    assert begun == ["one.safetensors", "two.safetensors", "one.safetensors"]
    assert told[0].startswith("3 members begin with 2 weights: those that begin alike agree on more than they should")
    with pytest.raises(KeyboardInterrupt):
        self_training.train_rounds(
            config, data=data, out=tmp_path / "own", start_from=[*starts, third], progress=False, tell=told.append
        )
    assert sum("begin with" in line for line in told) == 1, "nothing to say where each has its own"
    starts[1].write_text("changed")
    with pytest.raises(InputError, match=r"begun with origin.start_from"):
        self_training.train_rounds(config, data=data, out=tmp_path / "rounds", start_from=starts, progress=False)


def test_a_second_start_that_will_not_do_is_found_before_the_first_member_is_trained(tmp_path: Path) -> None:
    from cps.self_training import train_rounds
    from cps.training import train

    config, data = make_config(tmp_path, members=2), make_data(tmp_path / "data")
    good = train(config, data=data, out=tmp_path / "good", device="cpu", overrides={"steps": 1}, progress=False)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(good.read_bytes()[:-100])
    with pytest.raises(InputError, match="bad.safetensors"):
        train_rounds(config, data=data, out=tmp_path / "rounds", start_from=[good, bad], progress=False)
    assert not (tmp_path / "rounds").exists()


def test_without_validation_cases_there_is_no_score(tmp_path: Path) -> None:
    from dataclasses import replace

    from cps.members import validation_score
    from volumes.datasets import read_dataset

    dataset = replace(read_dataset(make_data(tmp_path / "data")), validation=())
    assert validation_score(tmp_path / "none.safetensors", dataset, "cpu") is None


def test_validation_scores_what_is_contoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from cps import members
    from volumes.datasets import read_dataset

    dataset = read_dataset(make_data(tmp_path / "data"))
    (case,) = dataset.validation
    assert case.label is not None
    truth = read_label_map(case.label).array

    class Reference:
        table = dataset.table

        @classmethod
        def load(cls, weights: Path, device: str) -> Reference:
            return cls()

        def segment_all(self, volume: Any) -> np.ndarray:
            return np.where(truth == 1, 1, 0).astype(np.uint8)

    monkeypatch.setattr(members, "Referencer", Reference)
    assert members.validation_score(tmp_path, dataset, "cpu") == pytest.approx(0.5)
    partly = replace(dataset, validation=(replace(case, contoured=frozenset({1})),))
    assert members.validation_score(tmp_path, partly, "cpu") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("rounds", "told"),
    [
        ({"treshold": 0.9}, "did you mean 'threshold'"),
        ({"members": "three"}, "a whole number"),
        ({"members": 1}, "2 or more"),
        ({"threshold": 9.0}, "from 0 to 1"),
    ],
)
def test_settings_are_refused_before_anything_is_trained(tmp_path: Path, rounds: dict[str, Any], told: str) -> None:
    from cps.self_training import train_rounds
    from cps.training import train

    data = make_data(tmp_path / "data")
    with pytest.raises(InputError, match=told):
        train_rounds(make_config(tmp_path, **rounds), data=data, out=tmp_path / "rounds")
    with pytest.raises(InputError, match=told):  # a section that this command does not use is looked at all the same
        train(make_config(tmp_path, **rounds), data=data, out=tmp_path / "rounds")
    assert not (tmp_path / "rounds").exists()


def test_rounds_whose_batches_would_hold_no_pseudo_label_are_refused(tmp_path: Path) -> None:
    from cps.self_training import train_rounds

    data, config = make_data(tmp_path / "data"), make_config(tmp_path)
    for training in ({"pseudo_share": 0.0}, {"batch_size": 1}):
        with pytest.raises(InputError, match="leaves no place for a pseudo-label"):
            train_rounds(config, data=data, out=tmp_path / "rounds", overrides=training)
    assert not (tmp_path / "rounds").exists()


def test_one_value_for_all_rounds_settings_is_refused(tmp_path: Path) -> None:
    from cps.self_training import read_rounds_section

    with pytest.raises(InputError, match="name it: rounds.rounds=3"):
        read_rounds_section(make_config(tmp_path), {"rounds": 3})


def test_from_the_command_line_to_a_data_set(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from tools.cli import app
    from volumes.datasets import read_dataset

    data, config, out = make_data(tmp_path / "data"), make_config(tmp_path, members=2, rounds=1), tmp_path / "rounds"
    settings = ["--set", "steps=2", "--set", "rounds.rounds=2", "--set", "rounds.last_members=1"]
    settings += ["--set", "rounds.threshold=0.0", "--set", "rounds.minimum_gain=-1.0"]
    command = ["train", "rounds", "--config", config, "--data", data, "--out", out, "--device", "cpu", *settings]
    result = CliRunner().invoke(app, [str(word) for word in command])
    assert result.exit_code == 0, result.stderr
    assert "round 1, member 2: U3 (3 of 3)" in result.stdout
    exported = CliRunner().invoke(app, ["pseudo-label", "--rounds", str(out), "-o", str(tmp_path / "set")])
    assert exported.exit_code == 0, exported.stderr
    accepted = json.loads((out / "report.json").read_text(encoding="utf-8"))["accepted"]
    found = read_dataset(tmp_path / "set").training if accepted else ()
    assert sorted(case.name for case in found) == sorted(accepted)


def test_rounds_in_the_way(tmp_path: Path) -> None:
    from cps.self_training import train_rounds

    data = make_data(tmp_path / "data")
    (tmp_path / "rounds").mkdir()
    (tmp_path / "rounds" / "rounds.jsonl").touch()
    with pytest.raises(InputError, match="found rounds"):
        train_rounds(make_config(tmp_path), data=data, out=tmp_path / "rounds", resume=False)
