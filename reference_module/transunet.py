"""TransUNet: a ResNet, a vision transformer on its features, and a decoder with skips, for slices of any size.

Chen et al., TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation (2021), in the form that
the mask-propagation paper (Pham et al. 2022) uses, R50-ViT-B/16, with the slice's place in the volume as one more
channel of the last convolution. ResNet and transformer blocks are timm's, which follow Google's hybrid models
exactly (weight standardisation, group norm, padding of type SAME), so that their public weights fit (`npz`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d, GroupNormAct, StdConv2dSame, create_conv2d
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from reference_module.layers import pad_to_multiple
from volumes.errors import InputError

STRIDE = 16
_SMALLEST = 2 * STRIDE  # four values a channel where the network is coarsest: batch norm takes a batch of one


class TransUNet(nn.Module):
    """Segmentation of slices by a ResNet-transformer hybrid.

    Args:
        classes: background included.
        in_channels: channels of an image.
        layers: blocks of the ResNet's three stages, at strides 4, 8 and 16.
        stem: channels of the stem, at stride 2; the stages have 4, 8 and 16 times as many.
        hidden: channels of a token.
        depth: transformer layers.
        heads: attention heads; they divide `hidden`.
        mlp: channels inside a transformer layer.
        decoder: channels of the decoder at strides 8, 4, 2 and 1.
        head: channels of the decoder's first convolution, at stride 16.
        grid: side of the grid of position embeddings, image side / 16 in training. They are stretched over
            other images.
        position_channel: whether the last convolution sees where in the volume the slice is.
        norm: `group` (the published network: standardised convolutions with group norm) or `batch` in the
            ResNet. The decoder has batch norm in both.
        dropout: share of a transformer layer's outputs that training drops.

    Example:
        >>> network = TransUNet(14).eval()
        >>> network(torch.rand(1, 3, 54, 130), torch.tensor([0.5])).shape
        torch.Size([1, 14, 54, 130])
    """

    def __init__(
        self,
        classes: int,
        *,
        in_channels: int = 3,
        layers: Sequence[int] = (3, 4, 9),
        stem: int = 64,
        hidden: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp: int = 3072,
        decoder: Sequence[int] = (256, 128, 64, 16),
        head: int = 512,
        grid: int = 32,
        position_channel: bool = True,
        norm: str = "group",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        _check_sizes(
            layers=layers,
            stem=[stem],
            hidden=[hidden],
            depth=[depth],
            heads=[heads],
            mlp=[mlp],
            decoder=decoder,
            head=[head],
            grid=[grid],
        )
        _check(layers, stem, hidden, heads, decoder, norm)
        self.position_channel = position_channel
        self.resnet = ResNetV2(
            layers=list(layers),
            channels=(4 * stem, 8 * stem, 16 * stem),
            num_classes=0,
            global_pool="",
            in_chans=in_channels,
            stem_chs=stem,
            preact=False,
            **_RESNET_LAYERS[norm],
        )
        self.embed = nn.Conv2d(16 * stem, hidden, 1)
        self.position_embedding = nn.Parameter(torch.zeros(1, hidden, grid, grid))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(
            *(
                # timm takes the share and rounds it down, hence the half
                Block(hidden, heads, (mlp + 0.5) / hidden, qkv_bias=True, proj_drop=dropout, norm_layer=_LayerNorm)
                for _ in range(depth)
            )
        )
        self.norm = _LayerNorm(hidden)
        self.bottom = _convolution(hidden, head)
        given = (head, *decoder[:-1])
        skips = (8 * stem, 4 * stem, stem, 0)
        self.decoder = nn.ModuleList(_UpBlock(*sizes) for sizes in zip(given, skips, decoder, strict=True))
        self.head = nn.Conv2d(decoder[-1] + position_channel, classes, 3, padding=1)
        self._initialise()

    def forward(self, images: Tensor, position: Tensor | None = None) -> Tensor:
        """Logits (B, classes, H, W) of images (B, in_channels, H, W), any H and W.

        Args:
            images: values in [0, 1].
            position: (B,) slice index / number of slices; needed with `position_channel`.
        """
        height, width = images.shape[-2:]
        skips = self._encode(pad_to_multiple(images, STRIDE, _SMALLEST))
        features = self.bottom(self._transform(skips.pop()))
        for block in self.decoder:
            features = block(features, skips.pop() if skips else None)
        features = features[..., :height, :width]
        if self.position_channel:
            if position is None:
                raise TypeError("a TransUNet with position_channel needs the slices' positions")
            place = position.to(features.dtype).view(-1, 1, 1, 1).expand(-1, 1, height, width)
            features = torch.cat([features, place], dim=1)
        return self.head(features)

    def _encode(self, images: Tensor) -> list[Tensor]:
        """Features of the ResNet at strides 2, 4, 8 and 16."""
        found = []
        features = images
        for name, layer in self.resnet.stem.named_children():
            if name == "pool":
                found.append(features)
            features = layer(features)
        for stage in self.resnet.stages:
            features = stage(features)
            found.append(features)
        return found

    def _transform(self, features: Tensor) -> Tensor:
        """(B, C, h, w) through the transformer: (B, hidden, h, w)."""
        tokens = self.embed(features)
        shape = tokens.shape
        tokens = tokens + self._embedding_for(shape[-2], shape[-1])
        tokens = self.dropout(tokens.flatten(2).transpose(1, 2))  # B x h*w x hidden
        tokens = self.norm(self.blocks(tokens))
        return tokens.transpose(1, 2).reshape(shape)

    def _embedding_for(self, height: int, width: int) -> Tensor:
        given = self.position_embedding
        if given.shape[-2:] == (height, width):
            return given
        return F.interpolate(given, size=(height, width), mode="bicubic", align_corners=False)

    def _initialise(self) -> None:
        """Random weights for what timm does not initialise itself (the ResNet).

        The head's are as large as every other convolution's: with a tenth of that, the usual start for dense
        prediction, small structures are found two to three times as late.
        """
        nn.init.trunc_normal_(self.position_embedding, std=0.02)
        for part in (self.embed, self.blocks, self.bottom, self.decoder, self.head):
            for module in part.modules():
                if isinstance(module, nn.Linear):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                elif isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
                    nn.init.zeros_(module.bias)


class _UpBlock(nn.Module):
    """Twice as fine, beside the encoder's features of that size, then two convolutions."""

    def __init__(self, given: int, skip: int, made: int) -> None:
        super().__init__()
        self.first = _convolution(given + skip, made)
        self.second = _convolution(made, made)

    def forward(self, features: Tensor, skip: Tensor | None) -> Tensor:
        features = F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
        if skip is not None:
            features = torch.cat([features, skip], dim=1)
        return self.second(self.first(features))


