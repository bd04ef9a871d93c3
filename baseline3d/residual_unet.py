"""The residual 3D U-Net of Zhang, Wang and Yang 2022 (2.2, Table 3): both teacher and student are one.

The paper gives the widths, the norm and the dropout, and the size: 10,705,552 parameters at 13 channels out. Of some
500,000 ways to choose what it leaves open (biases, affine norms, shortcuts, units a stage, convolutions a unit, up-
sampling, skips, head), those of that size are this one, its like with a shortcut for show, and one that sums skips.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.configurations import check_values


class ResidualUNet(nn.Module):
    """Encoder stages of two residual units, decoder stages of one; trilinear up-sampling, skips concatenated.

    Args:
        channels: of the output, B x `channels` x D x H x W.
        widths: channels of each stage, the finest first; stages are halved by max pooling.
        dropout: share of the channels that is left out within a unit, in training.
    """

    def __init__(self, channels: int, widths: Sequence[int] = (16, 32, 64, 128, 256), dropout: float = 0.2) -> None:
        super().__init__()
        self.widths, self.dropout = tuple(widths), dropout
        check_values(
            self,
            "network",
            ("widths", len(self.widths) > 1 and all(one > 0 for one in self.widths), "two or more numbers above 0"),
            ("dropout", 0 <= dropout < 1, "a share from 0 to less than 1"),
        )
        befores = (1, *self.widths[:-1])
        self.encoder = nn.ModuleList(
            nn.Sequential(_Unit(before, width, dropout), _Unit(width, width, dropout))
            for before, width in zip(befores, self.widths, strict=True)
        )
        self.decoder = nn.ModuleList(
            _Unit(deep + fine, fine, dropout)
            for deep, fine in zip(self.widths[:0:-1], self.widths[-2::-1], strict=True)
        )
        self.head = nn.Conv3d(self.widths[0], channels, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight)

    @property
    def multiple(self) -> tuple[int, int, int]:
        """What the sides of a patch must be multiples of, (D, H, W)."""
        side = 2 ** (len(self.widths) - 1)
        return side, side, side

    def forward(self, image: Tensor) -> Tensor:
        """Logits B x C x D x H x W of an image B x 1 x D x H x W."""
        skips: list[Tensor] = []
        found = image
        for number, stage in enumerate(self.encoder):
            found = stage(F.max_pool3d(found, 2) if number else found)
            skips.append(found)
        for stage, skip in zip(self.decoder, skips[-2::-1], strict=True):
            found = F.interpolate(found, scale_factor=2, mode="trilinear", align_corners=False)
            found = stage(torch.cat([found, skip], dim=1))
        return self.head(found)


class _Unit(nn.Module):
    """Two 3x3x3 convolutions beside a shortcut, a 1x1x1 convolution where the width changes."""

    def __init__(self, before: int, width: int, dropout: float) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv3d(before, width, 3, padding=1, bias=False),
            nn.InstanceNorm3d(width),
            nn.ReLU(inplace=True),
            nn.Dropout3d(dropout),
            nn.Conv3d(width, width, 3, padding=1, bias=False),
            nn.InstanceNorm3d(width),
        )
        changes = before != width
        self.shortcut = (
            nn.Sequential(nn.Conv3d(before, width, 1, bias=False), nn.InstanceNorm3d(width))
            if changes
            else nn.Identity()
        )

    def forward(self, found: Tensor) -> Tensor:
        """B x width x D x H x W of B x before x D x H x W."""
        return F.relu(self.branch(found) + self.shortcut(found))
