"""Validation: Dice of whole volumes, in eval mode, over the structures that a case contours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from networks.training.case_store import StoredCase
from networks.training.validation import NotInEvalMode
from reference_module.pair import Pair
from reference_module.slices import open_store
from reference_module.smoothing import smoothed
from reference_module.validation import volume_dice
from volumes.datasets import DataSet, read_dataset


class _ByBrightness(nn.Module):
    """Knows the test data's structures by their grey: label * 70 - 40 HU in a window from -150 to 250 HU."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = nn.Parameter(torch.arange(classes).float())
        self.norm = nn.BatchNorm2d(3)
        self.positions: list[float] = []

    def forward(self, images: Tensor, position: Tensor) -> Tensor:
        self.norm(images)
        self.positions += position.tolist()
        hu = images[:, :1] * 400 - 150
        return -((hu - (self.classes[None, :, None, None] * 70 - 40)) ** 2) / 100


def _pair(classes: int = 4) -> Pair:
    return Pair(_ByBrightness(classes), _ByBrightness(classes)).eval()


@pytest.fixture
def dataset(training_set: Path) -> DataSet:
    return read_dataset(training_set)


@pytest.fixture
def case(dataset: DataSet, tmp_path: Path) -> StoredCase:
    return open_store(dataset.validation[:1], dataset.table, tmp_path, None)[0]


def test_it_is_the_dice_of_the_whole_volume(case: StoredCase, dataset: DataSet) -> None:
    found = volume_dice(_pair(), case, dataset.table, "three")
    image, labels = np.asarray(case.image).astype(float), np.asarray(case.labels)
    grey = np.trunc(255 * (np.clip(image, -150, 250) + 150) / 400) / 255 * 400 - 150
    logits = torch.from_numpy(-((grey[..., None] - (np.arange(4) * 70 - 40)) ** 2) / 100).softmax(-1)
    averaged = smoothed(logits.movedim(-1, 1), case.depth, case.spacing[0])
    nearest = torch.stack(list(averaged)).argmax(1).numpy()
    for label in (1, 2, 3):
        both = ((nearest == label) & (labels == label)).sum()
        expected = 2 * both / ((nearest == label).sum() + (labels == label).sum())
        assert found[label] == pytest.approx(expected, abs=0.002)
        assert found[label] > 0.9


def test_every_slice_is_seen_once_at_its_place(case: StoredCase, dataset: DataSet) -> None:
    pair = _pair()
    volume_dice(pair, case, dataset.table, "three")
    assert pair.first.positions == pytest.approx([z / case.depth for z in range(case.depth)])


def test_scored_is_what_the_case_contours(case: StoredCase, dataset: DataSet) -> None:
    assert set(volume_dice(_pair(), replace(case, contoured=(1, 3)), dataset.table, "three")) == {1, 3}


def test_training_mode_is_refused_and_nothing_is_learnt(case: StoredCase, dataset: DataSet) -> None:
    pair = _pair()
    before = {name: tensor.clone() for name, tensor in pair.state_dict().items()}
    volume_dice(pair, case, dataset.table, "three")
    assert all(torch.equal(tensor, before[name]) for name, tensor in pair.state_dict().items())
    pair.first.norm.train()
    with pytest.raises(NotInEvalMode):
        volume_dice(pair, case, dataset.table, "three")
