"""Losses on labelled pixels (systems.md 1.6): Dice of each class, cross entropy with smoothed labels, Lovasz.

All take the logits of one network, (B, C, H, W) with class 0 the background, and apply softmax once, in float32
whatever comes in (half floats lose the sums). They return a float32 scalar.

**Partly labelled cases.** `known` (B, C) says which classes a slice's case contours. Where it contours not all of them,
the label map's background means "background, or any structure that nobody contoured": cross entropy is taken on the sum
of these probabilities (Fang and Yan 2020, marginal loss; Shi et al. 2021), and the classes take no part in Dice there.
So a structure that a case does not contour gives no loss there, wherever it is found.

**Dice of each class**, over all pixels of a batch, and then the mean: flattened over classes, or with the background
among them, an adrenal gland would be a ten-thousandth of the sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from networks.configurations import check_values
from volumes.errors import InputError

_SMOOTH = 1.0  # pixels added to both sides of Dice: no division by zero where a class is nowhere


@dataclass(frozen=True)
class LossSettings:
    """What the supervised loss is made of.

    Args:
        dice, cross_entropy, lovasz: weights of the terms; 0 leaves a term out.
        smoothing: share of a pixel's label that cross entropy spreads over all classes.
    """

    dice: float = 1.0
    cross_entropy: float = 1.0
    lovasz: float = 0.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        weights = ("dice", "cross_entropy", "lovasz")
        check_values(
            self,
            "training.losses",
            *((name, getattr(self, name) >= 0, "0 or more") for name in weights),
            ("smoothing", 0 <= self.smoothing < 1, "a share from 0 to less than 1"),
        )
        if not any(getattr(self, name) for name in weights):
            raise InputError(
                "training.losses", found="0 for all", expected=f"one of {', '.join(weights)}", fix="give one a weight"
            )


def supervised_loss(
    logits: Tensor, labels: Tensor, known: Tensor, settings: LossSettings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum, and its terms, detached.

    Args:
        logits: (B, C, H, W).
        labels: int64 (B, H, W), classes.
        known: bool (B, C), the classes that each slice's case contours.
    """
    terms = {}
    if settings.cross_entropy:
        terms["cross_entropy"] = cross_entropy(logits, labels, known, smoothing=settings.smoothing)
    if settings.dice or settings.lovasz:
        there = classes_in(labels, known)
        if settings.dice:
            terms["dice"] = class_dice(logits, labels, counted=there, known=known)
        if settings.lovasz:
            terms["lovasz"] = lovasz_softmax(logits, labels, counted=there, known=known)
    loss = torch.stack([float(getattr(settings, name)) * term for name, term in terms.items()]).sum()
    return loss, {name: term.detach() for name, term in terms.items()}


def cross_entropy(logits: Tensor, labels: Tensor, known: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean over pixels, the background of a slice joined with the classes that its case does not contour.

    Args:
        logits: (B, C, H, W).
        labels: int64 (B, H, W); a class that is not known there counts as background.
        known: bool (B, C).
        smoothing: share of the label spread evenly over the classes that can be told apart there.
    """
    logs = logits.float().log_softmax(1)  # B x C x H x W
    joined = ~known
    joined = torch.cat([torch.ones_like(joined[:, :1]), joined[:, 1:]], dim=1)[:, :, None, None]  # B x C x 1 x 1
    background = logs.masked_fill(~joined, -torch.inf).logsumexp(1, keepdim=True)  # B x 1 x H x W
    logs = torch.where(joined, background, logs)
    loss = -logs.gather(1, labels[:, None])[:, 0]  # B x H x W
    if smoothing:
        # The joined classes are one: it counts once.
        told_apart = (~joined).sum(1) + 1  # B x 1 x 1
        spread = -(logs.masked_fill(joined, 0.0).sum(1) + background[:, 0]) / told_apart
        loss = (1 - smoothing) * loss + smoothing * spread
    return loss.mean()


def class_dice(
    logits: Tensor, targets: Tensor, *, counted: Tensor, known: Tensor, taken: Tensor | None = None
) -> Tensor:
    """Mean over classes of 1 - Dice of the probabilities; 0 where no class counts.

    Args:
        logits: (B, C, H, W).
        targets: int64 (B, H, W).
        counted: bool (C,), the classes that take part.
        known: bool (B, C); a slice takes no part in the classes that its case does not contour.
        taken: bool (B, H, W), the pixels that take part, of which the others' targets are no class; None: all.
    """
    found = logits.float().softmax(1)  # B x C x H x W
    if taken is not None:
        found = found * taken[:, None]
    truth = one_hot(targets, found.shape[1])
    weights = known.to(found.dtype)
    both = ((found * truth).sum((2, 3)) * weights).sum(0)  # C
    sizes = ((found.sum((2, 3)) + truth.sum((2, 3))) * weights).sum(0)
    losses = 1 - (2 * both + _SMOOTH) / (sizes + _SMOOTH)
    return (losses * counted).sum() / counted.sum().clamp(min=1)


def lovasz_softmax(logits: Tensor, targets: Tensor, *, counted: Tensor, known: Tensor) -> Tensor:
    """Mean over classes of the convex surrogate of 1 - Jaccard (Berman et al. 2018, equation 11).

    Args:
        logits, targets, counted, known: as in `class_dice`.
    """
    found = logits.float().softmax(1)
    total = found.sum() * 0.0  # a loss of 0 belongs to the graph: every parameter gets its gradient
    for one in counted.nonzero().flatten().tolist():
        rows = known[:, one]
        truth = (targets[rows] == one).flatten().float()
        errors = (truth - found[rows, one].flatten()).abs()
        errors, order = errors.sort(descending=True)
        with torch.no_grad():
            truth = truth[order]
            union = truth.sum() + (1 - truth).cumsum(0)
            jaccard = 1 - (truth.sum() - truth.cumsum(0)) / union
            steps = torch.diff(jaccard, prepend=jaccard.new_zeros(1))
        total = total + (errors * steps).sum()
    return total / counted.sum().clamp(min=1)


def classes_in(labels: Tensor, known: Tensor) -> Tensor:
    """bool (C,): the classes, without the background, that occur in (B, H, W) on slices where they are known."""
    there = one_hot(labels, known.shape[1]).flatten(2).any(2)  # B x C
    there = (there & known).any(0)
    there[0] = False
    return there


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Classes (B, H, W) as masks, bool (B, classes, H, W)."""
    return labels[:, None] == torch.arange(classes, device=labels.device)[None, :, None, None]
