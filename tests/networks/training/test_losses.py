"""Losses on labelled pixels: what they are, and what the public implementation got wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from networks.training.losses import (
    LossSettings,
    class_dice,
    classes_in,
    cross_entropy,
    lovasz_softmax,
    one_hot,
    supervised_loss,
)

ALL = LossSettings(dice=1.0, cross_entropy=1.0, lovasz=1.0, smoothing=0.05)


def _certain(labels: Tensor, classes: int, logit: float = 60.0) -> Tensor:
    """Logits (B, C, H, W) of a network that is certain of `labels`."""
    return one_hot(labels, classes).float() * logit


def _everything(labels: Tensor, classes: int) -> Tensor:
    return torch.ones(len(labels), classes, dtype=torch.bool)


def _labels(*boxes: tuple[int, slice, slice], batch: int = 1, side: int = 24) -> Tensor:
    labels = torch.zeros(batch, side, side, dtype=torch.int64)
    for label, rows, columns in boxes:
        labels[:, rows, columns] = label
    return labels


ORGAN_AND_GLAND = ((1, slice(2, 18), slice(2, 18)), (2, slice(20, 22), slice(20, 22)))


def test_softmax_is_applied_once() -> None:
    """Certain and right is a loss of 0; a second softmax would make it 1/(1 + (C-1)/e)."""
    labels = _labels(*ORGAN_AND_GLAND)
    logits, known = _certain(labels, 3), _everything(labels, 3)
    counted = classes_in(labels, known)
    assert class_dice(logits, labels, counted=counted, known=known) == pytest.approx(0.0, abs=1e-5)
    assert lovasz_softmax(logits, labels, counted=counted, known=known) == pytest.approx(0.0, abs=1e-5)
    assert cross_entropy(logits, labels, known) == pytest.approx(0.0, abs=1e-5)


def test_a_small_structure_counts_like_a_large_one() -> None:
    """Missing 4 pixels of a gland costs as much as missing 256 of an organ; flattened it would be 60 times less."""
    labels = _labels(*ORGAN_AND_GLAND)
    known = _everything(labels, 3)
    counted = classes_in(labels, known)
    losses = []
    for missed in (1, 2):
        found = torch.where(labels == missed, 0, labels)
        losses.append(float(class_dice(_certain(found, 3), labels, counted=counted, known=known)))
    assert losses[0] == pytest.approx(0.5, abs=0.01)
    assert losses[1] == pytest.approx(0.5 * (1 - 1 / 5), abs=0.01)  # one pixel of smoothing on four


def test_dice_is_that_of_the_formula() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 4, 9, 7), torch.randint(0, 3, (3, 9, 7))
    known = _everything(labels, 4)
    found = logits.softmax(1)
    expected = []
    for label in (1, 2):
        truth = (labels == label).float()
        both, sizes = (found[:, label] * truth).sum(), found[:, label].sum() + truth.sum()
        expected.append(1 - (2 * both + 1) / (sizes + 1))
    counted = classes_in(labels, known)
    assert counted.tolist() == [False, True, True, False]
    loss = class_dice(logits, labels, counted=counted, known=known)
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_cross_entropy_is_torch_s_where_all_is_known() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 5, 8, 6), torch.randint(0, 5, (2, 8, 6))
    for smoothing in (0.0, 0.1):
        expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        found = cross_entropy(logits, labels, _everything(labels, 5), smoothing=smoothing)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_what_was_not_contoured_gives_no_loss(smoothing: float) -> None:
    """Finding the structure that a case does not contour costs what finding background there does: all, or nothing."""
    labels = _labels((1, slice(2, 10), slice(2, 10)))
    known = torch.tensor([[True, True, False]])
    settings = LossSettings(smoothing=smoothing)
    found = labels.clone()
    found[:, 14:20, 14:20] = 2
    plain, _ = supervised_loss(_certain(labels, 3, 8.0), labels, known, settings)
    with_second, _ = supervised_loss(_certain(found, 3, 8.0), labels, known, settings)
    assert with_second == pytest.approx(float(plain), abs=1e-4)
    punished, _ = supervised_loss(_certain(found, 3, 8.0), labels, torch.ones_like(known), settings)
    assert punished > with_second + 0.3


def test_the_loss_does_not_say_which_of_the_unknown_classes_it_is() -> None:
    """No gradient between background and a class that is not known: their ratio is free."""
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 6, 6, requires_grad=True)
    labels = torch.randint(0, 2, (2, 6, 6))
    known = torch.tensor([[True, True, False, False], [True, True, False, True]])
    loss, _ = supervised_loss(logits, labels, known, ALL)
    (gradient,) = torch.autograd.grad(loss, logits)
    # Moving mass from 2 to 0 along the direction that keeps their sum and the others as they are changes nothing.
    share = logits.softmax(1).detach()
    direction = gradient[:, 0] / share[:, 0] - gradient[:, 2] / share[:, 2]
    assert direction.abs().max() < 1e-5
    # But the class that only the second slice knows is free in the first, bound in the second.
    third = (gradient[:, 0] / share[:, 0] - gradient[:, 3] / share[:, 3]).abs().amax((1, 2))
    assert third[0] < 1e-5 < third[1]


def test_smoothing_counts_the_joined_classes_once() -> None:
    logits = torch.zeros(1, 4, 2, 2)
    labels, known = torch.ones(1, 2, 2, dtype=torch.int64), torch.tensor([[True, True, False, False]])
    # Background, 2 and 3 are one class of probability 3/4; class 1 has 1/4.
    one, rest = -torch.log(torch.tensor(0.25)), -torch.log(torch.tensor(0.75))
    expected = 0.9 * one + 0.1 * (one + rest) / 2
    torch.testing.assert_close(cross_entropy(logits, labels, known, smoothing=0.1), expected)


def test_nothing_there_is_no_loss_and_no_nan() -> None:
    """A batch of air: Dice and Lovasz are 0, and every logit still gets a gradient, so that several GPUs agree."""
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    labels = torch.zeros(2, 8, 8, dtype=torch.int64)
    known = _everything(labels, 3)
    counted = classes_in(labels, known)
    for loss_of in (class_dice, lovasz_softmax):
        loss = loss_of(logits, labels, counted=counted, known=known)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss == 0 and not gradient.any()
    loss, terms = supervised_loss(logits, labels, known, ALL)
    assert torch.isfinite(loss) and set(terms) == {"cross_entropy", "dice", "lovasz"}


def test_lovasz_is_one_minus_jaccard_where_the_network_is_certain() -> None:
    labels = _labels(*ORGAN_AND_GLAND, batch=2)
    found = labels.clone()
    found[:, 2:6, 2:18] = 0  # a quarter of the organ
    found[:, 20, 20] = 0  # of the gland too
    known = _everything(labels, 3)
    counted = classes_in(labels, known)
    loss = lovasz_softmax(_certain(found, 3), labels, counted=counted, known=known)
    assert loss == pytest.approx(0.25, abs=1e-4)
    known[1] = False  # the second slice takes no part
    labels[1] = 0
    loss = lovasz_softmax(_certain(found, 3), labels, counted=counted, known=known)
    assert loss == pytest.approx(0.25, abs=1e-4)


def test_half_floats_are_summed_in_full() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 200, 200), torch.randint(0, 3, (2, 200, 200))
    known = _everything(labels, 3)
    full, _ = supervised_loss(logits.bfloat16().float(), labels, known, ALL)
    half, _ = supervised_loss(logits.bfloat16(), labels, known, ALL)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full)
