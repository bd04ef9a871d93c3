"""Losses of 3D patches: partly labelled cases, both heads, deep supervision."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from baseline3d.heads import Head
from baseline3d.losses import patch_loss
from networks.training.losses import LossSettings, one_hot

BOTH = LossSettings(dice=1.0, cross_entropy=1.0)
HEADS = get_args(Head)


def _scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Labels (2, 4, 6, 8) of two structures, and that all is known."""
    labels = torch.zeros(2, 4, 6, 8, dtype=torch.int64)
    labels[:, 1:3, 1:4, 1:4] = 1
    labels[:, 2:4, 4:6, 5:8] = 2
    return labels, torch.ones(2, 3, dtype=torch.bool)


def _certain(labels: torch.Tensor, head: Head, logit: float = 40.0) -> torch.Tensor:
    """Logits B x C x D x H x W of a network that is certain of `labels`."""
    masks = one_hot(labels.flatten(1, 2), 3).unflatten(2, labels.shape[1:3]).float()
    found = logit * (2 * masks - 1)
    return found if head == "softmax" else found[:, 1:]


@pytest.mark.parametrize("head", HEADS)
def test_certain_and_right_is_no_loss(head: Head) -> None:
    labels, known = _scene()
    loss, terms = patch_loss(_certain(labels, head), labels, known, head, BOTH)
    assert float(loss) == pytest.approx(0.0, abs=1e-4) and set(terms) == {"dice", "cross_entropy"}
    wrong = torch.where(labels == 2, 0, labels)
    assert float(patch_loss(_certain(wrong, head), labels, known, head, BOTH)[0]) > 0.3


@pytest.mark.parametrize("head", HEADS)
def test_a_structure_that_is_not_contoured_gives_no_loss(head: Head) -> None:
    labels, known = _scene()
    known[:, 2] = False
    given = torch.where(labels == 2, 0, labels)  # as the label map of such a case has it
    for found in (labels, given):
        logits = _certain(found, head).requires_grad_()
        loss, _ = patch_loss(logits, given, known, head, BOTH)
        loss.backward()
        assert float(loss.detach()) == pytest.approx(0.0, abs=1e-4)
        assert logits.grad is not None and logits.grad.abs().max() < 1e-4


def test_behind_a_sigmoid_what_is_nowhere_must_not_be_found() -> None:
    labels, known = _scene()
    empty = torch.zeros_like(labels)
    dice = LossSettings(dice=1.0, cross_entropy=0.0)
    assert float(patch_loss(_certain(empty, "sigmoid"), empty, known, "sigmoid", dice)[0]) == pytest.approx(
        0.0, abs=1e-3
    )
    assert float(patch_loss(_certain(labels, "sigmoid"), empty, known, "sigmoid", dice)[0]) > 0.9


@pytest.mark.parametrize("head", HEADS)
def test_coarser_outputs_count_half_as_much_each(head: Head) -> None:
    """Labels in blocks of two voxels are the same at half the size: so is the loss of the same answer there."""
    labels, known = _scene()
    labels = labels[:, ::2, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    coarse = labels[:, ::2, ::2, ::2]
    right, wrong = _certain(labels, head), _certain(coarse, head) * 0
    cross_entropy = LossSettings(dice=0.0, cross_entropy=1.0)
    alone = float(patch_loss(wrong, coarse, known, head, cross_entropy)[0])
    together = float(patch_loss((right, wrong), labels, known, head, cross_entropy)[0])
    assert together == pytest.approx(alone / 3, rel=1e-4), "weights 1 and 1/2, divided by their sum"
