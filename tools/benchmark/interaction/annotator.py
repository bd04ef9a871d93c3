"""A simulated annotator: paints whole slices of a case, exactly or as people draw, and is scored against the truth."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tools.benchmark.classical import Mask
from tools.benchmark.datasets import Case, Structure, structures_of
from tools.benchmark.key_slices import choose_key_slices

if TYPE_CHECKING:
    from volumes.label_map import LabelMap
    from volumes.volume import Volume

EXACT, NOISY = "exact", "noisy"
ACCEPTABLE = 0.9
"""Dice from which a slice of a structure is left as it is."""

_MARGIN_MM = 6.0  # room for what is drawn beyond the true outline
_VIEW_MM = 144.0  # what hands waver on is as coarse for a small structure as for a large one
Counts = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Per slice `(D,)`: labelled pixels of a structure, and how many of them are right."""


class Scene:
    """One case with all that is scored on it.

    Attributes:
        structures: those that count, in boxes with a margin in the plane; `extent` are the marks.
        labelled: bool `(D, H, W)`, any of them.
    """

    def __init__(self, case: Case) -> None:
        from volumes.formats import read_label_map

        label_map = read_label_map(case.labels)
        self.case = case
        self.shape, self.spacing = label_map.shape, label_map.spacing
        self.structures = [self._with_margin(one, label_map) for one in structures_of(case, label_map)]
        self.labels = [one.label for one in self.structures]
        self.labelled: Mask = np.isin(label_map.array, self.labels)

    @cached_property
    def volume(self) -> Volume:
        """The CT; read when it is first needed."""
        from volumes.formats import read_volume

        return read_volume(self.case.image)

    @property
    def extents(self) -> dict[int, tuple[int, int]]:
        """First and last slice of each structure: the marks that every method gets."""
        return {one.label: one.extent for one in self.structures}

    def equidistant(self, count: int) -> list[int]:
        """`count` slices evenly spaced over all structures together, as `choose_key_slices` places them."""
        return choose_key_slices(self.labelled, count)

    def shuffled(self, seed: int) -> list[int]:
        """Slices with any structure on them, in random order."""
        rng = np.random.default_rng([seed, zlib.crc32(self.case.name.encode())])
        return [int(z) for z in rng.permutation(np.flatnonzero(self.labelled.any(axis=(1, 2))))]

    def score(self, counts: Mapping[int, Counts]) -> tuple[float, float]:
        """Mean Dice over structures, and the share of acceptable slices.

        A structure on a slice counts if it is there, or is said to be; all structures' slices are pooled.

        Args:
            counts: of each structure by label, see `counts_in` and `counts_of`.
        """
        scores, good, counted = [], 0, 0
        for one in self.structures:
            predicted, right = counts[one.label]
            true = np.zeros(self.shape[0], np.int64)
            true[one.box[0]] = one.mask.sum(axis=(1, 2))
            both = predicted + true
            scores.append(2.0 * float(right.sum()) / float(both.sum()))
            there = both > 0
            good += int((2 * right[there] >= ACCEPTABLE * both[there]).sum())
            counted += int(there.sum())
        return float(np.mean(scores)), good / counted

    def counts_in(self, labels: npt.NDArray[np.uint8]) -> dict[int, Counts]:
        """Of a label map `(D, H, W)`."""
        from propagation_module.suggestion import areas_of

        areas, found = areas_of(labels), {}
        for one in self.structures:
            right = np.zeros(self.shape[0], np.int64)
            right[one.box[0]] = ((labels[one.box] == one.label) & one.mask).sum(axis=(1, 2))
            found[one.label] = areas[:, one.label], right
        return found

    def counts_of(self, one: Structure, mask: Mask) -> Counts:
        """Of one structure's mask in its box."""
        predicted, right = np.zeros((2, self.shape[0]), np.int64)
        predicted[one.box[0]] = mask.sum(axis=(1, 2))
        right[one.box[0]] = (mask & one.mask).sum(axis=(1, 2))
        return predicted, right

    def _with_margin(self, one: Structure, label_map: LabelMap) -> Structure:
        rows, columns = (
            slice(max(0, side.start - round(_MARGIN_MM / step)), side.stop + round(_MARGIN_MM / step))
            for side, step in zip(one.box[1:], self.spacing[1:], strict=True)
        )
        box = (one.box[0], rows, columns)
        return replace(one, mask=label_map.array[box] == one.label, box=box)


class Annotator:
    """Paints slices of a scene; a slice is painted the same way whenever it is asked for.

    Args:
        noise: `EXACT` paints the truth; `NOISY` wavers and now and then misses a part.
    """

    def __init__(self, scene: Scene, noise: str, seed: int) -> None:
        self.scene, self.noise, self.seed = scene, noise, seed
        self._painted: dict[int, npt.NDArray[np.uint8]] = {}

    def paint(self, z: int) -> npt.NDArray[np.uint8]:
        """All scored structures of slice `z`, `(H, W)`."""
        if z not in self._painted:
            self._painted[z] = self._paint(z)
        return self._painted[z]

    def given(self, one: Structure, slices: Sequence[int]) -> tuple[Mask, list[int], list[int]]:
        """What an interpolation tool gets of one structure.

        Returns:
            The mask in its box, painted on `slices`; those of them that it is on; and all that lie between its
            marks. Both count from the first mark.
        """
        mask = np.zeros_like(one.mask)
        low, high = one.extent
        known = [z - low for z in sorted(slices) if low <= z <= high]
        for z in known:
            mask[z] = self.paint(low + z)[one.box[1:]] == one.label
        return mask, [z for z in known if mask[z].any()], known

    def _paint(self, z: int) -> npt.NDArray[np.uint8]:
        plane = np.zeros(self.scene.shape[1:], np.uint8)
        there = [one for one in self.scene.structures if one.extent[0] <= z <= one.extent[1]]
        drawings = [(one.label, *self._draw(one, z)) for one in there]
        for label, window, _, drawn in drawings:
            target = plane[window]
            target[drawn & (target == 0)] = label
        for label, window, true, drawn in drawings:  # where drawings overlap, the truth decides
            plane[window][drawn & true] = label
        return plane

    def _draw(self, one: Structure, z: int) -> tuple[tuple[slice, slice], Mask, Mask]:
        """A window of the plane with the structure as it is and as it is drawn."""
        spacing = self.scene.spacing[1:]
        rows, columns = (
            _at_least(side, round(_VIEW_MM / step), size)
            for side, step, size in zip(one.box[1:], spacing, self.scene.shape[1:], strict=True)
        )
        plane = np.zeros(self.scene.shape[1:], bool)
        plane[one.box[1:]] = one.mask[z - one.extent[0]]
        true = plane[rows, columns]
        if self.noise == EXACT:
            return (rows, columns), true, true
        from propagation_module.hand_drawn import hand_drawn

        seed = [self.seed, zlib.crc32(self.scene.case.name.encode()), one.label, z]
        drawn = hand_drawn(np.random.default_rng(seed), true, float(np.mean(spacing)))
        return (rows, columns), true, drawn


def _at_least(side: slice, length: int, size: int) -> slice:
    """`side` grown about its middle to `length`, within 0..size."""
    missing = max(0, length - (side.stop - side.start))
    return slice(max(0, side.start - missing // 2), min(size, side.stop + missing - missing // 2))
