"""Easy cases first: a case on which a network was of one mind throughout its training is a reliable one (Zhang 2.2).

As ST++ (Yang et al. 2021): the label maps of the weights at a third and at two thirds of the training are held against
that of the last ones. The first re-training takes the best half of the cases, later ones all that are stable enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cps.selection import AgreementRule, CaseScores, Verdict
from cps.uncertainty import Labels, member_scores
from volumes.errors import InputError

CHECKPOINTS = (1 / 3, 2 / 3)
"""Shares of a training at which weights are kept, to be compared with the last ones (3.2)."""


def stability(earlier: Sequence[Labels], last: Labels, pseudo_label: Labels) -> dict[int, tuple[float, ...]]:
    """Dice of earlier label maps with the last one, for each structure that one of them or the pseudo-label shows.

    A structure that the pseudo-label alone shows, made from more views than the others, is not stable at all.

    Args:
        earlier, last, pseudo_label: uint8 (D, H, W) each.
    """
    scores = member_scores(earlier, last)
    shown = member_scores([pseudo_label], pseudo_label)
    return {**{label: (0.0,) * len(earlier) for label in shown}, **scores}


@dataclass(frozen=True)
class StabilityRule(AgreementRule):
    """All cases above a threshold, but in the first round the best of them alone.

    Attributes:
        share: of all cases, which the first round takes at the most (3.2: the half). Rounded up.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.share <= 1.0:
            raise InputError("share", found=f"{self.share:g}", expected="above 0 and at most 1", fix="correct it")

    def judge(self, cases: Sequence[CaseScores], number: int = 1) -> list[Verdict]:
        """See `SelectionRule`. Of cases that are as stable, the first by name are taken."""
        verdicts = super().judge(cases, number)
        if number > 1:
            return verdicts
        order = sorted(range(len(cases)), key=lambda place: (-verdicts[place].score, cases[place].case))
        taken = set(order[: math.ceil(self.share * len(cases))])
        return [
            one if place in taken or not one.accepted else replace(one, accepted=False, reason=_waits(one, self.share))
            for place, one in enumerate(verdicts)
        ]


def _waits(verdict: Verdict, share: float) -> str:
    return f"{verdict.reason}, but it is not among the best {100 * share:g} %: later"
