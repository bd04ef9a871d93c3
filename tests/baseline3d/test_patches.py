"""Patches: the same for the same step, about what they are drawn for, with sides that stay sides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from baseline3d.augmentation import AugmentationSettings, PatchAugmenter
from baseline3d.intensity import IntensitySettings
from baseline3d.patches import PatchSettings, PatchStream, cut_box
from baseline3d.preparation import InputSettings
from baseline3d.store import PreparedCase, open_prepared
from networks.classes import class_values
from volumes.datasets import read_dataset
from volumes.errors import InputError
from volumes.labels import Label, LabelTable

INPUTS = InputSettings((4, 8, 8), IntensitySettings("range", low=-1024, high=1024))
EVERYTHING = AugmentationSettings(
    rotate_share=0.7,
    rotate=30.0,
    tilt=5.0,
    scale_share=0.7,
    scale=(0.7, 1.4),
    flip=(0.5, 0.5, 0.5),
    hu_shift_share=0.5,
    hu_shift=(-200.0, 200.0),
    smooth_share=0.5,
    noise_share=0.5,
    noise_mean=0.5,
    brightness_share=0.5,
    brightness=(0.7, 1.3),
    contrast_share=0.5,
    contrast=(0.7, 1.3),
    shift_share=0.5,
    shift=(0.0, 0.3),
    gamma_share=0.5,
    gamma=(0.5, 2.5),
    resolution_share=0.5,
    paint_share=0.5,
)


@pytest.fixture
def cases(training_set: Path, tmp_path: Path) -> list[PreparedCase]:
    dataset = read_dataset(training_set)
    return open_prepared(dataset.training, dataset.table, tmp_path, INPUTS)


def _stream(cases: list[PreparedCase], training_set: Path, foreground: float = 0.5, **more: object) -> PatchStream:
    settings = {"augmentation": AugmentationSettings(), "batch_size": 2, "seed": 5, **more}
    table = read_dataset(training_set).table
    return PatchStream(
        cases,
        table,
        inputs=INPUTS,
        figures=None,
        settings=PatchSettings(foreground),
        **settings,  # type: ignore[arg-type]
    )


def test_a_batch_depends_on_its_number_alone(cases: list[PreparedCase], training_set: Path) -> None:
    streams = [_stream(cases, training_set, augmentation=EVERYTHING) for _ in range(2)]
    streams[1].batch(0)  # whatever was drawn before
    expected, again = streams[0].batch(3), streams[1].batch(3)
    late = next(iter(_stream(cases, training_set, augmentation=EVERYTHING, start=3)))
    for name, tensor in expected.items():
        assert torch.equal(tensor, again[name]) and torch.equal(tensor, late[name]), name
    other = _stream(cases, training_set, augmentation=EVERYTHING, rank=1)
    assert not torch.equal(other.batch(3)["image"], expected["image"])


def test_shapes_and_what_is_known(cases: list[PreparedCase], training_set: Path) -> None:
    batch = _stream(cases, training_set, augmentation=EVERYTHING, batch_size=9).batch(0)
    assert batch["image"].shape == (9, 1, 4, 8, 8) and batch["image"].dtype == torch.float32
    assert batch["label"].shape == (9, 4, 8, 8) and batch["label"].dtype == torch.int64
    assert torch.isfinite(batch["image"]).all() and batch["known"].shape == (9, 4)
    assert not batch["known"].all(), "one case does not contour the tube"


def test_foreground_patches_hold_their_structure(cases: list[PreparedCase], training_set: Path) -> None:
    stream = _stream(cases, training_set, foreground=1.0, batch_size=1)
    values = class_values(read_dataset(training_set).table)
    seen = []
    for index in range(30):
        _, label = stream.draw(index)
        assert label is not None and (stream.batch(index)["label"] == values.index(label)).any()
        seen.append(label)
    assert {seen.count(label) for label in (1, 2, 3)} == {10}, "the tube as often as what all cases have"
    assert all(_stream(cases, training_set, foreground=0.0).draw(n)[1] is None for n in range(10))


def test_mirrored_patches_exchange_the_sides(cases: list[PreparedCase], training_set: Path) -> None:
    always = AugmentationSettings(flip=(0.0, 0.0, 1.0))
    plain, mirrored = (
        _stream(cases, training_set, augmentation=one, batch_size=6) for one in (AugmentationSettings(), always)
    )
    for index in range(4):
        one, other = plain.batch(index), mirrored.batch(index)
        assert torch.equal(one["image"], other["image"].flip(-1))
        swapped = torch.tensor([0, 2, 1, 3])
        assert torch.equal(swapped[one["label"]], other["label"].flip(-1))
        assert torch.equal(one["known"][:, swapped], other["known"])
    lonely = LabelTable([Label(1, "left_ball", (1, 1, 1))], "lonely")
    with pytest.raises(InputError, match="without a 'right_ball'"):
        PatchStream(
            cases,
            lonely,
            inputs=INPUTS,
            figures=None,
            settings=PatchSettings(),
            augmentation=always,
            batch_size=1,
            seed=0,
        )


def test_a_case_smaller_than_the_patch_lies_in_its_middle(cases: list[PreparedCase], training_set: Path) -> None:
    stream = _stream(cases, training_set)
    stream.inputs = replace(INPUTS, patch=(10, 40, 40))
    stream._augment = PatchAugmenter((10, 40, 40), AugmentationSettings())
    image = stream.batch(0)["image"][0, 0].numpy()
    inside = image != image[0, 0, 0]
    assert inside[2:8, 3:37, 2:38].all() and inside.sum() == 6 * 34 * 36


def test_turned_and_grown_about_the_middle() -> None:
    z, y, x = np.indices((21, 61, 61))
    disc = (np.hypot(y - 30, x - 30) < 10) & (abs(z - 10) < 3)
    quarter = PatchAugmenter((9, 21, 21), AugmentationSettings(rotate_share=1.0, rotate=90.0))
    rng = np.random.default_rng(0)
    for scale, radius in ((1.0, 10.0), (0.5, 5.0), (1.5, 15.0)):
        matrix = quarter.bend(rng)
        assert matrix is not None
        matrix = matrix / scale
        region = quarter.region(matrix)
        corner = [round(middle - (side - 1) / 2) for middle, side in zip((10, 30, 30), region, strict=True)]
        hu = cut_box((disc * 100).astype(np.int16), corner, region, -1024)
        bent, labels = quarter.bent(hu, cut_box(disc.astype(np.uint8), corner, region, 0), matrix)
        assert bent.shape == labels.shape == (9, 21, 21) and bent.min() > -1, "no air turned in"
        row = labels[4, 10]
        assert row.sum() == pytest.approx(min(21, 2 * radius), abs=2.0)
        assert abs(int(np.argmax(row)) - int(np.argmax(row[::-1]))) <= 1, "about the middle, to half a voxel"


def test_nothing_is_done_where_nothing_is_asked() -> None:
    augmenter, rng = PatchAugmenter((4, 8, 8), AugmentationSettings()), np.random.default_rng(0)
    image = rng.normal(size=(4, 8, 8)).astype(np.float32)
    assert augmenter.bend(rng) is None and augmenter.flips(rng) == (False, False, False)
    assert np.array_equal(augmenter.tint(image, rng), image) and augmenter.shifted(image, rng) is image


@pytest.mark.parametrize("share", [name for name in vars(EVERYTHING) if name.endswith("_share")])
def test_each_change_changes_something(share: str) -> None:
    settings = replace(EVERYTHING, **{name: 0.0 for name in vars(EVERYTHING) if name.endswith("_share")} | {share: 1.0})
    augmenter, rng = PatchAugmenter((8, 16, 16), settings), np.random.default_rng(1)
    image = rng.normal(size=(8, 16, 16)).astype(np.float32)
    bent = augmenter.bend(rng) is not None
    shifted = augmenter.shifted(image, rng) is not image
    tinted = augmenter.tint(image, rng)
    assert bent == (share in ("rotate_share", "scale_share")) and shifted == (share == "hu_shift_share")
    assert np.array_equal(tinted, image) == (bent or shifted) and np.isfinite(tinted).all()
