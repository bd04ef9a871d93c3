"""STCN, the space-time correspondence network (Cheng, Tai and Tang 2021; Pham et al. 2022, section 2.2).

A key encoder sees the slice alone, a value encoder the slice with its mask; memory matches keys and returns
values; a decoder turns what memory says into a mask. Numbers after f are strides: f16 has 1/16 of the size.

Shapes: B batch, K labels, T memory slices, CK key channels, CV value channels, h w = H W / 16.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from propagation_module.memory import MemoryBank, affinity, aggregate_logits
from volumes.errors import InputError

STRIDE = 16
LABELS_AT_ONCE = 16  # decoded together: at 512 x 512 about 1 GiB of activations


class KeyFeatures(NamedTuple):
    """What `STCN.encode_key` finds in B slices."""

    key: Tensor  # B x CK x H/16 x W/16, matched with memory
    thin: Tensor  # B x CV x H/16 x W/16, decoded together with the readout
    f16: Tensor  # B x 1024 x H/16 x W/16, for the value encoder
    f8: Tensor  # B x 512 x H/8 x W/8
    f4: Tensor  # B x 256 x H/4 x W/4


class Shared(NamedTuple):
    """What all labels of a slice share, computed once: the convolutions of what only the slice decides.

    A convolution of joined channels is the sum of convolutions of each part, so the slice's part is added to every
    label's own. For 13 labels this saves four fifths of the value fuser's first block and half of the decoder's.
    """

    key: Tensor  # B x CK x H/16 x W/16
    fused: Tensor  # B x CV x H/16 x W/16, the slice's part of the value fuser's first convolution
    fused_skip: Tensor  # B x CV x H/16 x W/16
    compressed: Tensor  # B x CV x H/16 x W/16, the slice's part of the decoder's first convolution
    compressed_skip: Tensor  # B x CV x H/16 x W/16
    skip8: Tensor  # B x CV x H/8 x W/8
    skip4: Tensor  # B x CV/2 x H/4 x W/4

    def crop(self, box: tuple[int, int, int, int]) -> Shared:
        """What lies in `box` = (top, bottom, left, right) in pixels, each a multiple of 16."""
        top, bottom, left, right = box

        def cut(feature: Tensor, stride: int) -> Tensor:
            return feature[..., top // stride : bottom // stride, left // stride : right // stride]

        strides = (STRIDE, STRIDE, STRIDE, STRIDE, STRIDE, 8, 4)
        return Shared(*(cut(feature, stride) for feature, stride in zip(self, strides, strict=True)))


class STCN(nn.Module):
    """The published network; the defaults are its own, `configs/propagation/paper.yaml` has the other sizes.

    Args:
        key_encoder: timm model with features at strides 4, 8 and 16. `resnet50` as published.
        value_encoder: timm model with features at stride 16. `resnet18` as published.
        key_dim: CK.
        value_dim: CV; the decoder is CV wide at stride 8 and CV / 2 at stride 4.
        key_encoder_bias: give every convolution of the key encoder a bias (the mask-propagation paper).
        value_encoder_bias: the same for the value encoder (both published networks).
        cbam: attention between the two blocks that fuse image and mask (STCN; not the paper).
        other_objects: the value encoder sees the other labels' mask as a fifth channel. False builds the
            single-object network, with four.

    Example:
        >>> network = STCN().eval()
        >>> key, thin, f16, f8, f4 = network.encode_key(torch.rand(1, 3, 64, 64))
        >>> key.shape
        torch.Size([1, 64, 4, 4])
    """

    def __init__(
        self,
        *,
        key_encoder: str = "resnet50",
        value_encoder: str = "resnet18",
        key_dim: int = 64,
        value_dim: int = 512,
        key_encoder_bias: bool = False,
        value_encoder_bias: bool = True,
        cbam: bool = True,
        other_objects: bool = True,
    ) -> None:
        super().__init__()
        self.other_objects = other_objects
        self.key_encoder, (c4, c8, c16) = _trunk(key_encoder, strides=(4, 8, 16), channels=3, bias=key_encoder_bias)
        self.key_proj = nn.Conv2d(c16, key_dim, 3, padding=1)
        nn.init.orthogonal_(self.key_proj.weight)
        assert self.key_proj.bias is not None
        nn.init.zeros_(self.key_proj.bias)
        self.key_comp = nn.Conv2d(c16, value_dim, 3, padding=1)
        self.value_encoder = _ValueEncoder(
            value_encoder,
            c16,
            value_dim,
            channels=5 if other_objects else 4,
            bias=value_encoder_bias,
            cbam=cbam,
        )
        self.decoder = _Decoder(value_dim, c8, c4)

    def encode_key(self, frames: Tensor) -> KeyFeatures:
        """Features of windowed slices.

        Args:
            frames: B x 3 x H x W in [0, 1], H and W multiples of 16.
        """
        _check_size(frames)
        f4, f8, f16 = self.key_encoder(frames)
        return KeyFeatures(self.key_proj(f16), self.key_comp(f16), f16, f8, f4)

    def share(self, frames: Tensor) -> Shared:
        """`encode_key`, and all else that does not depend on a label (frames as there)."""
        key, thin, f16, f8, f4 = self.encode_key(frames)
        fused, fused_skip = self.value_encoder.fuser.enter.part(f16)
        compressed, compressed_skip = self.decoder.compress.part(thin)
        skip8, skip4 = self.decoder.up8.skip_conv(f8), self.decoder.up4.skip_conv(f4)
        return Shared(key, fused, fused_skip, compressed, compressed_skip, skip8, skip4)

    def encode_value_of(self, frame: Tensor, shared: Shared, mask: Tensor, others: Tensor) -> Tensor:
        """`encode_value` from what labels share: B x CV x h x w."""
        channels = [frame, mask, others] if self.other_objects else [frame, mask]
        (x,) = self.value_encoder.trunk(torch.cat(channels, 1))
        return self.value_encoder.fuser(x, (shared.fused, shared.fused_skip))

    def decode_of(self, found: Tensor, shared: Shared) -> Tensor:
        """`decode` from what labels share: found B x CV x h x w, logits B x 1 x H x W."""
        return self.decoder.finish(
            self.decoder.compress(found, (shared.compressed, shared.compressed_skip)), shared.skip8, shared.skip4
        )

    def encode_value(self, frame: Tensor, f16: Tensor, mask: Tensor, others: Tensor | None = None) -> Tensor:
        """Memory values of slices whose masks are known.

        Args:
            frame: B x 3 x H x W.
            f16: B x 1024 x h x w, of the same slices, from `encode_key`.
            mask: B x 1 x H x W, probability of the label, in [0, 1].
            others: B x 1 x H x W, sum of the other labels' probabilities; None where there are none.

        Returns:
            B x CV x 1 x h x w; the third axis counts memory slices, to join on.
        """
        _check_size(frame)
        channels = [frame, mask]
        if self.other_objects:
            channels.append(torch.zeros_like(mask) if others is None else others)
        elif others is not None:
            raise InputError(
                "others",
                found="a mask of other labels",
                expected="none: this network was built for a single label (other_objects: false)",
                fix="leave it out, or build the network with other_objects: true",
            )
        return self.value_encoder(torch.cat(channels, 1), f16).unsqueeze(2)

    def encode_values(self, frame: Tensor, f16: Tensor, masks: Tensor) -> Tensor:
        """Memory values of one slice for all its labels; a label's others are the total less its own.

        Args:
            frame: 1 x 3 x H x W. f16: 1 x 1024 x h x w.
            masks: K x 1 x H x W, probabilities.

        Returns:
            K x CV x h x w.
        """
        total = masks.sum(0, keepdim=True)  # 1 x 1 x H x W
        parts = []
        for own in masks.split(LABELS_AT_ONCE):  # k x 1 x H x W
            count = len(own)
            others = total - own if self.other_objects and len(masks) > 1 else None
            image, deep = frame.expand(count, -1, -1, -1), f16.expand(count, -1, -1, -1)
            parts.append(self.encode_value(image, deep, own, others)[:, :, 0])
        return torch.cat(parts)

    def segment(
        self,
        key: Tensor,
        thin: Tensor,
        f8: Tensor,
        f4: Tensor,
        memory_key: Tensor,
        memory_value: Tensor,
        selector: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Labels of query slices as in training: softmax over all of memory, differentiable.

        Args:
            key, thin, f8, f4: of the query slices, from `encode_key`.
            memory_key: B x CK x T x h x w.
            memory_value: B x K x CV x T x h x w; B x CV x T x h x w counts as one label. Published: K = 2.
            selector: B x K, 1 where a sample has the label, 0 where it has not; None: every label is there.

        Returns:
            logits: B x (1 + K) x H x W after aggregation, background first.
            probabilities: B x K x H x W, their softmax without background.
        """
        values = memory_value.unsqueeze(1) if memory_value.dim() == 5 else memory_value
        weights = affinity(memory_key.flatten(2), key.flatten(2)).softmax(1)  # B x Thw x hw
        tokens = values.flatten(3).flatten(1, 2)  # B x K CV x Thw
        found = torch.bmm(tokens, weights.to(tokens.dtype))  # B x K CV x hw
        found = found.unflatten(1, values.shape[1:3]).unflatten(3, key.shape[-2:])  # B x K x CV x h x w
        probabilities = torch.sigmoid(self.decode(found, thin, f8, f4))  # B x K x H x W
        if selector is not None:
            probabilities = probabilities * selector[:, :, None, None]
        logits = aggregate_logits(probabilities)
        return logits, F.softmax(logits, dim=1)[:, 1:]

    def segment_with_memory(self, memory: MemoryBank, features: KeyFeatures) -> Tensor:
        """Labels of one query slice from a memory bank, each by itself: K x 1 x H x W in [0, 1]."""
        found = memory.read(features.key[0])  # K x CV x h x w
        parts = [
            torch.sigmoid(self.decode(some.unsqueeze(0), features.thin, features.f8, features.f4))
            for some in found.split(LABELS_AT_ONCE)
        ]
        return torch.cat(parts, 1).transpose(0, 1)

    def decode(self, found: Tensor, thin: Tensor, f8: Tensor, f4: Tensor) -> Tensor:
        """What memory said, as logits.

        Args:
            found: B x K x CV x h x w.
            thin, f8, f4: of the query slices, from `encode_key`.

        Returns:
            B x K x H x W.
        """
        both = torch.cat([found, thin.unsqueeze(1).expand_as(found)], 2)  # B x K x 2 CV x h x w
        return self.decoder(both, f8, f4)


