"""Losses of 3D networks: as for slices behind a softmax head, Dice and cross entropy of each channel behind a sigmoid.

Both sides' losses go voxel by voxel, so a patch is to them a slice of D x H rows. A structure that a case does not
contour gives no loss there (`networks.training.losses`); behind a sigmoid its channel is left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from baseline3d.heads import Head
from networks.training.losses import LossSettings, one_hot, supervised_loss

_SMOOTH = 1.0  # voxels added to both sides of Dice: no division by zero where a structure is nowhere


def patch_loss(
    logits: Tensor | tuple[Tensor, ...], labels: Tensor, known: Tensor, head: Head, settings: LossSettings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the terms, and the terms at full size, detached.

    Args:
        logits: B x C x D x H x W; with deep supervision the coarser outputs behind them, of which each counts half of
            the one before (nnU-Net).
        labels: int64 (B, D, H, W), classes.
        known: bool (B, K+1), the classes that each patch's case contours.
        head: what the C channels are.
    """
    outputs = logits if isinstance(logits, tuple) else (logits,)
    losses, weights = [], []
    told: dict[str, Tensor] = {}
    for number, output in enumerate(outputs):
        small = labels if number == 0 else _coarser(labels, output)
        loss, terms = _loss(output.flatten(2, 3), small.flatten(1, 2), known, head, settings)
        losses.append(loss)
        weights.append(0.5**number)
        told = told or terms
    total = torch.stack([loss * weight for loss, weight in zip(losses, weights, strict=True)]).sum()
    return total / sum(weights), told


def _loss(
    logits: Tensor, labels: Tensor, known: Tensor, head: Head, settings: LossSettings
) -> tuple[Tensor, dict[str, Tensor]]:
    """Of logits B x C x R x W and labels B x R x W."""
    if head == "softmax":
        return supervised_loss(logits, labels, known, settings)
    truth = one_hot(labels, known.shape[1])[:, 1:]  # B x K x R x W
    terms = {}
    if settings.dice:
        terms["dice"] = sigmoid_dice(logits, truth, known[:, 1:])
    if settings.cross_entropy:
        terms["cross_entropy"] = sigmoid_cross_entropy(logits, truth, known[:, 1:], settings.smoothing)
    loss = torch.stack([float(getattr(settings, name)) * term for name, term in terms.items()]).sum()
    return loss, {name: term.detach() for name, term in terms.items()}


def sigmoid_dice(logits: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean of 1 - Dice over the structures that each patch's case contours (Zhang 3.2: Dice loss).

    Structures that are nowhere in the patch take part: without cross entropy nothing else says that they are not there.

    Args:
        logits: B x K x R x W.
        truth: bool, the same shape.
        known: bool (B, K).
    """
    found = logits.float().sigmoid()
    both = (found * truth).sum((2, 3))
    losses = 1 - (2 * both + _SMOOTH) / (found.sum((2, 3)) + truth.sum((2, 3)) + _SMOOTH)  # B x K
    return (losses * known).sum() / known.sum().clamp(min=1)


def sigmoid_cross_entropy(logits: Tensor, truth: Tensor, known: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean of binary cross entropy over voxels and the structures that each patch's case contours.

    Args:
        logits, truth, known: as in `sigmoid_dice`.
        smoothing: share of the label that goes to either answer alike.
    """
    wanted = truth.float() * (1 - smoothing) + 0.5 * smoothing
    losses = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none").mean((2, 3))  # B x K
    return (losses * known).sum() / known.sum().clamp(min=1)


def _coarser(labels: Tensor, like: Tensor) -> Tensor:
    """Labels (B, D, H, W) on the grid of logits B x C x d x h x w: those of the nearest voxel."""
    small = F.interpolate(labels[:, None].float(), size=like.shape[2:], mode="nearest-exact")
    return small[:, 0].long()
