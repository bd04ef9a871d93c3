"""Tong et al. 2022: a noisy student learns from its teacher's labels of everything, and becomes the next teacher.

2.1, after Xie et al. 2020: the teacher labels as it is; the student has dropout (the configuration's `later`) and
strong augmentation (`training.strong`) against it. Nothing is selected: every case in which something is found is
learnt from. 2.4: structures that are of one piece in all training cases are made of one piece, in pseudo-labels too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from baseline3d.postprocess import from_plain
from baseline3d.postprocess_components import ComponentRule, learnt_rule
from baseline3d.recipes.recipe import LabelVolume, Recipe, Work
from cps.labelling import Labelled
from cps.selection import CaseScores, Verdict
from networks.configurations import check_values
from volumes.volume import Volume


@dataclass(frozen=True)
class EveryCase:
    """All pseudo-labels, each for the structures that it shows."""

    def judge(self, cases: Sequence[CaseScores], number: int = 1) -> list[Verdict]:
        """See `cps.selection.SelectionRule`."""
        return [_judged(case) for case in cases]


def _judged(case: CaseScores) -> Verdict:
    shown = tuple(name for name, count in case.voxels.items() if count)
    if not shown:
        return Verdict(False, 0.0, "no structure was found")
    return Verdict(True, 1.0, "all cases are learnt from", shown)


@dataclass(frozen=True, kw_only=True)
class Tong(Recipe):
    """The recipe's settings.

    Attributes:
        rounds: the teacher, and students. The paper goes on "iteratively" and does not say how often.
        least: from which share of its voxels in one component on a structure is of one piece, in every training case.
    """

    rounds: int = 3
    least: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_values(self, "recipe", ("least", 0 < self.least <= 1, "a share above 0 and at most 1"))

    def rule(self, work: Work) -> EveryCase:
        return EveryCase()

    def labeller(self, work: Work, weights: Sequence[Path]) -> LabelVolume:
        label, rule = super().labeller(work, weights), from_plain(work.results["postprocessing"], "postprocessing")
        assert rule is not None

        def in_one_piece(volume: Volume) -> Labelled:
            made = label(volume).label_map
            made = replace(made, array=rule.apply(made.array, volume.spacing, made.table))
            return Labelled(made, {value: (1.0,) for value in made.present()})

        return in_one_piece

    def postprocessing(self, work: Work) -> ComponentRule:
        return learnt_rule(work.dataset.training, work.dataset.table, self.least)
