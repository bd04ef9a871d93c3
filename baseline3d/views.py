"""Test-time augmentation: a volume seen in several ways, and what the network says of them brought together.

Zhang 3.2 labels unlabelled cases from the volume, the volume turned by 180 degrees about z, and its middle. Memory: a
slab of probabilities for the whole and one for the middle, whatever the number of slices, since both go through the
volume from below in step. Mirrored patches cost time alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baseline3d.boxes import Box
from baseline3d.preparation import Plan, plan
from baseline3d.segmenter import VolumeSegmenter
from networks.classes import class_values, mirrored_classes
from networks.configurations import check_values
from networks.upsampling import FilePixels
from volumes.volume import Volume

_AXES = "zyx"


@dataclass(frozen=True)
class ViewSettings:
    """How a volume is seen besides as it is.

    Attributes:
        flips: axes that patches are mirrored along, for each view: `yx` is a turn by 180 degrees about z. Where x is
            among them left and right structures change places, as where training mirrors: a network that was trained so
            calls left what lies on one side of the picture.
        crop: share of each side of the box that the view of its middle has; 0: no such view. Where every box is
            brought to one shape the middle is seen larger; else in other windows.
    """

    flips: tuple[str, ...] = ()
    crop: float = 0.0

    def __post_init__(self) -> None:
        good = all(one and len(set(one)) == len(one) and set(one) <= set(_AXES) for one in self.flips)
        check_values(
            self,
            "views",
            ("flips", good, "axes such as x, or yx, each once"),
            ("crop", 0 <= self.crop < 1, "a share from 0 to less than 1"),
        )


class AugmentedSegmenter:
    """Segments volumes from several views of them.

    Args:
        segmenter: with the network.
        settings: which views.

    Raises:
        InputError: views that are mirrored along x, and a structure that has one side alone.
    """

    def __init__(self, segmenter: VolumeSegmenter, settings: ViewSettings) -> None:
        self.segmenter, self.settings = segmenter, settings
        self.table = segmenter.table
        mirrored = any("x" in one for one in settings.flips)
        order = mirrored_classes(self.table) if mirrored else np.arange(len(self.table) + 1)
        self._mirrored = torch.from_numpy(order.astype(np.int64)).to(segmenter.device)
        self._values = np.array(class_values(self.table), np.uint8)

    def segment_all(self, volume: Volume, *, box: Box | None = None) -> NDArray[np.uint8]:
        """Labels (D, H, W) of a volume, as `VolumeSegmenter.segment_all`, without post-processing.

        Args:
            box: look at this part of the volume, not at the one that the model finds.

        Raises:
            NotEnoughMemory: a patch does not fit.
        """
        segmenter = self.segmenter
        whole = plan(volume, segmenter.settings, segmenter.find_box(volume) if box is None else box)
        views = [_View(segmenter, volume, whole, self.predict, 1 + len(self.settings.flips))]
        if self.settings.crop:
            middle = plan(volume, segmenter.settings, _middle(whole.box, self.settings.crop))
            views.append(_View(segmenter, volume, middle, segmenter.predict, 1))
        out = np.zeros(volume.shape, np.uint8)
        depth, rows, columns = whole.box
        pixels = views[0].pixels
        for z in range(depth.start, depth.stop):
            there = [view.slice_at(z) for view in views if view.has(z)]
            candidates = torch.unique(torch.cat([one.candidates for one in there]))
            classes, _ = pixels.likeliest(candidates, lambda some, there=there: _mean(there, whole, some))  # type: ignore[misc]
            out[z, rows, columns] = self._values[classes]
        return out

    def predict(self, image: Tensor) -> Tensor:
        """Mean probabilities 1 x (K+1) x D x H x W of a window 1 x 1 x D x H x W and of its mirrored likes."""
        total = self.segmenter.predict(image)
        for flip in self.settings.flips:
            axes = [2 + _AXES.index(axis) for axis in flip]
            found = self.segmenter.predict(image.flip(axes)).flip(axes)
            total = total + (found[:, self._mirrored] if "x" in flip else found)
        return total / (1 + len(self.settings.flips))


@dataclass(frozen=True)
class _Seen:
    """What a view says of one slice."""

    probabilities: Tensor
    pixels: FilePixels
    box: Box
    weight: int

    @property
    def candidates(self) -> Tensor:
        return self.pixels.candidates(self.probabilities)


class _View:
    """A part of a volume, slice by slice from below."""

    def __init__(
        self,
        segmenter: VolumeSegmenter,
        volume: Volume,
        made: Plan,
        predict: Callable[[Tensor], Tensor],
        weight: int,
    ) -> None:
        self.box, self.weight = made.box, weight
        self.pixels = FilePixels(made.shape[1:], made.box_shape[1:], segmenter.device)
        self._slices: Iterator[Tensor] = segmenter.probability_slices(volume, made, predict=predict)

    def has(self, z: int) -> bool:
        """Whether it reaches slice `z`."""
        return self.box[0].start <= z < self.box[0].stop

    def slice_at(self, z: int) -> _Seen:
        """Its slice `z`; each is asked for once, from below."""
        return _Seen(next(self._slices), self.pixels, self.box, self.weight)


def _mean(there: list[_Seen], whole: Plan, some: Tensor) -> Tensor:
    """Mean probabilities (n, H, W) of some classes on the whole's pixels, each view with its weight where it looks."""
    depth, rows, columns = whole.box
    first = there[0]
    total = first.pixels.resampled(first.probabilities[some]) * first.weight
    weights = torch.full(total.shape[1:], float(first.weight), device=total.device)
    for one in there[1:]:
        top, left = one.box[1].start - rows.start, one.box[2].start - columns.start
        inner = slice(top, top + one.pixels.native[0]), slice(left, left + one.pixels.native[1])
        total[(slice(None), *inner)] += one.pixels.resampled(one.probabilities[some]) * one.weight
        weights[inner] += one.weight
    return total / weights


def _middle(box: Box, share: float) -> Box:
    """The middle of a box, with so much of each of its sides."""
    found = []
    for side in box:
        length = side.stop - side.start
        kept = max(1, round(length * share))
        start = side.start + (length - kept) // 2
        found.append(slice(start, start + kept))
    depth, height, width = found
    return depth, height, width
