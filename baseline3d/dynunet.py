"""nnU-Net's 3D U-Net (Isensee et al. 2021), as MONAI has it: what Gao, Alves and Tong train.

MONAI's own forward pass keeps each block under two names, which weights files then hold twice, and brings every deeply
supervised output to full size, at 14 classes of 128 x 128 x 128 three times 117 MB of float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from monai.networks.nets import DynUNet as MonaiDynUNet
from torch import Tensor

from volumes.errors import InputError

Triple = tuple[int, int, int]


class DynUNet(MonaiDynUNet):
    """Encoder by strided convolutions, decoder by transposed ones, instance norm, leaky ReLU of slope 0.01.

    Args:
        channels: of the output, B x `channels` x D x H x W.
        filters: channels of each stage, the finest first.
        strides: (D, H, W) of each stage after the first: what it is coarser by than the one before.
        kernels: (D, H, W) of each stage's convolutions; None: 3 x 3 x 3 for all.
        residual: residual units in the encoder.
        deep_supervision: so many coarser outputs beside the full one, in training alone.
        dropout: share of the channels that are left out behind each stage of the encoder, in training: the noise of a
            noisy student (Tong 2.1 after Xie et al. 2020). MONAI's own also leaves out logits.
    """

    def __init__(
        self,
        channels: int,
        filters: Sequence[int] = (32, 64, 128, 256, 320, 320),
        strides: Sequence[Triple] = ((2, 2, 2),) * 5,
        kernels: Sequence[Triple] | None = None,
        residual: bool = False,
        deep_supervision: int = 0,
        dropout: float = 0.0,
    ) -> None:
        kernels = [(3, 3, 3)] * len(filters) if kernels is None else kernels
        _check(filters, strides, kernels, deep_supervision, dropout)
        super().__init__(
            spatial_dims=3,
            in_channels=1,
            out_channels=channels,
            kernel_size=kernels,
            strides=[(1, 1, 1), *strides],
            upsample_kernel_size=list(strides),
            filters=list(filters),
            deep_supervision=deep_supervision > 0,
            deep_supr_num=max(1, deep_supervision),
            res_block=residual,
        )
        del self.skip_layers  # the second name of every block
        self.supervised, self._left_out = deep_supervision, dropout
        self._steps = [tuple(int(one) for one in stride) for stride in strides]

    @property
    def multiple(self) -> Triple:
        """What the sides of a patch must be multiples of, (D, H, W)."""
        depth, height, width = (math.prod(along) for along in zip(*self._steps, strict=True))
        return depth, height, width

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:  # type: ignore[override]
        """Logits B x C x D x H x W of an image B x 1 x D x H x W; with deep supervision, in training, the coarser
        ones behind them, B x C x d x h x w each."""
        skips = [self._thinned(self.input_block(image))]
        for down in self.downsamples:
            skips.append(self._thinned(down(skips[-1])))
        found = self._thinned(self.bottleneck(skips[-1]))
        stages: list[Tensor] = []
        for up, skip in zip(self.upsamples, reversed(skips), strict=True):
            found = up(found, skip)
            stages.append(found)
        logits = self.output_block(found)
        if not (self.training and self.supervised):
            return logits
        coarser = stages[-2 : -2 - self.supervised : -1]
        heads = self.deep_supervision_heads
        return logits, *(head(one) for head, one in zip(heads, coarser, strict=True))

    def _thinned(self, features: Tensor) -> Tensor:
        return F.dropout3d(features, self._left_out, self.training) if self._left_out else features


def _check(
    filters: Sequence[int], strides: Sequence[Triple], kernels: Sequence[Triple], supervised: int, dropout: float
) -> None:
    stages = len(filters)
    if stages < 3 or len(strides) != stages - 1 or len(kernels) != stages:
        raise InputError(
            "network",
            found=f"{stages} filters, {len(strides)} strides and {len(kernels)} kernels",
            expected="three or more filters, as many kernels, and one stride fewer",
            fix="give each stage its own",
        )
    values = [*filters, *(one for triple in (*strides, *kernels) for one in triple)]
    if min(values) < 1 or any(side % 2 == 0 for kernel in kernels for side in kernel):
        raise InputError(
            "network", found="a size below 1, or an even kernel", expected="sizes above 0", fix="correct the setting"
        )
    if not 0 <= supervised <= stages - 2:
        raise InputError(
            "network.deep_supervision",
            found=str(supervised),
            expected=f"0 to {stages - 2} for {stages} stages",
            fix="correct the setting",
        )
    if not 0 <= dropout < 1:
        raise InputError(
            "network.dropout", found=f"{dropout:g}", expected="a share from 0 to less than 1", fix="correct the setting"
        )
