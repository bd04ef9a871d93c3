"""Losses of the propagation network (systems.md 1.10): bootstrapped cross entropy, Lovasz hinge, soft Dice.

All are binary, on logits: (B,H,W) or (B,1,H,W), targets of the same number of pixels, bool or 0/1. Each
sample counts alike, whatever its structure's size. They work in float32 whatever comes in (half floats lose
the sums) and return a float32 scalar. ``valid`` (shape of the targets, bool or weights) takes pixels out
with 0; without any valid pixel a sample's loss is 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

HARD = 0.693  # ln 2: the cross entropy of a pixel that is about to be wrong


def cross_entropy(logits: Tensor, targets: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Mean binary cross entropy.

    Args:
        logits, targets, valid: (B,H,W) or (B,1,H,W).

    Raises:
        ValueError: shapes that do not agree.
    """
    logits, targets, valid = _flat(logits, targets, valid)
    ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return _weighted_mean(ce, valid).mean()


def bootstrapped_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    valid: Tensor | None = None,
    progress: float = 1.0,
    warm_up: float = 0.1,
    threshold: float = HARD,
    least_share: float = 1 / 16,
) -> Tensor:
    """Mean binary cross entropy of each sample's hard pixels.

    Hard are those above ``threshold``, and never fewer than ``least_share`` of the valid ones.

    Args:
        logits, targets, valid: (B,H,W) or (B,1,H,W).
        progress: share of the training that is done, 0..1; before ``warm_up`` every pixel counts.
        warm_up: 0 to count hard pixels only from the first step.

    Raises:
        ValueError: shapes that do not agree, or a ``least_share`` outside (0, 1].
    """
    if not 0 < least_share <= 1:
        raise ValueError(f"least_share is {least_share}, expected more than 0 and at most 1")
    if progress < warm_up:
        return cross_entropy(logits, targets, valid=valid)
    logits, targets, valid = _flat(logits, targets, valid)
    ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    with torch.no_grad():
        known = ce.masked_fill(valid == 0, -1.0)
        least = ((valid > 0).sum(dim=1) * least_share).ceil().long().clamp(min=1)  # B
        hardest = known.topk(int(least.max()), dim=1).values  # B x k
        limit = hardest.gather(1, least[:, None] - 1).clamp(max=threshold)
        kept = valid * (known >= limit)
    return _weighted_mean(ce, kept).mean()


def lovasz_hinge(logits: Tensor, targets: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Lovasz hinge: the convex surrogate of 1 - Jaccard, per sample (Berman et al. 2018, alg. 1, eq. 9).

    Args:
        logits, targets, valid: (B,H,W) or (B,1,H,W); ``valid`` counts as in or out, not as a weight.

    Raises:
        ValueError: shapes that do not agree.
    """
    logits, targets, valid = _flat(logits, targets, valid)
    known = valid > 0
    truth = (targets > 0.5) & known
    errors = 1.0 - logits * torch.where(truth, 1.0, -1.0)
    # What is not known sorts last, behind every margin that is kept, and the hinge makes it 0.
    errors, order = errors.masked_fill(~known, -torch.inf).sort(dim=1, descending=True)
    with torch.no_grad():
        truth_sorted = truth.gather(1, order).float()
        positives = truth_sorted.sum(dim=1, keepdim=True)
        intersection = positives - truth_sorted.cumsum(dim=1)
        union = positives + (1.0 - truth_sorted).cumsum(dim=1)
        jaccard = 1.0 - intersection / union
        weights = torch.diff(jaccard, dim=1, prepend=jaccard.new_zeros(len(jaccard), 1))
    return (errors.relu() * weights).sum(dim=1).mean()


def soft_dice(logits: Tensor, targets: Tensor, *, valid: Tensor | None = None, smooth: float = 1.0) -> Tensor:
    """1 - Dice of the probabilities, per sample.

    Args:
        logits, targets, valid: (B,H,W) or (B,1,H,W).
        smooth: pixels added to both sides of the fraction: an empty target rightly found empty costs nothing.

    Raises:
        ValueError: shapes that do not agree.
    """
    logits, targets, valid = _flat(logits, targets, valid)
    found = logits.sigmoid()
    both = (found * targets * valid).sum(dim=1)
    sizes = ((found + targets) * valid).sum(dim=1)
    return (1.0 - (2.0 * both + smooth) / (sizes + smooth)).mean()


def _flat(logits: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """(B,P) float32 each."""
    if logits.ndim == 4 and logits.shape[1] == 1:
        logits = logits[:, 0]
    if targets.ndim == 4 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if valid is None:
        valid = torch.ones_like(logits, dtype=torch.float32)
    elif valid.ndim == 4 and valid.shape[1] == 1:
        valid = valid[:, 0]
    if logits.ndim != 3 or not logits.shape == targets.shape == valid.shape:
        raise ValueError(
            "expected logits, targets and valid of one shape (B,H,W) or (B,1,H,W), "
            f"found {tuple(logits.shape)}, {tuple(targets.shape)} and {tuple(valid.shape)}"
        )
    return logits.float().flatten(1), targets.float().flatten(1), valid.float().flatten(1)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over pixels (B,P) -> (B,); 0 where all weights are 0."""
    total = weights.sum(dim=1)
    return (values * weights).sum(dim=1) / torch.where(total > 0, total, 1.0)