def _convolution(given: int, made: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(given, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU(inplace=True))


def _group_norm(channels: int, **settings: Any) -> GroupNormAct:
    """32 groups, as published, or as many as divide the channels of a narrower network."""
    return GroupNormAct(channels, num_groups=math.gcd(32, channels), **settings)


class _LayerNorm(nn.LayerNorm):
    """With the published networks' epsilon."""

    def __init__(self, channels: int, **settings: Any) -> None:
        super().__init__(channels, eps=1e-6, **settings)


_RESNET_LAYERS: dict[str, dict[str, Any]] = {
    "group": {"conv_layer": partial(StdConv2dSame, eps=1e-8), "norm_layer": _group_norm, "stem_type": "same"},
    "batch": {"conv_layer": create_conv2d, "norm_layer": BatchNormAct2d, "stem_type": ""},
}


def _check_sizes(**sizes: Sequence[int]) -> None:
    for name, values in sizes.items():
        if min(values, default=1) < 1:
            found = ", ".join(map(str, values))
            raise InputError(f"transunet.{name}", found=found, expected="1 or more", fix="correct the setting")


def _check(layers: Sequence[int], stem: int, hidden: int, heads: int, decoder: Sequence[int], norm: str) -> None:
    """Raise InputError for settings that make no network."""
    faults = (
        (len(layers) != 3, f"layers for {len(layers)} stages", "three numbers", "blocks of stages 1, 2 and 3"),
        (len(decoder) != 4, f"{len(decoder)} decoder widths", "four numbers", "give those of strides 8, 4, 2 and 1"),
        (stem % 4 != 0, f"stem: {stem}", "a multiple of 4", "round it"),
        (hidden % heads != 0, f"{heads} heads for {hidden} channels", "heads that divide hidden", "change one of them"),
        (norm not in _RESNET_LAYERS, f"norm: {norm}", f"one of {', '.join(_RESNET_LAYERS)}", "correct it"),
    )
    for wrong, found, expected, fix in faults:
        if wrong:
            raise InputError("transunet", found=found, expected=expected, fix=fix)
