"""The pair at work: from a volume to labels on its own grid, of some slices or of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from networks.classes import class_values
from networks.upsampling import FilePixels
from reference_module.inference import ReadyPair
from reference_module.inputs import check_windows, network_input, pixel_shape, resized, slice_position
from reference_module.segmented import Segmented
from reference_module.smoothing import smoothed
from volumes.errors import InputError
from volumes.labels import LabelTable
from volumes.volume import Volume

if TYPE_CHECKING:
    from reference_module.models import InputSettings

BATCH_PIXELS = 1 << 19
"""Pixels that the pair sees at once: two slices of 512 x 512, twelve of 205 x 205."""
MAX_BATCH = 16  # `small` on a 512 x 512 slice of 0.8 mm, one core: 238 ms by one, 150 by four, 133 by sixteen
MAX_SIDE = 2048
"""Longest side of a slice inside, unless the file's own is longer: a spacing of centimetres shall not fill memory."""

Progress = Callable[[int, int], None]


class Referencer:
    """Segments slices with a pair of networks (systems.md 1.4).

    Args:
        pair: `reference_module.pair.Pair`; class 0 is background, class n the n-th label of `table`.
        table: what the classes are.
        settings: what the pair's slices look like.
        device: where it runs.
        precision: `auto`, `float32` or `bfloat16`, see `inference.ReadyPair`.
    """

    def __init__(
        self,
        pair: nn.Module,
        table: LabelTable,
        settings: InputSettings,
        device: str | torch.device = "cpu",
        precision: str = "auto",
    ) -> None:
        check_windows(settings.windows, "input.windows")
        self.table, self.settings = table, settings
        self.device = torch.device(device)
        self._pair = ReadyPair(pair, self.device, precision)
        self._values = np.array(class_values(table), np.uint8)

    @classmethod
    def load(
        cls,
        name: str | Path,
        weights: str | Path | None = None,
        *,
        device: str | torch.device = "cpu",
        precision: str = "auto",
    ) -> Referencer:
        """A pair with weights, see `models.load_pair`.

        Raises:
            InputError: no such model, or weights that do not fit.
        """
        from reference_module.models import load_pair

        loaded = load_pair(name, weights)
        return cls(loaded.pair, loaded.table, loaded.settings, device, precision)

    def segment(self, volume: Volume, slices: Sequence[int], progress: Progress | None = None) -> Segmented:
        """Labels of `slices`, and how far the two members agree on each.

        Args:
            slices: in any order; each is segmented once.
            progress: called with slices done and slices in all.
        """
        wanted = sorted(set(int(z) for z in slices))
        if wanted and not 0 <= wanted[0] <= wanted[-1] < volume.shape[0]:
            raise ValueError(f"slices {wanted[0]} to {wanted[-1]} of a volume of {volume.shape[0]}")
        count, labels = len(wanted), len(self.table)
        planes = np.empty((count, *volume.shape[1:]), np.uint8)
        area = np.empty((count, labels), np.int64)
        agreement, certainty, peak = (np.empty((count, labels), np.float32) for _ in range(3))
        back = self.file_pixels(volume)
        for row, (_, first, second) in enumerate(self._look(volume, wanted)):
            mean = (first + second) / 2
            classes, sure = back.classes_and_certainty(mean)
            counts = _count(classes, labels)
            planes[row], area[row] = self._values[classes], counts
            certainty[row] = _count(classes, labels, sure) / np.maximum(counts, 1)
            agreement[row] = _dice(back.classes(first), back.classes(second), labels)
            peak[row] = mean.flatten(1).amax(1)[1:].cpu().numpy()
            _tell(progress, row + 1, count)
        depth, spacing = volume.shape[0], volume.spacing[0]
        return Segmented(tuple(wanted), planes, area, agreement, certainty, peak, self.table, depth, spacing)

    def segment_all(self, volume: Volume, progress: Progress | None = None) -> NDArray[np.uint8]:
        """What the pair alone makes of a volume: labels (D, H, W), canonical order.

        Each slice is averaged with its neighbours (`smoothing`). Memory: the label map, one batch and a few slices,
        whatever the number of slices.

        Args:
            progress: called with slices done and slices in all.
        """
        out = np.empty(volume.shape, np.uint8)
        back, depth = self.file_pixels(volume), volume.shape[0]
        means = (seen.mean for seen in self.look(volume))
        for z, mean in enumerate(smoothed(means, depth, volume.spacing[0])):
            out[z] = self._values[back.classes(mean)]
            _tell(progress, z + 1, depth)
        return out

    def look(self, volume: Volume) -> Iterator[Seen]:
        """What both members say of each slice, in rising order; `file_pixels` leads back. Memory: one batch."""
        return self._look(volume, range(volume.shape[0]))

    def file_pixels(self, volume: Volume) -> FilePixels:
        """From the inner grid of `volume` to its own pixels."""
        _, height, width = volume.shape
        return FilePixels(self._inner(volume), (height, width), self.device)

    def _inner(self, volume: Volume) -> tuple[int, int]:
        _, height, width = volume.shape
        _, dy, dx = volume.spacing
        rows, columns = pixel_shape((height, width), (dy, dx), self.settings.pixel)
        return min(rows, max(MAX_SIDE, height)), min(columns, max(MAX_SIDE, width))

    def _look(self, volume: Volume, slices: Sequence[int]) -> Iterator[Seen]:
        """Both members' probabilities of each slice, as they are asked for."""
        inner, depth = self._inner(volume), volume.shape[0]
        size = max(1, min(BATCH_PIXELS // (inner[0] * inner[1]), MAX_BATCH))
        for start in range(0, len(slices), size):
            batch = slices[start : start + size]
            planes = np.stack([resized(volume.array[z], inner) for z in batch])
            images = torch.from_numpy(network_input(planes, self.settings.windows))
            position = torch.tensor([slice_position(z, depth) for z in batch], dtype=torch.float32)
            first, second = self._pair.probabilities(images, position)
            self._check(first)
            for row, z in enumerate(batch):
                yield Seen(z, first[row], second[row])

    def _check(self, probabilities: Tensor) -> None:
        if probabilities.shape[1] != len(self._values):
            raise InputError(
                f"label table {self.table.name}",
                found=f"{len(self.table)} labels for a pair of {probabilities.shape[1]} classes",
                expected=f"{probabilities.shape[1] - 1} labels, and background",
                fix="use the table that the pair was trained with",
            )


class Seen(NamedTuple):
    """One slice: z, and each member's probabilities (C, h, w) on the inner grid.

    Class 0 is background, class n the n-th label of the pair's table.
    """

    z: int
    first: Tensor
    second: Tensor

    @property
    def mean(self) -> Tensor:
        """Of both members: what the pair says."""
        return (self.first + self.second) / 2

    def agreement(self) -> NDArray[np.float64]:
        """Dice of the members' masks of each class but background, on the inner grid; 1 where neither has any."""
        one, other = (each.argmax(0).to(torch.uint8).cpu().numpy() for each in (self.first, self.second))
        return _dice(one, other, len(self.first) - 1)


def _count(classes: NDArray[np.uint8], labels: int, weights: NDArray[np.float32] | None = None) -> NDArray:
    """Pixels, or the sum of their weights, of each class but background."""
    flat = None if weights is None else weights.ravel()
    return np.bincount(classes.ravel(), flat, minlength=labels + 1)[1:]


def _dice(one: NDArray[np.uint8], other: NDArray[np.uint8], labels: int) -> NDArray[np.float64]:
    """Dice of each class but background; 1 where neither has any."""
    total = _count(one, labels) + _count(other, labels)
    both = _count(one[one == other], labels)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0)


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
