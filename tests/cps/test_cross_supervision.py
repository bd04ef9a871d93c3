"""The unsupervised loss, and what the public implementation got wrong in it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cps.cross_supervision import UNCERTAIN, Consistency, box_for, cross_loss, hard_labels, mixed
from volumes.errors import InputError


def _logits(labels: Tensor, classes: int = 4, certain: float = 60.0) -> Tensor:
    return torch.nn.functional.one_hot(labels, classes).permute(0, 3, 1, 2).float() * certain


def _slices() -> Tensor:
    labels = torch.zeros(2, 32, 32, dtype=torch.int64)
    labels[:, 2:22, 2:22] = 1  # a liver
    labels[:, 28:30, 28:30] = 2  # an adrenal gland
    return labels


def test_agreement_costs_nothing_so_softmax_is_applied_once() -> None:
    labels = _slices()
    assert cross_loss(_logits(labels), labels) == pytest.approx(0.0, abs=1e-5)


def test_the_gland_counts_as_much_as_the_liver() -> None:
    labels = _slices()
    without = [float(cross_loss(_logits(torch.where(labels == one, 0, labels)), labels)) for one in (1, 2)]
    assert without[0] == pytest.approx(0.5, abs=0.01)
    assert without[1] == pytest.approx(0.5, abs=0.06), "8 pixels of 1600, one pixel of smoothing"


def test_nothing_found_by_either_is_no_loss_and_no_gradient() -> None:
    logits = _logits(torch.zeros(2, 16, 16, dtype=torch.int64), certain=3.0).requires_grad_()
    loss = cross_loss(logits, torch.zeros(2, 16, 16, dtype=torch.int64))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss == 0 and torch.isfinite(gradient).all() and not gradient.any()


def test_what_only_one_of_them_finds_counts() -> None:
    labels, nothing = _slices(), torch.zeros(2, 32, 32, dtype=torch.int64)
    assert cross_loss(_logits(nothing), labels) > 0.8, "found by the peer alone"
    assert cross_loss(_logits(labels), nothing) > 0.8, "found by the student alone"


def test_no_gradient_reaches_the_peer() -> None:
    peer = torch.randn(2, 4, 8, 8, requires_grad=True)
    student = torch.randn(2, 4, 8, 8, requires_grad=True)
    targets = hard_labels(peer)
    assert targets.dtype == torch.int64 and not targets.requires_grad
    cross_loss(student, targets).backward()
    assert peer.grad is None and student.grad is not None and student.grad.any()


def test_where_the_peer_is_not_certain_nothing_is_taught() -> None:
    labels = _slices()
    peer = _logits(labels, certain=8.0)
    peer[:, :, 28:30, 28:30] = _logits(labels, certain=1.0)[:, :, 28:30, 28:30]  # the gland: .48 of four classes
    assert (hard_labels(peer) == labels).all() and (hard_labels(peer, 0.4) == labels).all()
    targets = hard_labels(peer, 0.9)
    assert (targets == torch.where(labels == 2, UNCERTAIN, labels)).all()
    student = torch.randn(2, 4, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(cross_loss(student, targets), student)
    assert not gradient[:, :, 28:30, 28:30].any() and gradient[:, :, 2:22, 2:22].all()
    # A gland that the student alone finds there, and one that it alone misses, are no mistakes.
    for found in (labels, torch.where(labels == 2, 0, labels)):
        assert cross_loss(_logits(found), targets) == pytest.approx(0.0, abs=1e-5)
    nowhere = torch.full_like(labels, UNCERTAIN)
    assert cross_loss(_logits(labels), nowhere) == 0


def test_the_weight_rises_with_the_steps() -> None:
    """0.1 exp(-5 (1 - t)^2) of the paper's code, whose t stood still since it was counted in epochs."""
    settings = Consistency(weight=0.1)
    weights = [settings.weight_at(step, 1000) for step in range(0, 1001)]
    assert all(b > a for a, b in zip(weights, weights[1:], strict=False))
    assert weights[0] == pytest.approx(0.1 * math.exp(-5)) and weights[-1] == pytest.approx(0.1)
    assert weights[500] == pytest.approx(0.1 * math.exp(-1.25))
    early = Consistency(weight=2.0, ramp=0.25)
    assert early.weight_at(250, 1000) == early.weight_at(900, 1000) == 2.0 > early.weight_at(249, 1000)
    assert Consistency(weight=1.0, ramp=0.0).weight_at(0, 10) == 1.0


@pytest.mark.parametrize("wrong", [{"weight": -1.0}, {"ramp": 2.0}, {"mixed": 1.5}, {"certain": 1.0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"consistency.{next(iter(wrong))}"):
        Consistency(**wrong)  # type: ignore[arg-type]


def test_slices_and_their_labels_are_mixed_alike() -> None:
    torch.manual_seed(0)
    for height, width in ((40, 60), (7, 3), (1, 1)):
        box = box_for(height, width)
        images = torch.arange(3.0)[:, None, None, None].expand(3, 2, height, width)
        labels = torch.arange(3)[:, None, None].expand(3, height, width)
        pasted, names = mixed(images, box), mixed(labels, box)
        assert torch.equal(pasted[:, 0].long(), names) and torch.equal(pasted[:, 0], pasted[:, 1])
        inside = torch.zeros(height, width, dtype=torch.bool)
        inside[box] = True
        assert (names[1][inside] == 0).all() and (names[1][~inside] == 1).all() and (names[0][inside] == 2).all()
    areas = []
    for _ in range(200):
        rows, columns = box_for(64, 64)
        areas.append((rows.stop - rows.start) * (columns.stop - columns.start) / 64**2)
        assert 0 <= rows.start < rows.stop <= 64 and 0 <= columns.start < columns.stop <= 64
    assert 0.2 < min(areas) < 0.3 and 0.45 < max(areas) < 0.55
