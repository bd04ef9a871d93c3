"""The pair: both networks' logits, the mean of their softmaxes, and that both learn from random numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_module.models import build_pair
from reference_module.pair import Pair


class Fixed(nn.Module):
    """Says the same wherever it looks."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images: Tensor, position: Tensor) -> Tensor:
        return self.logits.view(1, -1, 1, 1).expand(len(images), -1, *images.shape[-2:])


def test_probabilities_are_the_mean_of_the_softmaxes_not_of_the_logits() -> None:
    # One network is certain of class 0 (0.88), the other of class 1 (0.9999): the sum of the softmaxes says 1 with
    # 0.56, the softmax of the summed logits would say 1 with 0.998.
    pair = Pair(Fixed(2.0, 0.0), Fixed(0.0, 9.0))
    found = pair.probabilities(torch.zeros(2, 3, 4, 5), torch.zeros(2))
    assert found.shape == (2, 2, 4, 5)
    assert float(found[0, 1, 0, 0]) == pytest.approx((0.1192029 + 0.9998766) / 2, abs=1e-6)
    torch.testing.assert_close(found.sum(1), torch.ones(2, 4, 5))


def test_logits_come_in_the_order_of_the_networks() -> None:
    first, second = Pair(Fixed(1.0, 0.0), Fixed(0.0, 3.0))(torch.zeros(1, 3, 2, 2), torch.zeros(1))
    assert float(first[0, 0, 0, 0]) == 1.0 and float(second[0, 1, 0, 0]) == 3.0


def test_probabilities_are_float32_under_mixed_precision() -> None:
    pair = build_pair("small", 3).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = pair.probabilities(torch.rand(1, 3, 40, 33), torch.tensor([0.5]))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(1), torch.ones(1, 40, 33))


def test_the_small_pair_fits_its_budget() -> None:
    count = sum(parameter.numel() for parameter in build_pair("small").parameters())
    assert count <= 12_000_000 and 2 * count <= 25 * 2**20  # two bytes a number, 25 MB a file


def test_both_networks_of_the_small_pair_learn_from_random_numbers() -> None:
    """Bright squares and dark bars on noise: thirty steps, then slices that neither has seen."""
    torch.manual_seed(0)
    pair = build_pair("small", 3)
    optimiser = torch.optim.AdamW(pair.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    losses: list[tuple[float, float]] = []
    for _ in range(30):
        images, labels = squares_and_bars(4, generator)
        with torch.autocast("cpu", torch.bfloat16):
            both = pair(images, torch.rand(4, generator=generator))
        first, second = (F.cross_entropy(logits.float(), labels) for logits in both)
        optimiser.zero_grad()
        (first + second).backward()
        optimiser.step()
        losses.append((first.item(), second.item()))
    pair.eval()
    images, labels = squares_and_bars(16, generator)
    with torch.inference_mode():
        found = [logits.argmax(1) for logits in pair(images, torch.rand(16, generator=generator))]
    for network in (0, 1):
        assert losses[-1][network] < 0.1 * losses[0][network]
        for structure in (1, 2):
            here, there = found[network] == structure, labels == structure
            assert float(2 * (here & there).sum() / (here.sum() + there.sum())) > 0.6


def squares_and_bars(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (count, 3, 32, 48) and their labels: 1 a square, 2 a bar."""
    images = 0.3 + 0.1 * torch.randn(count, 3, 32, 48, generator=generator)
    labels = torch.zeros(count, 32, 48, dtype=torch.long)
    for image, label in zip(images, labels, strict=True):
        y, x = (int(torch.randint(0, high, (), generator=generator)) for high in (20, 14))
        label[y : y + 12, x : x + 12] = 1
        label[y : y + 12, x + 26 : x + 32] = 2
        image[:, label == 1] += 0.5
        image[:, label == 2] -= 0.3
    return images, labels
