"""Which structures are of one piece, learnt from training cases: of these the largest component alone stays.

Tong et al. 2.4: a connected component analysis of all ground truth labels of the training data, as nnU-Net's; what is
small and apart is removed from the network's output (4.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from baseline3d.components import components_of, kept
from networks.configurations import check_values
from volumes.datasets import DataCase
from volumes.formats import read_label_map
from volumes.labels import LabelTable
from volumes.volume import Triple


@dataclass(frozen=True)
class ComponentRule:
    """What was learnt, and what it takes to be of one piece.

    Attributes:
        shares: by a structure's name, the share of its voxels that its largest component had, in the training case in
            which that was least; 1: of one piece in all of them.
        least: the share from which on a structure counts as being of one piece.
    """

    kind: ClassVar[str] = "components"
    shares: Mapping[str, float]
    least: float = 1.0

    def __post_init__(self) -> None:
        in_range = all(0 < share <= 1 for share in self.shares.values())
        check_values(
            self,
            "postprocessing",
            ("shares", in_range, "shares above 0 and at most 1"),
            ("least", 0 < self.least <= 1, "a share above 0 and at most 1"),
        )

    @property
    def single(self) -> tuple[str, ...]:
        """Structures of one piece."""
        return tuple(name for name, share in self.shares.items() if share >= self.least)

    def apply(self, labels: NDArray[np.uint8], spacing: Triple, table: LabelTable) -> NDArray[np.uint8]:
        """A label map (D, H, W) with the largest component alone of each structure of one piece."""
        which = [value for value, label in table.items() if label.name in self.single]
        found = components_of(labels)
        return kept(labels, found, found.largest | ~np.isin(found.labels, which))

    def skipped(self, table: LabelTable) -> list[str]:
        """Structures that keep all of their components, and why."""
        lines = []
        for label in table.values():
            share = self.shares.get(label.name)
            if share is None:
                lines.append(f"{label.name} keeps all components: no training case has it")
            elif share < self.least:
                lines.append(
                    f"{label.name} keeps all components: the largest had {share:.4f} of it in a training case, "
                    f"less than {self.least:g}"
                )
        return lines


def learnt_rule(cases: Iterable[DataCase], table: LabelTable, least: float = 1.0) -> ComponentRule:
    """The rule that labelled cases teach; a case teaches nothing of structures that it does not show or contour.

    One case at a time is in memory.

    Args:
        least: as of `ComponentRule`. People's labels have stray voxels.
    """
    shares: dict[str, float] = {}
    for case in cases:
        assert case.label is not None
        found = components_of(read_label_map(case.label, table=table).array)
        for number in np.flatnonzero(found.largest):
            label = int(found.labels[number])
            if label and case.contours(label):
                name, share = table.name_of(label), float(found.sizes[number] / found.totals[number])
                shares[name] = min(share, shares.get(name, 1.0))
    known = {label.name: round(shares[label.name], 6) for label in table.values() if label.name in shares}
    return ComponentRule(known, least)
