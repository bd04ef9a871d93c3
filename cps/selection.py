"""Which pseudo-labels are good enough to train on: the rules of selection, behind one small interface.

A rule sees the scores of all cases of a round at once, since a rule may rank them, and answers for each case in the
same order. It knows no file and no network, so the same rule serves 2D and 3D members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from volumes.errors import InputError


@dataclass(frozen=True)
class CaseScores:
    """How far the members agree on one case.

    Attributes:
        case: its name.
        agreements: by the name of each structure that occurs: a value in 0..1 for each member.
        voxels: by the name of each structure that occurs: its voxels in the pseudo-label.
        voxel_mm3: what one of these voxels measures.
    """

    case: str
    agreements: Mapping[str, tuple[float, ...]]
    voxels: Mapping[str, int]
    voxel_mm3: float = 1.0

    def by_structure(self) -> dict[str, float]:
        """Mean agreement on each structure that occurs."""
        return {name: fmean(values) for name, values in self.agreements.items()}


@dataclass(frozen=True)
class Verdict:
    """What a rule says of one case.

    Attributes:
        accepted: whether it is trained on.
        score: by which it was judged.
        reason: why, in words.
        structures: names of those that its pseudo-label speaks for; of the others nothing is known, neither where they
            are nor that they are not. None: all of the table.
    """

    accepted: bool
    score: float
    reason: str
    structures: tuple[str, ...] | None = None


class SelectionRule(Protocol):
    """A dataclass whose fields are the rule's settings: they are written down with the rounds that it judged."""

    def judge(self, cases: Sequence[CaseScores], number: int = 1) -> list[Verdict]:
        """A verdict for each case, in the order of `cases`; `number`: of the round, from 1."""


@dataclass(frozen=True)
class AgreementRule:
    """The paper's rule: the mean agreement (`cps.uncertainty`), over structures and members, exceeds a threshold.

    An accepted pseudo-label speaks for the structures that it shows, and of those for the ones below. That it does not
    show a structure teaches nothing: the members may all have missed it.

    Attributes:
        threshold: the mean that must be exceeded (systems 1.7).
        lowest: the mean agreement on a structure from which on the pseudo-label speaks for it. Of thirteen structures,
            twelve in perfect agreement make .92 whatever the thirteenth is; it need not be taught.
    """

    threshold: float = 0.9
    lowest: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("threshold", self.threshold), ("lowest", self.lowest)):
            if not 0.0 <= value <= 1.0:
                raise InputError(name, found=f"{value:g}", expected="a Dice, from 0 to 1", fix="correct it")

    def judge(self, cases: Sequence[CaseScores], number: int = 1) -> list[Verdict]:
        """See `SelectionRule`. A case in which no structure was found is never accepted."""
        return [self._judge(case) for case in cases]

    def _judge(self, case: CaseScores) -> Verdict:
        structures = case.by_structure()
        if not structures:
            return Verdict(False, 0.0, "no structure was found")
        score = fmean(structures.values())
        worst = min(structures, key=lambda name: structures[name])
        if score <= self.threshold:
            reason = f"mean {score:.3f} does not exceed {self.threshold:g}; lowest: {worst} {structures[worst]:.3f}"
            return Verdict(False, score, reason)
        shown = {name: value for name, value in structures.items() if case.voxels[name]}
        spoken_for = tuple(name for name, value in shown.items() if value >= self.lowest)
        if not spoken_for:
            return Verdict(False, score, f"no structure in the pseudo-label reaches {self.lowest:g}")
        reason = f"mean {score:.3f} exceeds {self.threshold:g}"
        if left_out := [f"{name} {value:.3f}" for name, value in shown.items() if value < self.lowest]:
            reason += f"; left out, below {self.lowest:g}: {', '.join(left_out)}"
        return Verdict(True, score, reason, spoken_for)
