"""Small components of all labels at once are taken out of a label map (Zhang 2.3: single-label based CCL)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from baseline3d.components import without_small
from networks.configurations import check_values
from volumes.labels import LabelTable
from volumes.volume import Triple


@dataclass(frozen=True)
class SmallPartsRemoved:
    """What small is.

    Attributes:
        share: of a structure's voxels, below which a component goes; the largest one stays. The paper says "small"; a
            tenth of the organ is what Alves removes (2.4).
    """

    kind: ClassVar[str] = "single_label"
    share: float = 0.1

    def __post_init__(self) -> None:
        check_values(self, "postprocessing", ("share", 0 <= self.share <= 1, "a share from 0 to 1"))

    def apply(self, labels: NDArray[np.uint8], spacing: Triple, table: LabelTable) -> NDArray[np.uint8]:
        """A label map (D, H, W) without small components."""
        return without_small(labels, self.share)

    def skipped(self, table: LabelTable) -> list[str]:
        """Nothing: it asks no structure who it is."""
        return []