def _trunk(name: str, *, strides: tuple[int, ...], channels: int, bias: bool) -> tuple[nn.Module, list[int]]:
    """A timm encoder cut after its largest stride, and how many channels its features of `strides` have."""
    levels = tuple(stride.bit_length() - 2 for stride in strides)  # timm's index: 0 has stride 2
    trunk: Any = timm.create_model(name, pretrained=False, features_only=True, out_indices=levels, in_chans=channels)
    found = tuple(trunk.feature_info.reduction())
    if found != strides:
        raise InputError(
            f"encoder {name}", found=f"strides {found}", expected=f"{strides}", fix="choose a ResNet of timm"
        )
    if bias:
        for module in trunk.modules():
            if isinstance(module, nn.Conv2d) and module.bias is None:
                module.bias = nn.Parameter(torch.zeros(module.out_channels))
    return trunk, trunk.feature_info.channels()


def _check_size(frames: Tensor) -> None:
    height, width = frames.shape[-2:]
    if height % STRIDE or width % STRIDE:
        fitting = tuple(-(-size // STRIDE) * STRIDE for size in (height, width))
        raise InputError(
            "slice",
            found=f"{height} x {width} pixels",
            expected=f"height and width divisible by {STRIDE}",
            fix=f"pad it to {fitting[0]} x {fitting[1]} (propagation_module.compat.pad_to_stride)",
        )


class _Residual(nn.Module):
    """Two 3x3 convolutions, each after a ReLU, around a skip; no normalisation (STM's block)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, rest: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """`x` is the whole input or, with the `part` of the last channels, the first ones."""
        if rest is None:
            return self.skip(x) + self.conv2(F.relu(self.conv1(F.relu(x))))
        assert isinstance(self.skip, nn.Conv2d)
        first, skip = (
            F.conv2d(y, conv.weight[:, : x.shape[1]], conv.bias, padding=1) + part
            for y, conv, part in zip((F.relu(x), x), (self.conv1, self.skip), rest, strict=True)
        )
        return skip + self.conv2(F.relu(first))

    def part(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the last channels of the input, `x`, add to the first convolution and to the skip."""
        assert isinstance(self.skip, nn.Conv2d)
        channels = x.shape[1]
        return (
            F.conv2d(F.relu(x), self.conv1.weight[:, -channels:], padding=1),
            F.conv2d(x, self.skip.weight[:, -channels:], padding=1),
        )


class _Attention(nn.Module):
    """Channel, then spatial attention (CBAM, Woo et al. 2018), with the biases that STCN's has."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        means, peaks = x.mean((2, 3)), x.amax((2, 3))  # B x C, both
        channel = self._channel(means) + self._channel(peaks)  # B x C
        x = x * torch.sigmoid(channel)[:, :, None, None]
        planes = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)  # B x 2 x h x w
        return x * torch.sigmoid(self.spatial(planes))

    def _channel(self, pooled: Tensor) -> Tensor:
        return self.excite(F.relu(self.squeeze(pooled)))


class _Fusion(nn.Module):
    """Joins the features of the mask with those of the slice."""

    def __init__(self, inputs: int, outputs: int, cbam: bool) -> None:
        super().__init__()
        self.enter = _Residual(inputs, outputs)
        self.attention = _Attention(outputs) if cbam else None
        self.leave = _Residual(outputs, outputs)

    def forward(self, x: Tensor, rest: tuple[Tensor, Tensor] | None = None) -> Tensor:
        x = self.enter(x, rest)
        if self.attention is not None:
            x = x + self.attention(x)
        return self.leave(x)


class _ValueEncoder(nn.Module):
    """Slice and mask, and what the key encoder saw -> memory value."""

    def __init__(self, name: str, key_channels: int, value_dim: int, *, channels: int, bias: bool, cbam: bool) -> None:
        super().__init__()
        self.trunk, (own,) = _trunk(name, strides=(16,), channels=channels, bias=bias)
        self.fuser = _Fusion(own + key_channels, value_dim, cbam)

    def forward(self, masked: Tensor, f16: Tensor) -> Tensor:
        (x,) = self.trunk(masked)  # B x 256 x h x w
        return self.fuser(torch.cat([x, f16], 1))  # B x CV x h x w


class _Up(nn.Module):
    """Twice the size, with the key encoder's feature of that size; its convolution serves all K labels."""

    def __init__(self, skip: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.skip_conv = nn.Conv2d(skip, inputs, 3, padding=1)
        self.block = _Residual(inputs, outputs)

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        """`skip`: B x C x 2h x 2w from `skip_conv`. x: BK x C x h x w."""
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)  # BK x C x 2h x 2w
        joined = x.unflatten(0, (len(skip), -1)) + skip.unsqueeze(1)  # B x K x C x 2h x 2w
        return self.block(joined.flatten(0, 1))


class _Decoder(nn.Module):
    """Readout beside the thin features -> logits at the slice's own size."""

    def __init__(self, value_dim: int, c8: int, c4: int) -> None:
        super().__init__()
        half = value_dim // 2
        self.compress = _Residual(2 * value_dim, value_dim)
        self.up8 = _Up(c8, value_dim, half)
        self.up4 = _Up(c4, half, half)
        self.predict = nn.Conv2d(half, 1, 3, padding=1)

    def forward(self, both: Tensor, f8: Tensor, f4: Tensor) -> Tensor:
        x = self.compress(both.flatten(0, 1))  # BK x CV x h x w
        x = self.finish(x, self.up8.skip_conv(f8), self.up4.skip_conv(f4))  # BK x 1 x H x W
        return x.unflatten(0, both.shape[:2]).squeeze(2)  # B x K x H x W

    def finish(self, x: Tensor, skip8: Tensor, skip4: Tensor) -> Tensor:
        """From what `compress` gives, BK x CV x h x w, to logits BK x 1 x H x W."""
        x = self.up8(skip8, x)  # BK x CV/2 x H/8 x W/8
        x = self.up4(skip4, x)  # BK x CV/2 x H/4 x W/4
        x = self.predict(F.relu(x))
        return F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
