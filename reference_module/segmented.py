"""What the pair said of some slices: their labels, and for each label how far its two members agree."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from volumes.labels import LabelTable
from volumes.metrics import dice


@dataclass(frozen=True, eq=False)
class Segmented:
    """Segmented slices of one volume, in rising order.

    Args:
        slices: S of them.
        labels: (S, H, W) uint8, the pair's labels on the file's pixels.
        area: (S, K) pixels of each label of `table`, in its order.
        agreement: (S, K) Dice of the two members' own masks; 1 where neither has any.
        certainty: (S, K) mean probability of the label inside its mask, of both members; 0 without a mask.
        peak: (S, K) greatest probability of the label anywhere on the slice.
        table: the labels that the pair knows.
        depth: slices of the whole volume.
        spacing: mm between them.
    """

    slices: tuple[int, ...]
    labels: NDArray[np.uint8]
    area: NDArray[np.int64]
    agreement: NDArray[np.float32]
    certainty: NDArray[np.float32]
    peak: NDArray[np.float32]
    table: LabelTable
    depth: int
    spacing: float

    @cached_property
    def rows(self) -> dict[int, int]:
        """Row of each slice."""
        return {z: row for row, z in enumerate(self.slices)}

    @cached_property
    def columns(self) -> dict[int, int]:
        """Column of each label."""
        return {label: column for column, label in enumerate(self.table)}

    @property
    def found(self) -> list[int]:
        """Labels that are on at least one of the slices."""
        return [label for label, column in self.columns.items() if self.area[:, column].any()]

    def __contains__(self, z: object) -> bool:
        return z in self.rows

    def mask(self, z: int) -> NDArray[np.uint8]:
        """Labels (H, W) of slice `z`."""
        plane: NDArray[np.uint8] = self.labels[self.rows[z]]
        return plane

    def on(self, z: int) -> list[int]:
        """Labels on slice `z`."""
        return [label for label in self.columns if self.area_of(z, label)]

    def area_of(self, z: int, label: int) -> int:
        """Pixels of `label` on slice `z`."""
        return int(self.area[self.rows[z], self.columns[label]])

    def agreement_of(self, z: int, label: int) -> float:
        """Dice of the two members' masks of `label` on slice `z`."""
        return float(self.agreement[self.rows[z], self.columns[label]])

    def certainty_of(self, z: int, label: int) -> float:
        """Mean probability of `label` inside its mask on slice `z`."""
        return float(self.certainty[self.rows[z], self.columns[label]])

    def peak_of(self, z: int, label: int) -> float:
        """Greatest probability of `label` on slice `z`."""
        return float(self.peak[self.rows[z], self.columns[label]])

    def overlap(self, z: int, other: int, label: int) -> float:
        """Dice of the masks of `label` on two slices."""
        return dice(self.mask(z) == label, self.mask(other) == label)

    def with_more(self, other: Segmented) -> Segmented:
        """These slices and those of `other`, which wins where both have one."""
        ours = [row for z, row in self.rows.items() if z not in other]
        slices = [self.slices[row] for row in ours] + list(other.slices)
        order = np.argsort(slices)

        def both(mine: NDArray, theirs: NDArray) -> NDArray:
            return np.concatenate([mine[ours], theirs])[order]

        return Segmented(
            tuple(slices[place] for place in order),
            both(self.labels, other.labels),
            both(self.area, other.area),
            both(self.agreement, other.agreement),
            both(self.certainty, other.certainty),
            both(self.peak, other.peak),
            self.table,
            self.depth,
            self.spacing,
        )
