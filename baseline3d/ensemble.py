"""Several networks of one configuration as one: the mean of their probabilities decides (Alves 2.2: deep ensembles).

They go through a volume in step, slice by slice, so that probabilities are held of as many slices as their windows are
deep, for each network, whatever the number of slices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from baseline3d.preparation import InputSettings, plan
from baseline3d.segmenter import VolumeSegmenter
from networks.classes import class_values
from networks.upsampling import FilePixels
from volumes.errors import InputError
from volumes.volume import Volume


class Ensemble:
    """Networks that segment together.

    Args:
        members: one or more, of the same structures, input and inference settings.

    Raises:
        InputError: members that differ in these.
    """

    def __init__(self, members: Sequence[VolumeSegmenter]) -> None:
        self.members, self.table = list(members), members[0].table
        for other in members[1:]:
            for what, theirs, ours in (
                ("structures", other.table.names(), self.table.names()),
                ("input", other.settings, members[0].settings),
            ):
                if theirs != ours:
                    raise InputError(
                        "members of an ensemble",
                        found=f"another {what}: {theirs}",
                        expected=f"{ours}",
                        fix="train anew",
                    )
        self._values = np.array(class_values(self.table), np.uint8)

    def segment_all(self, volume: Volume) -> NDArray[np.uint8]:
        """Labels (D, H, W) of a volume by the mean of all members, without post-processing.

        Raises:
            NotEnoughMemory: as of `VolumeSegmenter.segment_all`.
        """
        return self.segment_each(volume)[0]

    def segment_each(self, volume: Volume) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
        """The same, and the labels (D, H, W) of each member alone."""
        return self.members[0].where_it_fits(lambda settings: self._labels(volume, settings))

    def _labels(self, volume: Volume, settings: InputSettings) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
        made = plan(volume, settings)
        depth, rows, columns = made.box
        pixels = FilePixels(made.shape[1:], made.box_shape[1:], self.members[0].device)
        together = np.zeros(volume.shape, np.uint8)
        alone = [np.zeros(volume.shape, np.uint8) for _ in self.members]
        slices = zip(*(member.probability_slices(volume, made) for member in self.members), strict=True)
        for z, found in enumerate(slices, start=depth.start):
            for labels, one in zip(alone, found, strict=True):
                labels[z, rows, columns] = self._values[pixels.classes(one)]
            mean = sum(found[1:], start=found[0]) / len(found)
            together[z, rows, columns] = self._values[pixels.classes(mean)]
        return together, alone
