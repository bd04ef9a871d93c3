"""Batches of patches for training, with labels.

Batch `b` of a run is a function of the seed, the rank and `b` alone, so a run that was killed goes on with the very
patches that it would have seen.

Two ways to draw run side by side, in a fixed rhythm, as for the 2D side's slices. The share
`foreground` goes through the structures; of each through the cases that have it; and takes a patch with one of its
voxels in the middle third. The rest go through the cases, and lie anywhere. So a structure of few voxels, or one that
few cases contour, is seen as often as a large one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from baseline3d.augmentation import AugmentationSettings, PatchAugmenter
from baseline3d.intensity import Figures, scaled
from baseline3d.preparation import InputSettings
from baseline3d.store import PreparedCase
from networks.classes import class_numbers, known_classes, mirrored_classes
from networks.configurations import check_values
from networks.training.streams import Orders, cases_with, in_turn, stacked
from volumes.errors import InputError
from volumes.labels import LabelTable
from volumes.resampling import AIR

_ALL_CASES = 0  # what an order is of, in its seed: of all cases, or of those with one label

Corner = tuple[int, int, int]


@dataclass(frozen=True)
class PatchSettings:
    """How patches are drawn.

    Attributes:
        foreground: share of the patches that are drawn about a structure's voxel: Gao's 0.5 (3.2), nnU-Net's a third.
    """

    foreground: float = 0.5

    def __post_init__(self) -> None:
        check_values(self, "training.patches", ("foreground", 0 <= self.foreground <= 1, "a share from 0 to 1"))


class PatchStream(IterableDataset[dict[str, Tensor]]):
    """Batches without end, from batch `start` on.

    A batch, of `B` patches and `K` structures:
    - `image`: float32 (B, 1, D, H, W), as the network sees it;
    - `label`: int64 (B, D, H, W), classes (`networks.classes.class_values`);
    - `known`: bool (B, K+1), classes that the case contours. A structure that it does not lies in its class 0.

    Args:
        cases: with labels, from `store.open_prepared`.
        inputs: the patch, and what the network sees.
        figures: learnt from the training cases, for intensity rules that need them.
        start: first batch.
        rank: of this process among those that train together.

    Raises:
        InputError: no case, or, for mirrored patches, a structure with one side in `table`.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        table: LabelTable,
        *,
        inputs: InputSettings,
        figures: Figures | None,
        settings: PatchSettings,
        augmentation: AugmentationSettings,
        batch_size: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
    ) -> None:
        if not cases:
            raise InputError("the training data", found="no labelled case", expected="at least one", fix="add some")
        self.cases, self.inputs, self.figures = list(cases), inputs, figures
        self.batch_size, self.seed, self.start, self.rank = batch_size, seed, start, rank
        self._table, self._class_of = table, class_numbers(table)
        unchanged = np.arange(len(table) + 1, dtype=np.uint8)
        self._mirrored = mirrored_classes(table) if augmentation.flip[2] else unchanged
        self._augment = PatchAugmenter(inputs.patch, augmentation)
        self._cases_with = cases_with(self.cases, tuple(table))
        self._foreground = settings.foreground if self._cases_with else 0.0
        self._orders = Orders(seed, rank)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return in_turn(self.batch, self.start)

    def batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index`."""
        return stacked([self._sample(index, item) for item in range(self.batch_size)])

    def draw(self, number: int) -> tuple[int, int | None]:
        """The `number`-th patch of the run: of which case, and about which structure (None: about none)."""
        by_structure = int(number * self._foreground)
        if int((number + 1) * self._foreground) == by_structure:
            return self._orders.at(_ALL_CASES, number - by_structure, len(self.cases)), None
        return self._orders.by_structure(self._cases_with, by_structure)

    def _sample(self, index: int, item: int) -> dict[str, NDArray]:
        rng = np.random.default_rng((self.seed, self.rank, index, item))
        number, label = self.draw(index * self.batch_size + item)
        case = self.cases[number]
        middle = self._middle(case, label, rng)
        matrix = self._augment.bend(rng)
        region = self._augment.region(matrix)
        labels = case.labels
        assert labels is not None
        corner = [round(at - (side - 1) / 2) for at, side in zip(middle, region, strict=True)]
        hu, numbers = self._augment.bent(
            cut_box(case.image, corner, region, AIR), cut_box(labels, corner, region, 0), matrix
        )
        classes, known = self._class_of[numbers], known_classes(self._table, case.contoured)
        image = scaled(
            self._augment.shifted(hu, rng), self.inputs.intensity, case.figures if case.figures else self.figures
        )
        image = self._augment.tint(image, rng)
        image, classes, known = self._flip(image, classes, known, rng)
        return {"image": np.ascontiguousarray(image)[None], "label": classes.astype(np.int64), "known": known}

    def _middle(self, case: PreparedCase, label: int | None, rng: np.random.Generator) -> list[float]:
        """Where the middle of a patch lies: with a voxel of the structure in its middle third, or anywhere."""
        patch = self.inputs.patch
        if label is None:
            spans = [max(0, length - side) for length, side in zip(case.shape, patch, strict=True)]
            corner = [int(rng.integers(0, span + 1)) for span in spans]
            # A volume that is smaller than the patch lies in its middle, as in use (`sliding`).
            return [
                at + (side - 1) / 2 if length >= side else (length - 1) / 2
                for at, side, length in zip(corner, patch, case.shape, strict=True)
            ]
        z = int(rng.choice(case.slices_of[label]))
        labels = case.labels
        assert labels is not None
        y, x = divmod(int(rng.choice(np.flatnonzero(np.asarray(labels[z]) == label))), case.shape[2])
        found = []
        for at, side, length in zip((z, y, x), patch, case.shape, strict=True):
            wanted = at + float(rng.uniform(-side / 6, side / 6))
            low = (side - 1) / 2
            found.append(min(max(wanted, low), length - 1 - low) if length >= side else (length - 1) / 2)
        return found

    def _flip(
        self,
        image: NDArray[np.float32],
        classes: NDArray[np.uint8],
        known: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.bool_]]:
        flips = self._augment.flips(rng)
        where = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
        if flips[2]:
            # Who contours the left one has contoured what is now the right one.
            classes, known = self._mirrored[classes], known[self._mirrored]
        return image[where], classes[where], known


def cut_box(array: NDArray, corner: Sequence[int], shape: Sequence[int], fill: int) -> NDArray:
    """The box of `array` at `corner`, `fill` where it reaches beyond it."""
    out = np.full(tuple(shape), fill, dtype=array.dtype)
    inside = [(max(0, at), min(length, at + side)) for at, side, length in zip(corner, shape, array.shape, strict=True)]
    if all(start < stop for start, stop in inside):
        there = tuple(slice(start - at, stop - at) for (start, stop), at in zip(inside, corner, strict=True))
        out[there] = array[tuple(slice(start, stop) for start, stop in inside)]
    return out
