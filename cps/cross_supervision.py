"""Cross pseudo supervision: each of two networks learns from what the other one finds.

Chen, Yuan, Zeng, Wang, Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision (CVPR 2021), with Dice
instead of cross entropy (systems.md 1.6). Two networks of different kinds seldom make the same mistake, so that the
labels of one are news to the other; as both learn, they come to agree on slices that nobody labelled.

Softmax is applied once, Dice is taken for each structure and not over all of them flattened, and the weight rises with
the optimiser's steps: the public implementation got all three wrong (systems.md 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from networks.training.losses import class_dice, classes_in
from volumes.errors import InputError

UNCERTAIN = -1
"""In labels that a network gives: a pixel that it is not certain enough of to teach."""


@dataclass(frozen=True)
class Consistency:
    """How strongly, and on what, the networks learn from each other.

    Args:
        weight: of the unsupervised loss, at its highest.
        ramp: share of the run over which the weight rises to that.
        labelled: on labelled slices as well.
        teacher: who gives the labels that a network learns from: `student`, the other network as it is, or `average`,
            the running mean of its weights, which is calmer (Tarvainen and Valpola 2017).
        mixed: share of the batches whose unlabelled slices are mixed, a box of one pasted into the next, and their
            labels with them: the networks must then find on a mixed slice what they found on a whole one (French et al.
            2020, CutMix). The labels come from passes of their own, without gradient, on the whole slices.
        certain: the teacher's least probability of its own label, on a pixel that is learnt from (Sohn et al. 2020,
            FixMatch); 0: all pixels are.
    """

    weight: float = 0.1
    ramp: float = 1.0
    labelled: bool = False
    teacher: Literal["student", "average"] = "student"
    mixed: float = 0.0
    certain: float = 0.0

    def __post_init__(self) -> None:
        for name, fits, expected in (
            ("weight", self.weight >= 0, "0 or more"),
            ("ramp", 0 <= self.ramp <= 1, "a share of the run, from 0 to 1"),
            ("mixed", 0 <= self.mixed <= 1, "a share from 0 to 1"),
            ("certain", 0 <= self.certain < 1, "a probability from 0 to less than 1"),
        ):
            if not fits:
                value = str(getattr(self, name))
                raise InputError(
                    f"training.consistency.{name}", found=value, expected=expected, fix="correct the setting"
                )

    def weight_at(self, step: int, steps: int) -> float:
        """`weight * exp(-5 (1 - t)^2)` at optimiser step `step` of a run of `steps`; t reaches 1 after the ramp."""
        length = self.ramp * steps
        share = min(1.0, step / length) if length > 0 else 1.0
        return self.weight * math.exp(-5.0 * (1.0 - share) ** 2)


def cross_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Dice of a student against its peer's labels: mean over the structures that either of the two finds in the batch.

    A structure that neither finds gives no loss, and where there is none at all, as on slices beyond the last one,
    the loss is 0. The background takes no part: it is nearly all of most slices, and right on nearly all of it.

    Args:
        logits: (B, C, H, W) of the student.
        targets: int64 (B, H, W), see `hard_labels`; pixels that are `UNCERTAIN` take no part.
    """
    with torch.no_grad():
        everything = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
        taken = targets != UNCERTAIN
        own = torch.where(taken, logits.argmax(1), UNCERTAIN)
        counted = classes_in(targets, everything) | classes_in(own, everything)
    return class_dice(logits, targets, counted=counted, known=everything, taken=taken)


def hard_labels(logits: Tensor, certain: float = 0.0) -> Tensor:
    """What a network says, as labels that carry no gradient: (B, C, H, W) -> int64 (B, H, W).

    Where the label that is likeliest has less than the probability `certain`, it is `UNCERTAIN`.
    """
    logits = logits.detach()
    labels = logits.argmax(1)
    if certain <= 0:
        return labels
    return labels.masked_fill(logits.float().softmax(1).amax(1) < certain, UNCERTAIN)


def box_for(height: int, width: int) -> tuple[slice, slice]:
    """A box of a quarter to half of a slice's area, no longer than twice its breadth, by torch's random numbers."""
    area, shape, y, x = torch.rand(4).tolist()
    share, aspect = 0.25 + 0.25 * area, 2.0 ** (2 * shape - 1)
    tall = min(height, round(height * math.sqrt(share * aspect)))
    wide = min(width, round(width * math.sqrt(share / aspect)))
    top, left = int(y * (height - tall + 1)), int(x * (width - wide + 1))
    return slice(top, top + tall), slice(left, left + wide)


def mixed(values: Tensor, box: tuple[slice, slice]) -> Tensor:
    """(B, ..., H, W) with the box of each item replaced by that of the item before it; a copy."""
    out = values.clone()
    out[..., box[0], box[1]] = values.roll(1, 0)[..., box[0], box[1]]
    return out
