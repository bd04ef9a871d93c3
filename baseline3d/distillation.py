"""The loss of a small network that learns from a larger one: what that says of each voxel, however unsure (Zhang 2.2).

The paper names distillation and gives no loss; this is Hinton's (Hinton, Vinyals and Dean 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from baseline3d.heads import Head
from networks.configurations import check_values


@dataclass(frozen=True)
class DistillationSettings:
    """The `training.distillation` section.

    Attributes:
        weight: of this loss, beside that of the labels.
        temperature: logits are divided by it, so that what the teacher holds for unlikely counts too.
    """

    weight: float = 1.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_values(
            self,
            "training.distillation",
            ("weight", self.weight >= 0, "0 or more"),
            ("temperature", self.temperature > 0, "more than 0"),
        )


def distillation_loss(student: Tensor, teacher: Tensor, head: Head, temperature: float) -> Tensor:
    """Mean over voxels of how far the student's probabilities are from the teacher's (Kullback-Leibler), times T^2.

    The factor keeps gradients as large at any temperature (Hinton et al. 2015, 2).

    Args:
        student, teacher: logits B x C x ..., of one shape. Behind a sigmoid the channels' means are summed.
    """
    mine, theirs = student.float() / temperature, teacher.float() / temperature
    if head == "softmax":
        told = theirs.log_softmax(1)
        apart = (told.exp() * (told - mine.log_softmax(1))).sum(1)
    else:
        wanted = theirs.sigmoid()
        on = wanted * (F.logsigmoid(theirs) - F.logsigmoid(mine))
        off = (1 - wanted) * (F.logsigmoid(-theirs) - F.logsigmoid(-mine))
        apart = (on + off).sum(1)
    return apart.mean() * temperature**2
