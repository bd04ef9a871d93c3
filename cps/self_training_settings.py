"""The `rounds` section of a CPS configuration."""

from __future__ import annotations

from dataclasses import dataclass, fields

from cps.rounds import RoundSettings
from cps.selection import AgreementRule
from volumes.errors import InputError


@dataclass(frozen=True)
class SelfTrainingSettings:
    """The `rounds` section of a CPS configuration: that of `RoundSettings` and of `AgreementRule`, and

    Attributes:
        fine_tune: members of later rounds begin with their weights of the round before, not with new ones.
    """

    members: int = 3
    rounds: int = 4
    last_members: int | None = None
    minimum_gain: float = 0.0
    threshold: float = 0.9
    lowest: float = 0.0
    fine_tune: bool = False

    def __post_init__(self) -> None:
        if self.members < 2:
            raise InputError(
                "members", found=str(self.members), expected="2 or more: their agreement is the score", fix="correct it"
            )
        _ = self.cycle, self.rule  # they check what they are given

    @property
    def rule(self) -> AgreementRule:
        """Which pseudo-labels are accepted."""
        return AgreementRule(self.threshold, self.lowest)

    @property
    def cycle(self) -> RoundSettings:
        """How many rounds of how many members."""
        return RoundSettings(**{one.name: getattr(self, one.name) for one in fields(RoundSettings)})
