"""Losses against slow, plain references."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from propagation_module.losses import bootstrapped_cross_entropy, cross_entropy, lovasz_hinge, soft_dice

LOSSES: list[Callable[..., Tensor]] = [cross_entropy, bootstrapped_cross_entropy, lovasz_hinge, soft_dice]


def sample(seed: int = 0, shape: tuple[int, ...] = (3, 16, 20)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(shape, generator=generator)
    return logits, (torch.rand(shape, generator=generator) < 0.3).float()


def ce_of(logit: float, target: float) -> float:
    return max(logit, 0) - logit * target + math.log1p(math.exp(-abs(logit)))


@pytest.mark.parametrize("loss", LOSSES)
def test_perfect_is_zero_wrong_is_not(loss: Callable[..., Tensor]) -> None:
    _, targets = sample()
    right = 40 * (targets - 0.5)
    assert loss(right, targets).item() == pytest.approx(0, abs=1e-4)
    assert loss(-right, targets).item() > 0.9


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_gradients_are_finite(loss: Callable[..., Tensor], fill: float) -> None:
    logits = torch.full((2, 8, 8), 60.0)
    logits[0] = -60.0
    logits.requires_grad_()
    loss(logits, torch.full((2, 8, 8), fill)).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_channel_axis_and_half_floats(loss: Callable[..., Tensor]) -> None:
    logits, targets = sample()
    expected = loss(logits, targets)
    assert torch.equal(loss(logits[:, None], targets[:, None]), expected)
    assert torch.equal(loss(logits, targets.bool()), expected)
    half = loss(logits.bfloat16(), targets)
    assert half.dtype == torch.float32
    assert torch.equal(half, loss(logits.bfloat16().float(), targets))


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_not_valid_does_not_count(loss: Callable[..., Tensor]) -> None:
    logits, targets = sample()
    valid = torch.ones_like(targets)
    valid[:, 8:] = 0
    half = loss(logits[:, :8], targets[:, :8])
    assert loss(logits, targets, valid=valid).item() == pytest.approx(half.item(), abs=1e-6)
    changed = torch.where(valid > 0, logits, -logits)
    assert torch.equal(loss(changed, targets, valid=valid), loss(logits, targets, valid=valid))
    assert loss(logits, targets, valid=torch.zeros_like(targets)).item() == 0


def test_bootstrapped_keeps_hard_pixels() -> None:
    logits, targets = sample()
    expected = []
    for one, truth in zip(logits, targets, strict=True):
        ce = sorted(
            (ce_of(x, t) for x, t in zip(one.flatten().tolist(), truth.flatten().tolist(), strict=True))
        )[::-1]
        hard = [value for value in ce if value > 0.693]
        least = math.ceil(len(ce) / 16)
        kept = hard if len(hard) >= least else ce[:least]
        expected.append(sum(kept) / len(kept))
    found = bootstrapped_cross_entropy(logits, targets, warm_up=0)
    assert found.item() == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_bootstrapped_keeps_a_sixteenth_of_easy_pixels() -> None:
    targets = torch.zeros(1, 16, 16)
    logits = -torch.arange(1.0, 257.0).reshape(1, 16, 16) / 20 - 1
    expected = sum(ce_of(x, 0) for x in logits.flatten()[:16].tolist()) / 16
    assert bootstrapped_cross_entropy(logits, targets).item() == pytest.approx(expected, rel=1e-5)


def test_everything_counts_while_warming_up() -> None:
    logits, targets = sample()
    warm = bootstrapped_cross_entropy(logits, targets, progress=0.05, warm_up=0.1)
    assert torch.equal(warm, cross_entropy(logits, targets))
    assert bootstrapped_cross_entropy(logits, targets, progress=0.1, warm_up=0.1) > warm


def test_lovasz_against_the_definition() -> None:
    """Sum over sorted errors of error x growth of the Jaccard loss of the set of worst pixels."""
    logits, targets = sample(shape=(2, 5, 6))
    expected = []
    for one, truth in zip(logits.flatten(1).tolist(), targets.flatten(1).tolist(), strict=True):
        errors = [1 - x * (2 * t - 1) for x, t in zip(one, truth, strict=True)]
        order = sorted(range(len(errors)), key=lambda i: -errors[i])
        total, before, wrong = 0.0, 0.0, set()
        for i in order:
            wrong.add(i)
            inside = {j for j, t in enumerate(truth) if t}
            jaccard_loss = len(wrong) / len(inside | wrong)
            total += max(errors[i], 0) * (jaccard_loss - before)
            before = jaccard_loss
        expected.append(total)
    assert lovasz_hinge(logits, targets).item() == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_lovasz_of_certain_masks_is_twice_the_jaccard_loss() -> None:
    """With logits of +-1 every wrong pixel's error is 2, every right one's 0."""
    _, targets = sample(shape=(1, 10, 10))
    found = targets.roll(2, dims=2)
    both, either = (found * targets).sum(), (found + targets).clamp(max=1).sum()
    assert lovasz_hinge(2 * found - 1, targets).item() == pytest.approx(
        2 * (1 - both / either).item(), rel=1e-5
    )


def test_soft_dice_of_certain_masks() -> None:
    _, targets = sample(shape=(1, 10, 10))
    found = targets.roll(1, dims=1)
    expected = 1 - (2 * (found * targets).sum() + 1) / (found.sum() + targets.sum() + 1)
    assert soft_dice(80 * (found - 0.5), targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(B,H,W\)"):
        lovasz_hinge(torch.zeros(2, 4, 4), torch.zeros(2, 4, 5))
    with pytest.raises(ValueError, match="least_share"):
        bootstrapped_cross_entropy(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), least_share=0)
