"""Alves and de Wilde 2022: five folds' networks label together, and cases are kept on which each two of them agree.

2.2: a case is kept if the Dice of two networks, averaged over the ten pairs of five (equation 1), is 0.9 or more for
every structure; its pseudo-label is the ensemble's. All cases are labelled and judged anew in each round, and the last
one trains a single network on labelled cases and all that were kept. 2.3: post-processing
(`baseline3d.postprocess_alves`), windows 0.9 of their side apart: the configuration's `inference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from baseline3d.ensemble import Ensemble
from baseline3d.postprocess_alves import AlvesPostprocessing
from baseline3d.recipes.folds import folds_of, kept_in_all, without
from baseline3d.recipes.recipe import LabelVolume, MemberTraining, Recipe, Work
from baseline3d.recipes.sizes import STAGE, sizes_stage
from baseline3d.recipes.stages import Stage
from cps.labelling import Labelled
from cps.rounds import RoundSettings, Task
from cps.selection import CaseScores, Verdict
from cps.uncertainty import member_scores
from cps.validation import Segment
from networks.configurations import check_values
from volumes.errors import InputError
from volumes.label_map import LabelMap
from volumes.volume import Volume


@dataclass(frozen=True)
class PairwiseRule:
    """A case is kept if the members agree on each structure: the least mean agreement decides (Alves 2.2).

    Attributes:
        threshold: the Dice that is enough.
    """

    threshold: float

    def judge(self, cases: Sequence[CaseScores], number: int = 1) -> list[Verdict]:
        """See `cps.selection.SelectionRule`. A case without any structure is not kept: it teaches nothing."""
        return [self._judge(case) for case in cases]

    def _judge(self, case: CaseScores) -> Verdict:
        structures = case.by_structure()
        if not any(case.voxels.values()):
            return Verdict(False, 0.0, "no structure was found")
        worst = min(structures, key=lambda name: structures[name])
        lowest = structures[worst]
        if lowest >= self.threshold:
            return Verdict(True, lowest, f"{self.threshold:g} or more for each structure; lowest: {worst} {lowest:.3f}")
        below = [f"{name} {value:.3f}" for name, value in structures.items() if value < self.threshold]
        return Verdict(False, lowest, f"below {self.threshold:g}: {', '.join(below)}")


@dataclass(frozen=True, kw_only=True)
class Alves(Recipe):
    """The recipe's settings.

    Attributes:
        rounds: the supervised start, three times anew with what was kept, and a single network at last.
        folds: of the labelled cases, and networks in a round.
        threshold: Dice of two networks that is enough, for each structure.
        smallest: share of the smallest volume of a structure in the labelled cases below which it is dropped.
        component: share of a structure's volume below which a part of it is dropped.
        beyond: mm about the vessels' slices in which other structures may lie.
    """

    rounds: int = 5
    folds: int = 5
    threshold: float = 0.9
    smallest: float = 0.5
    component: float = 0.1
    beyond: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_values(
            self,
            "recipe",
            ("folds", self.folds >= 2, "2 or more: their agreement is the score"),
            ("threshold", 0 <= self.threshold <= 1, "a Dice, from 0 to 1"),
            ("smallest", 0 <= self.smallest <= 1, "a share from 0 to 1"),
            ("component", 0 <= self.component <= 1, "a share from 0 to 1"),
            ("beyond", self.beyond >= 0, "0 mm or more"),
        )

    def cycle(self) -> RoundSettings:
        return replace(super().cycle(), members=self.folds, last_members=1)

    def check(self, work: Work) -> None:
        if len(work.dataset.training) < self.folds:
            raise InputError(
                work.dataset.folder,
                found=f"{len(work.dataset.training)} labelled cases for {self.folds} folds",
                expected="one or more for each fold",
                fix="lower recipe.folds, or label more cases",
            )

    def before(self, work: Work) -> Sequence[Stage]:
        return [sizes_stage(work.dataset, work.tell)]

    def rule(self, work: Work) -> PairwiseRule:
        return PairwiseRule(self.threshold)

    def training(self, work: Work, task: Task) -> MemberTraining:
        """As of every recipe, less the fold that a member leaves out of labelled and of pseudo-labelled cases."""
        whole = super().training(work, task)
        if task.round == self.rounds:
            return whole
        folds = folds_of([case.name for case in work.dataset.training], self.folds, work.whole.training.seed)
        kept = kept_in_all(folds, work.results[STAGE])
        left_out = set(folds[task.member - 1]) - set(kept)
        for case in sorted(set(folds[task.member - 1]) & set(kept)):
            work.tell(f"fold {task.member}: {case} is not left out, no other fold has {kept[case]}")
        pseudo = without(sorted(task.pseudo), task.member - 1, self.folds)
        return replace(
            whole,
            labelled=[case for case in work.dataset.training if case.name not in left_out],
            pseudo={name: task.pseudo[name] for name in pseudo},
        )

    def labeller(self, work: Work, weights: Sequence[Path]) -> LabelVolume:
        ensemble = Ensemble([work.segmenter(path) for path in weights])

        def label(volume: Volume) -> Labelled:
            together, alone = ensemble.segment_each(volume)
            work.warn(ensemble.members[0], volume)
            made = LabelMap(together, volume.geometry, ensemble.table, volume.name)
            return Labelled(made, pairwise_dice(alone))

        return label

    def start(self, work: Work, weights: Sequence[Path]) -> Segment:
        """The ensemble of the first round: iteration 0 of the paper's table 3."""
        label = self.labeller(work, weights)
        return lambda volume: label(volume).label_map

    def postprocessing(self, work: Work) -> AlvesPostprocessing:
        return AlvesPostprocessing.learnt(
            work.results[STAGE],
            work.dataset.table,
            smallest=self.smallest,
            component=self.component,
            beyond=self.beyond,
        )


def pairwise_dice(members: Sequence[NDArray[np.uint8]]) -> dict[int, tuple[float, ...]]:
    """Dice of each two members, label maps (D, H, W), for every label that one of them shows (Alves, equation 1).

    Two members that both lack what a third one shows agree; one that shows it and one that does not have 0.
    """
    pairs = [member_scores([other], one) for one, other in combinations(members, 2)]
    shown = sorted({label for pair in pairs for label in pair})
    return {label: tuple(pair[label][0] if label in pair else 1.0 for pair in pairs) for label in shown}
