"""The settings that every training with labels has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from networks.configurations import check_values
from networks.training.losses import LossSettings
from volumes.errors import InputError


def pseudo_labelled(batch_size: int, pseudo_share: float) -> int:
    """How many samples of a batch come from pseudo-labelled cases, where there are any; at least one does not."""
    return min(batch_size - 1, round(pseudo_share * batch_size))


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What the `training` sections of all configurations have in common.

    Args:
        steps: optimiser steps.
        batch_size: labelled samples (slices or patches) a step, on each GPU.
        workers: processes that make samples beside the training loop; 0: within it.
        gradient_clip: norm to which each network's gradient is clipped; 0: not at all.
        averaging: decay of the running mean of the weights, which is what the run ends with; 0: the last ones.
        validate_every: steps between two validations; 0: never.
        validation_cases: validate on at most so many; 0: on all.
        pseudo_share: share of the labelled samples that comes from pseudo-labelled cases, where there are any.
    """

    seed: int
    steps: int
    batch_size: int
    workers: int
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    gradient_clip: float
    averaging: float = 0.0
    checkpoint_every: int
    log_every: int
    validate_every: int
    validation_cases: int = 0
    pseudo_share: float = 0.5
    nodes: int = 1
    losses: LossSettings

    def __post_init__(self) -> None:
        check_values(
            self,
            "training",
            ("seed", 0 <= self.seed < 2**63, "0 or more, and less than 2^63"),
            ("steps", self.steps >= 1, "1 or more"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("workers", self.workers >= 0, "0 or more"),
            ("gradient_clip", self.gradient_clip >= 0, "0 or more"),
            ("averaging", 0 <= self.averaging < 1, "from 0 to less than 1"),
            ("checkpoint_every", self.checkpoint_every >= 1, "1 or more"),
            ("log_every", self.log_every >= 1, "1 or more"),
            ("validate_every", self.validate_every >= 0, "0 or more"),
            ("validation_cases", self.validation_cases >= 0, "0 or more"),
            ("pseudo_share", 0 <= self.pseudo_share <= 1, "a share from 0 to 1"),
            ("nodes", self.nodes >= 1, "1 or more"),
        )

    def check_room_for_pseudo_labels(self, where: str, fix: str = "raise one of them") -> None:
        """Raise InputError where batches would hold no sample of a pseudo-labelled case, so that rounds teach nothing.

        Args:
            where: whose settings these are, for the message; fix: what to do.
        """
        if pseudo_labelled(self.batch_size, self.pseudo_share) < 1:
            raise InputError(
                f"{where}: training.batch_size, training.pseudo_share",
                found=f"{self.batch_size} and {self.pseudo_share:g}, which leaves no place for a pseudo-label",
                expected="2 or more, and a share that is one sample of it or more",
                fix=fix,
            )
