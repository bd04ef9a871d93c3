"""A student in training: it learns from labels, and from what a larger network says of the same patches (Zhang 2.2).

Teacher and student see the same augmented patch. The teacher's grid may be finer: its input is the patch interpolated,
and its logits are brought back.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baseline3d.distillation import DistillationSettings, distillation_loss
from baseline3d.heads import Head
from baseline3d.learner import VolumeTraining
from baseline3d.losses import patch_loss
from baseline3d.models import LoadedModel
from baseline3d.preparation import InputSettings, Shape
from volumes.errors import InputError


class StudentTraining(VolumeTraining):
    """A student in training.

    Args:
        teacher: its answers are learnt besides the labels; it does not change.
        more: as of `VolumeTraining`.

    Raises:
        InputError: a teacher of other structures, another head or another intensity rule.
    """

    def __init__(self, *more: Any, teacher: LoadedModel, distillation: DistillationSettings, **named: Any) -> None:
        super().__init__(*more, **named)
        check_alike(teacher.head, self.head, teacher.settings, self.inputs)
        if teacher.table.names() != self.table.names():
            raise InputError(
                "the teacher",
                found=f"one of other structures: {', '.join(teacher.table.names())}",
                expected=", ".join(self.table.names()),
                fix="choose another",
            )
        self.distillation = distillation
        self._side = teacher_patch(teacher, self.inputs)
        # Within a tuple, lest the teacher be trained and saved with each checkpoint.
        self._teacher = (teacher.network.eval().requires_grad_(False),)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        image = batch["image"].contiguous(memory_format=torch.channels_last_3d)
        logits = self.network(image)
        loss, terms = patch_loss(logits, batch["label"], batch["known"], self.head, self.settings.losses)
        full = logits[0] if isinstance(logits, tuple) else logits
        soft = distillation_loss(full, self._taught(image), self.head, self.distillation.temperature)
        loss = loss + self.distillation.weight * soft
        self.log("loss", loss.detach(), prog_bar=True)
        self.log_dict({**terms, "distillation": soft.detach()})
        return loss

    def _taught(self, image: Tensor) -> Tensor:
        """The teacher's logits B x C x D x H x W of a patch B x 1 x D x H x W."""
        network = self._teacher[0].to(image.device)
        with torch.no_grad():
            return answers(network, image, self._side)


def answers(teacher: nn.Module, image: Tensor, side: Shape) -> Tensor:
    """Logits B x C x D x H x W of an image B x 1 x D x H x W that the teacher sees as `side` (d, h, w) voxels."""
    if tuple(image.shape[2:]) == side:
        return teacher(image)
    seen = F.interpolate(image, size=side, mode="trilinear").contiguous(memory_format=torch.channels_last_3d)
    return F.interpolate(teacher(seen), size=image.shape[2:], mode="trilinear")


def teacher_patch(teacher: LoadedModel, inputs: InputSettings) -> Shape:
    """(d, h, w): how many voxels of the teacher's the student's patch covers, as its network can take them."""
    own = teacher.settings
    ratios = (1.0, 1.0, 1.0)
    if inputs.shape is not None and own.shape is not None:
        ratios = _ratios(own.shape, inputs.shape)
    elif inputs.spacing is not None and own.spacing is not None:
        ratios = _ratios(inputs.spacing, own.spacing)
    multiple: tuple[int, int, int] = teacher.network.multiple  # type: ignore[assignment]
    depth, height, width = (
        max(1, round(side * ratio / one)) * one for side, ratio, one in zip(inputs.patch, ratios, multiple, strict=True)
    )
    return depth, height, width


def check_alike(teacher: Head, student: Head, theirs: InputSettings, ours: InputSettings) -> None:
    """Raise InputError for a teacher whose answers are none to what the student is asked.

    Args:
        teacher, student: their heads. theirs, ours: the teacher's and the student's input.
    """
    for what, given, wanted in (
        ("head", teacher, student),
        ("intensity rule", theirs.intensity, ours.intensity),
        ("kind of grid", _grid(theirs), _grid(ours)),
    ):
        if given != wanted:
            raise InputError(
                "the teacher",
                found=f"another {what} than the student's: {given}",
                expected=f"{wanted}",
                fix="give both the same",
            )


def _grid(inputs: InputSettings) -> str:
    return "one shape" if inputs.shape is not None else "a spacing" if inputs.spacing is not None else "the file's own"


def _ratios(one: tuple[float, float, float], other: tuple[float, float, float]) -> tuple[float, float, float]:
    depth, height, width = (a / b for a, b in zip(one, other, strict=True))
    return depth, height, width
