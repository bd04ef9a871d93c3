"""Test-time augmentation: what several views say is brought together, each where it looks, in bounded memory."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baseline3d.description import Description
from baseline3d.intensity import IntensitySettings
from baseline3d.models import LoadedModel
from baseline3d.preparation import InputSettings, Plan
from baseline3d.segmenter import VolumeSegmenter
from baseline3d.sliding import WindowSettings
from baseline3d.views import AugmentedSegmenter, ViewSettings
from volumes.errors import InputError
from volumes.labels import Label, LabelTable
from volumes.volume import Geometry, Volume

sys.path.insert(0, str(Path(__file__).parent))
from seeing import STEP_HU, TABLE, seeing  # noqa: E402

KIDNEYS = LabelTable([Label(2, "left_kidney", (1, 1, 1)), Label(5, "right_kidney", (2, 2, 2))], "kidneys")


def blocks(shape: tuple[int, int, int]) -> tuple[Volume, np.ndarray]:
    """Random blocks of four classes, and their labels."""
    rng = np.random.default_rng(3)
    classes = np.kron(rng.integers(0, 4, [-(-side // 3) for side in shape]), np.ones((3, 3, 3), int))
    classes = classes[: shape[0], : shape[1], : shape[2]]
    volume = Volume((classes * STEP_HU).astype(np.int16), Geometry.axial(shape, (3.0, 1.0, 1.0)), "blocks")
    return volume, np.array([0, *TABLE], np.uint8)[classes]


@pytest.mark.parametrize(
    "views", [ViewSettings(), ViewSettings(("yx",)), ViewSettings(("z", "x", "zyx"), 0.5), ViewSettings((), 0.8)]
)
@pytest.mark.parametrize("inputs", [{}, {"shape": (12, 24, 20), "patch": (12, 24, 20)}])
def test_where_all_views_are_right_so_are_they_together(views: ViewSettings, inputs: dict[str, Any]) -> None:
    volume, truth = blocks((12, 24, 20))
    segmenter = VolumeSegmenter(seeing(**inputs), precision="float32")
    found = AugmentedSegmenter(segmenter, views).segment_all(volume)
    middle = 0 if not inputs or not views.crop else 3  # the middle is seen larger: outlines are interpolated there
    assert (found != truth).mean() <= 0.1 * middle and (middle or np.array_equal(found, truth))


class Sided(nn.Module):
    """Calls a kidney left or right by the side of the window that it lies on, as one that is trained mirrored does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        kidney = image[:, 0] > 0.5
        left = torch.arange(image.shape[-1]) >= image.shape[-1] / 2
        return 9.0 * torch.stack([~kidney, kidney & left, kidney & ~left], 1).float()


def sided(table: LabelTable = KIDNEYS) -> VolumeSegmenter:
    inputs = InputSettings((4, 8, 8), IntensitySettings("range", low=0.0, high=400.0))
    described = Description({"head": "softmax"}, table, inputs, WindowSettings(), None)
    return VolumeSegmenter(LoadedModel(Sided().eval(), described), precision="float32")


@pytest.mark.parametrize("flips", [("x",), ("yx",), ("y",)])
def test_left_stays_left(flips: tuple[str, ...]) -> None:
    hu = np.zeros((4, 8, 8), np.int16)
    hu[1:3, 3:5, 1:3] = hu[1:3, 3:5, 5:7] = 400
    volume = Volume(hu, Geometry.axial(hu.shape, (1.0, 1.0, 1.0)), "kidneys")
    segmenter = sided()
    found = AugmentedSegmenter(segmenter, ViewSettings(flips)).segment_all(volume)
    assert np.array_equal(found, segmenter.segment_all(volume))
    assert (found[1:3, 3:5, 5:7] == 2).all() and (found[1:3, 3:5, 1:3] == 5).all()


def test_one_kidney_alone_cannot_be_mirrored() -> None:
    one = LabelTable([KIDNEYS[2], Label(5, "liver", (2, 2, 2))], "one")
    with pytest.raises(InputError, match="'left_kidney' without a 'right_kidney'"):
        AugmentedSegmenter(sided(one), ViewSettings(("yx",)))
    AugmentedSegmenter(sided(one), ViewSettings(("y",)))


def test_a_window_and_its_mirrored_likes_count_alike() -> None:
    segmenter = VolumeSegmenter(seeing(), precision="float32")
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(1, 4, 4, 8, 8, generator=generator)
    segmenter.predict = lambda image: image * table  # type: ignore[method-assign]
    image = torch.rand(1, 1, 4, 8, 8, generator=generator)
    found = AugmentedSegmenter(segmenter, ViewSettings(("yx", "z"))).predict(image)
    turned = (image.rot90(2, (3, 4)) * table).rot90(2, (3, 4))
    upside_down = (image.flip(2) * table).flip(2)
    torch.testing.assert_close(found, (image * table + turned + upside_down) / 3)


class Told:
    """Yields one probability of class 1 for all pixels of a view, and counts the slices that are held."""

    def __init__(self, segmenter: VolumeSegmenter, whole: float, middle: float) -> None:
        self.segmenter, self.whole, self.middle = segmenter, whole, middle
        self.slices: list[weakref.ref[Tensor]] = []
        self.most = 0

    def __call__(self, volume: Volume, made: Plan, **named: Any) -> Iterator[Tensor]:
        share = self.whole if made.box_shape == volume.shape else self.middle
        for _ in range(made.box_shape[0]):
            one = torch.zeros(4, *made.shape[1:])
            one[0], one[1] = 1 - share, share
            self.slices.append(weakref.ref(one))
            self.most = max(self.most, sum(slice_() is not None for slice_ in self.slices))
            yield one


def test_each_view_counts_where_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole says 0.4, its middle 0.7: together 0.55. Mirrored, the whole counts twice: 0.45 with one of 0.55."""
    segmenter = VolumeSegmenter(seeing(), precision="float32")
    told = Told(segmenter, 0.4, 0.7)
    monkeypatch.setattr(segmenter, "probability_slices", told)
    volume = Volume(np.zeros((40, 8, 12), np.int16), Geometry.axial((40, 8, 12), (1.0, 1.0, 1.0)), "air")
    found = AugmentedSegmenter(segmenter, ViewSettings((), 0.5)).segment_all(volume)
    expected = np.zeros(volume.shape, np.uint8)
    expected[10:30, 2:6, 3:9] = 2
    assert np.array_equal(found, expected)
    assert told.most <= 4, "slices are held no longer than they are looked at"
    told.middle = 0.55
    assert not AugmentedSegmenter(segmenter, ViewSettings(("y",), 0.5)).segment_all(volume).any()


@pytest.mark.parametrize("settings", [{"flips": ("w",)}, {"flips": ("xx",)}, {"flips": ("",)}, {"crop": 1.0}])
def test_views_that_are_none(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="views"):
        ViewSettings(**settings)
