"""Training a 3D network: what it refuses, that it learns, and that a killed run ends with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from baseline3d.models import is_3d, load_model
from baseline3d.segmenter import VolumeSegmenter
from baseline3d.training import LabelledPatches, train
from baseline3d.training_settings import checked, read_whole
from tests.training_runs import assert_same_bits_when_killed, logged
from volumes.errors import InputError
from volumes.formats import read_volume

Write = Callable[..., Path]


@pytest.mark.parametrize("name", ["gao", "alves", "tong", "zhang", "small", "baseline3d/small"])
def test_shipped_configurations_can_be_trained(name: str) -> None:
    found = checked(read_whole(name, {"steps": 7, "inference": {"step": 0.75}}), name)
    assert found.training.steps == 7 and found.inference.step == 0.75


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"stepps": 5}, "stepps.*did you mean 'steps'"),
        ({"input": {"patch": [5, 16, 16]}}, "input.patch: found 5 x 16 x 16; expected multiples of 2 x 4 x 4"),
        ({"input": {"patch": [2, 4, 4]}}, "not all of them the least"),
        ({"input": {"patch": [16, 16]}}, r"input\.patch"),
        ({"input": {"shape": [16, 16, 16]}}, "a spacing and a shape"),
        ({"input": {"intensity": {"rule": "window"}}}, "'percentiles' or 'clip' or 'range'"),
        ({"inference": {"step": 0.0}}, "inference.step"),
        ({"inference": {"coarser": [1.0, 1.0, 1.0]}}, "inference.coarser: found 1 x 1 x 1 mm; expected .* 3 x 4 x 4"),
        ({"augmentation": {"flip": [0.5, 0.5, 2.0]}}, "flip"),
        ({"augmentation": {"scale": [1.2, 0.8]}}, "two rising numbers"),
        ({"optimizer": {"schedule": "steps"}}, "factors"),
        ({"optimizer": {"kind": "lion"}}, "'sgd' or 'adam' or 'adamw'"),
        ({"steps": 0}, "training.steps: found 0"),
    ],
)
def test_settings_that_will_not_do(
    training_set: Path, tiny_3d: Write, tmp_path: Path, overrides: dict, told: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=told) as error:
        train(tiny_3d(), data=training_set, out=out, device="cpu", overrides=overrides, progress=False)
    assert "\n" not in str(error.value) and not out.exists()


def test_a_few_steps_learn_and_the_weights_segment(training_set: Path, tiny_3d: Write, tmp_path: Path) -> None:
    config = tiny_3d(steps=30, validate_every=30, checkpoint_every=30, averaging=0.0)
    overrides = {"optimizer": {"kind": "adamw", "learning_rate": 1e-2}, "augmentation": {"noise_share": 0.0}}
    run = tmp_path / "run"
    weights = train(config, data=training_set, out=run, device="cpu", overrides=overrides, progress=False)
    losses = list(logged(run, "loss").values())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    (dice,) = logged(run, "validation_mean").values()
    assert dice == logged(run, "best_dice")[29] and 0 <= dice <= 1
    loaded = load_model(weights)
    assert is_3d(weights) and loaded.table.names() == ("left_ball", "right_ball", "tube")
    assert loaded.figures is not None and loaded.figures.low < loaded.figures.mean < loaded.figures.high
    volume = read_volume(training_set / "imagesVal" / "X_0000.nii.gz")
    found = VolumeSegmenter(loaded).segment_all(volume)
    assert found.shape == volume.shape and set(np.unique(found)) <= {0, 1, 2, 3}
    with pytest.raises(InputError, match="a run of something else: training.steps was 30, is 31"):
        train(tiny_3d(steps=31), data=training_set, out=run, device="cpu", progress=False)
    fine = train(
        config,
        data=training_set,
        out=tmp_path / "fine",
        device="cpu",
        start_from=weights,
        progress=False,
        overrides={"steps": 1, "optimizer": {"learning_rate": 1e-9}},
    )
    for name, tensor in load_file(weights).items():
        torch.testing.assert_close(load_file(fine)[name], tensor, rtol=1e-4, atol=1e-5)
    assert load_model(fine).figures == loaded.figures


def test_the_network_of_zhang_learns_in_half_precision(training_set: Path, tiny_3d: Write, tmp_path: Path) -> None:
    """Its combination at a small size: residual, sigmoid, every region one patch, HU clipped, Dice alone, steps."""
    sections = {
        "network": {"kind": "residual", "head": "sigmoid", "widths": [8, 16], "dropout": 0.0},
        "input": {
            "patch": [8, 24, 24],
            "shape": [8, 24, 24],
            "crop": "body",
            "threshold": -500.0,
            "intensity": {"rule": "clip", "low": -500.0, "high": 500.0},
        },
    }
    config = tiny_3d(
        sections,
        steps=30,
        checkpoint_every=30,
        averaging=0.0,
        precision="bf16-mixed",
        optimizer={"kind": "adamw", "learning_rate": 3e-2, "schedule": "steps", "factors": {0.9: 0.1}},
        augmentation={"noise_share": 0.0},
        losses={"dice": 1.0, "cross_entropy": 0.0},
    )
    weights = train(config, data=training_set, out=tmp_path / "run", device="cpu", progress=False)
    losses = list(logged(tmp_path / "run", "loss").values())
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    volume = read_volume(training_set / "imagesVal" / "X_0000.nii.gz")
    assert VolumeSegmenter(load_model(weights)).segment_all(volume).shape == volume.shape


def test_pseudo_labels_join_and_are_augmented_strongly(training_set: Path, tiny_3d: Write, tmp_path: Path) -> None:
    from baseline3d.cases import open_cases
    from volumes.datasets import read_dataset

    whole = checked(read_whole(tiny_3d(batch_size=5, pseudo_share=0.4, strong={"paint_share": 1.0})), "tiny")
    pseudo = {"V": training_set / "labelsTr" / "A.nii.gz"}
    cases = open_cases(read_dataset(training_set), cache=tmp_path, inputs=whole.input, pseudo=pseudo)
    stream = LabelledPatches(cases, whole, 0, 0, 1)
    own, strong = stream.streams
    assert (own.batch_size, strong.batch_size) == (3, 2) and [case.name for case in strong.cases] == ["V"]
    assert strong._augment.settings.paint_share == 1.0 and own._augment.settings.paint_share == 0.3
    assert stream.batch(0)["image"].shape == (5, 1, 4, 16, 16)
    assert (
        LabelledPatches(cases, whole, 0, 1, 2).streams[0].cases
        != LabelledPatches(cases, whole, 0, 0, 2).streams[0].cases
    )


def test_killed_and_resumed_ends_with_the_same_bits(training_set: Path, tiny_3d: Write, tmp_path: Path) -> None:
    config = tiny_3d(steps=12, workers=1)
    assert_same_bits_when_killed("baseline3d.training", config, training_set, tmp_path)


def test_weights_of_the_other_side_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    other = tmp_path / "pair.safetensors"
    save_file({"a": torch.zeros(1)}, other, {"network": "{}"})
    assert not is_3d(other) and not is_3d("small") and is_3d("baseline3d/small")
    with pytest.raises(InputError, match="weights that are not those of a 3D network"):
        load_model(other)
    with pytest.raises(InputError, match="no weights that ship under this name.*keyslice train baseline3d"):
        load_model("baseline3d/gao")
