"""Gao, Xu and Fei 2022: a network is fine-tuned on its own pseudo-labels, where every organ has voxels enough.

2.2: of 2,000 cases 676 had at least 2,000 voxels of each organ, of 1 mm each; the count is scaled with the spacing, so
it is a volume. 3.2: fine-tuning at half the learning rate, without augmentation: the configuration's `later`. The
intensity rule and the coarser voxels that are taken where memory runs out (2.1, 2.2) are the network's own, in
`baseline3d.intensity` and `baseline3d.segmenter`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from baseline3d.recipes.recipe import Recipe, Work
from cps.selection import CaseScores, Verdict
from networks.configurations import check_values


@dataclass(frozen=True)
class VoxelCountRule:
    """A pseudo-label is kept if it shows every structure, each with so many voxels (Gao 2.2).

    Attributes:
        voxels: the least, of 1 mm³ each: of voxels of 8 mm³ an eighth will do.
        structures: names of those that it must show.
    """

    voxels: float
    structures: tuple[str, ...]

    def judge(self, cases: Sequence[CaseScores], number: int = 1) -> list[Verdict]:
        """See `cps.selection.SelectionRule`. A case's score is the volume of its smallest structure, mm³."""
        return [self._judge(case) for case in cases]

    def _judge(self, case: CaseScores) -> Verdict:
        volumes = {name: case.voxels.get(name, 0) * case.voxel_mm3 for name in self.structures}
        smallest = min(volumes, key=lambda name: volumes[name])
        if volumes[smallest] >= self.voxels:
            reason = f"each structure has {self.voxels:g} mm³ or more; smallest: {smallest} {volumes[smallest]:.0f}"
            return Verdict(True, volumes[smallest], reason)
        few = [f"{name} {volume:.0f}" for name, volume in volumes.items() if volume < self.voxels]
        return Verdict(False, volumes[smallest], f"less than {self.voxels:g} mm³: {', '.join(few)}")


@dataclass(frozen=True, kw_only=True)
class Gao(Recipe):
    """The recipe's settings.

    Attributes:
        rounds: the supervised start, and fine-tuning.
        minimum_voxels: of 1 mm³, of each structure, in a pseudo-label that is kept.
    """

    rounds: int = 2
    fine_tune: bool = True
    minimum_voxels: float = 2000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_values(self, "recipe", ("minimum_voxels", self.minimum_voxels > 0, "more than 0"))

    def rule(self, work: Work) -> VoxelCountRule:
        return VoxelCountRule(self.minimum_voxels, work.dataset.table.names())
