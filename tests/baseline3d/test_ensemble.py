"""Several networks as one: the mean of their probabilities decides, whatever the number of slices."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from seeing import STEP_HU, TABLE, Seeing, seeing

from baseline3d.ensemble import Ensemble
from baseline3d.models import LoadedModel
from baseline3d.segmenter import VolumeSegmenter
from baseline3d.sliding import WindowSettings
from volumes.errors import InputError
from volumes.label_map import LabelMap
from volumes.volume import Geometry, Volume


class Sure(Seeing):
    """Says class `said` with a probability wherever there is tissue, and the three others with equal ones."""

    def __init__(self, said: int, probability: float) -> None:
        super().__init__("softmax")
        self.said, self.probability = said, probability

    def forward(self, image: Tensor) -> Tensor:
        found = torch.full((len(image), 4, *image.shape[2:]), (1 - self.probability) / 3)
        found[:, self.said] = self.probability
        nothing = torch.tensor([1.0, 1e-9, 1e-9, 1e-9]).view(1, 4, 1, 1, 1)
        return torch.where(image > 0.1, found, nothing).log()


def member(said: int, probability: float, **settings: Any) -> VolumeSegmenter:
    return VolumeSegmenter(
        LoadedModel(Sure(said, probability).eval(), seeing(**settings).described), precision="float32"
    )  # type: ignore[arg-type]


def volume(depth: int = 9) -> Volume:
    array = np.zeros((depth, 20, 18), np.int16)
    array[2:-2, 4:12, 5:13] = STEP_HU
    return Volume(array, Geometry.axial(array.shape, (3.0, 1.5, 1.5)), "V")


def test_the_mean_of_probabilities_decides_not_the_majority() -> None:
    """Two are for liver with .4 and give aorta .2, one gives aorta .97: the means are .27 and .46."""
    ensemble = Ensemble([member(1, 0.4), member(1, 0.4), member(2, 0.97)])
    together, alone = ensemble.segment_each(volume())
    inside = volume().array > 0
    assert (together[inside] == 5).all() and not together[~inside].any()
    assert (alone[0][inside] == 2).all() and (alone[2][inside] == 5).all()
    assert (ensemble.segment_all(volume()) == together).all()


def test_one_member_is_itself_on_any_grid() -> None:
    single = VolumeSegmenter(seeing(spacing=(2.0, 2.0, 2.0)), precision="float32")
    together, (alone,) = Ensemble([single]).segment_each(volume(31))
    assert (together == single.segment_all(volume(31))).all() and (alone == together).all() and together.any()


def test_members_of_another_kind_are_refused() -> None:
    with pytest.raises(InputError, match="another input"):
        Ensemble([member(1, 0.5), member(1, 0.5, spacing=(2.0, 2.0, 2.0))])


def test_a_volume_that_does_not_fit_is_seen_on_coarser_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    from baseline3d.memory import memory_for

    made = seeing(spacing=(3.0, 1.5, 1.5))
    model = replace(made, described=replace(made.described, windows=WindowSettings(coarser=(3.0, 3.0, 3.0))))
    ensemble = Ensemble([VolumeSegmenter(model, precision="float32") for _ in range(2)])
    real = VolumeSegmenter.probability_slices

    def limited(segmenter: VolumeSegmenter, given: Volume, plan: object, *rest: object, **named: object) -> object:
        with memory_for("a patch", "input.patch"):
            if plan.shape[1] == 20:  # type: ignore[attr-defined]
                raise MemoryError
        return real(segmenter, given, plan, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(VolumeSegmenter, "probability_slices", limited)
    found = LabelMap(ensemble.segment_all(volume()), volume().geometry, TABLE, "V")
    assert found.present() == (2,) and "coarser ones" in ensemble.members[0].warnings[0]


def test_members_go_through_a_volume_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held of a volume are the slabs of the members, and one slice of each."""
    real, drawn = VolumeSegmenter.probability_slices, []

    def watched(segmenter: VolumeSegmenter, *given: object, **named: object) -> Iterator[Tensor]:
        for z, found in enumerate(real(segmenter, *given, **named)):  # type: ignore[arg-type]
            drawn.append((z, members.index(segmenter)))
            yield found

    monkeypatch.setattr(VolumeSegmenter, "probability_slices", watched)
    members = [member(1, 0.5) for _ in range(3)]
    Ensemble(members).segment_all(volume(40))
    assert drawn == [(z, number) for z in range(40) for number in range(3)]
