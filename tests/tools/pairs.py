"""A pair that sees what a test lets it see, and one that agrees with another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from networks.metadata import read_metadata
from reference_module.models import InputSettings
from reference_module.referencer import Referencer
from volumes.labels import LabelTable
from volumes.volume import Geometry, Volume

HU = {1: 60, 2: 200}
"""What the structures of these tests look like; everything else is at -100."""
TABLE = LabelTable.default([1, 2])
SPACING = (3.0, 2.0, 2.0)


class HounsfieldPair(nn.Module):
    """Both members tell structures by their intensity alone.

    Args:
        depth: slices of the volume.
        sees: probability with which it believes its eyes, by slice and label; 1.0 by default.
    """

    def __init__(self, depth: int, sees: Callable[[int, int], float] = lambda z, label: 1.0) -> None:
        super().__init__()
        self.depth, self.sees = depth, sees

    def forward(self, images: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 3, H, W), twice, of images (B, 3, H, W)."""
        hu = images[:, 0].float() * 400 - 150
        chances = torch.full((len(images), 3, *images.shape[2:]), 1e-4)
        for row, z in enumerate((position * self.depth).round().int().tolist()):
            for label, value in HU.items():
                there = (hu[row] - value).abs() < 20
                chances[row, label][there] = max(1e-4, self.sees(z, label))
        chances[:, 0] = (1 - chances[:, 1:].sum(1)).clamp(min=1e-4)
        logits = chances.log()
        return logits, logits.clone()


def ellipsoids(depth: int = 24, second: tuple[int, int] = (6, 17)) -> tuple[Volume, np.ndarray]:
    """A volume (depth, 40, 52) of two structures and its labels; the second one spans the slices `second`."""
    z, y, x = np.mgrid[:depth, :40, :52]
    labels = np.zeros(z.shape, np.uint8)
    middle, half = (depth - 1) / 2, max(0.4 * depth, 2.5)
    labels[((z - middle) / half) ** 2 + ((y - 20) / 11) ** 2 + ((x - 16) / 11) ** 2 <= 1] = 1
    low, high = second
    radius = max((high - low + 1) / 2, 2.4)
    labels[((z - (low + high) / 2) / radius) ** 2 + ((y - 20) / 7) ** 2 + ((x - 38) / 7) ** 2 <= 1] = 2
    hu = np.full(labels.shape, -100, np.int16)
    for label, value in HU.items():
        hu[labels == label] = value
    hu += np.random.default_rng(0).integers(-6, 7, hu.shape).astype(np.int16)
    return Volume(hu, Geometry.axial(hu.shape, SPACING), "ellipsoids"), labels


def referencer(pair: nn.Module) -> Referencer:
    return Referencer(pair, TABLE, InputSettings(None, "three"), precision="float32")


def twin(weights: Path) -> Path:
    """Another file of the same pair: a member that agrees with it on everything."""
    path = weights.with_name(f"twin-of-{weights.name}")
    save_file(load_file(weights), path, {**read_metadata(weights), "twin": "yes"})
    return path
