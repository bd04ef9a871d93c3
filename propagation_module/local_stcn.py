"""The network that ships: an STCN whose memory knows where it was written.

STCN (Cheng et al. 2021; Pham et al. 2022, section 2.2) matches a query slice to memory slices by the
negative squared Euclidean distance of their keys. Between neighbouring CT slices the patient lies still,
which STCN, made for video, does not use. Three changes, each cheap on a CPU:

- keys live at stride 4 and carry their place in millimetres, so the same distance also covers space;
- a value carries its mask at full resolution (16 sub-pixels a token) beside the learned features;
- the decoder sees two priors, the slice just labelled and the shape interpolated between key slices
  (Raya and Udupa 1990), and says how far to trust each: without any evidence it falls back on them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from propagation_module.memory import with_position

STRIDE = 4  # pixels a memory token covers, each way
SUBPIXELS = STRIDE * STRIDE
REACH_MM = 12.0  # slices farther away than this count as this far: else the last mask would drown the key slices
FAR = 4.0  # times what a millimetre in plane weighs: a token so far away weighs exp(-16) of one alike but in place
PRIOR_LOGIT = 5.0  # what a prior is worth where it is certain


class Features(NamedTuple):
    """What `LocalSTCN.encode_key` finds in B slices of H x W pixels."""

    key: Tensor  # B x CK x H/4 x W/4
    context: Tensor  # B x C x H/4 x W/4
    f8: Tensor  # B x C8 x H/8 x W/8
    f2: Tensor  # B x C2 x H/2 x W/2

    def crop(self, box: tuple[int, int, int, int]) -> Features:
        """The features inside `box` = (top, bottom, left, right) in pixels, each a multiple of 8."""
        top, bottom, left, right = box

        def cut(feature: Tensor, stride: int) -> Tensor:
            return feature[..., top // stride : bottom // stride, left // stride : right // stride]

        return Features(cut(self.key, 4), cut(self.context, 4), cut(self.f8, 8), cut(self.f2, 2))


class Decoded(NamedTuple):
    """What `LocalSTCN.decode` says of B query slices."""

    logits: Tensor  # B x 1 x H x W, float32
    presence: Tensor  # B, float32: logit of the structure being on the slice at all


class Prior(NamedTuple):
    """What is believed of a query slice before its image is looked at."""

    previous: Tensor  # B x 1 x H x W, probability on the slice just labelled
    shape: Tensor  # B x 1 x H x W, signed distance (mm, inside positive) from the key slices
    distances: Tensor  # B x 3: mm to the previous slice, mm to the nearest key slice, 1 if between key slices


class _Residual(nn.Module):
    """Two 3x3 convolutions around a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        r = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(x + self.norm2(self.conv2(r)))


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class _KeyEncoder(nn.Module):
    """A timm ResNet down to stride 16, brought back to stride 4 with its context."""

    def __init__(self, backbone: str, channels: tuple[int, ...], stem: int, width: int, key_dim: int) -> None:
        super().__init__()
        self.trunk = timm.create_model(
            backbone,
            pretrained=False,
            features_only=True,
            out_indices=(0, 1, 2, 3),
            channels=channels,
            stem_type="deep",
            stem_width=stem,
        )
        info: Any = self.trunk.feature_info
        c2, c4, c8, c16 = info.channels()
        self.lateral16 = nn.Conv2d(c16, width, 1)
        self.lateral8 = nn.Conv2d(c8, width, 1)
        self.lateral4 = nn.Conv2d(c4, width, 1)
        self.smooth = _conv(width, width)
        self.key_proj = nn.Conv2d(width, key_dim, 3, padding=1)
        self.out_channels = (c2, width, c8)

    def forward(self, image: Tensor) -> Features:
        f2, f4, f8, f16 = self.trunk(image)
        x = self.lateral8(f8) + _up(self.lateral16(f16))
        context = self.smooth(self.lateral4(f4) + _up(x))
        return Features(self.key_proj(context), context, f8, f2)


class _ValueEncoder(nn.Module):
    """Image and mask -> what a memory token says, with its mask appended."""

    def __init__(self, width: int, value_dim: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(4, 24, stride=2), _conv(24, 48, stride=2), _Residual(48))
        self.fuse = nn.Sequential(_conv(48 + width, value_dim), _Residual(value_dim), _Residual(value_dim))

    def forward(self, image: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        x = self.stem(torch.cat([image, mask], 1))
        value = self.fuse(torch.cat([x, context], 1))
        return torch.cat([value, F.pixel_unshuffle(mask, STRIDE)], 1)


class _Decoder(nn.Module):
    """Readout, features and priors -> logits at full resolution."""

    def __init__(self, value_dim: int, c2: int, width: int, c8: int) -> None:
        super().__init__()
        self.enter = _conv(value_dim + SUBPIXELS + width + 2 * SUBPIXELS + 3, width, size=1)
        self.fine = nn.Sequential(_Residual(width), _Residual(width))
        self.down = _conv(width, width, stride=2)
        self.skip8 = _conv(c8, width, size=1)
        self.coarse = nn.Sequential(_Residual(width), _Residual(width))
        self.merge = _Residual(width)
        self.reduce = nn.Conv2d(width, 32, 1)
        self.skip2 = nn.Conv2d(c2 + 8, 32, 3, padding=1)
        self.stride2 = _Residual(32)
        self.stride1 = nn.Sequential(_conv(32 + 3 + 2, 16), _conv(16, 16))
        self.out = nn.Conv2d(16, 3, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        last = nn.Linear(32, 1)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, 2.0)  # there, until it has learned to say otherwise
        self.presence = nn.Sequential(nn.Linear(2 * width + 3, 32), nn.ReLU(inplace=True), last)

    def forward(self, image: Tensor, features: Features, readout: Tensor, prior: Prior) -> Decoded:
        previous = prior.previous * 2 - 1
        shape = torch.tanh(prior.shape / 4.0)  # 4 mm: about the error that the image can still mend
        maps = _join(previous, shape)  # B x 2 x H x W
        planes = _distance_planes(prior.distances, features.context)
        x = _join(readout, features.context, F.pixel_unshuffle(maps, STRIDE), planes)
        x = self.fine(self.enter(x))
        deep = self.coarse(self.down(x) + self.skip8(features.f8))
        pooled = torch.cat([deep.mean((2, 3)), deep.amax((2, 3)), planes[:, :, 0, 0]], 1)
        presence = self.presence(pooled)[:, 0].float()
        x = self.merge(x + _up(deep))
        x = _up(self.reduce(x)) + self.skip2(_join(features.f2, F.pixel_unshuffle(maps, 2)))
        x = self.stride2(F.relu(x))
        x = self.out(self.stride1(_join(_up(x), image, maps))).float()
        trust = torch.sigmoid(x[:, 1:3])
        return Decoded(x[:, :1] + PRIOR_LOGIT * (trust * maps).sum(1, keepdim=True), presence)


def _join(*parts: Tensor) -> Tensor:
    """Channels joined, all channels-last: a mixed join would be copied to and fro (a fifth of the decoder's time)."""
    return torch.cat([part.contiguous(memory_format=torch.channels_last) for part in parts], 1)


def _distance_planes(distances: Tensor, like: Tensor) -> Tensor:
    """Distances (B x 3) as constant channels of the size of `like`, millimetres on a log scale."""
    scaled = torch.cat([torch.log1p(distances[:, :2]) / 3.0, distances[:, 2:]], 1)
    return scaled[:, :, None, None].to(like.dtype).expand(-1, -1, *like.shape[-2:])


class LocalSTCN(nn.Module):
    """A class-agnostic memory network for slices of square pixels.

    Args:
        backbone: a timm ResNet's name.
        channels: its stages' widths (stride 4, 8, 16 and an unused 32).
        stem: its stem's width.
        width: channels of the features at stride 4.
        key_dim: length of a key, place excluded.
        value_dim: length of a value, sub-pixel mask excluded.
    """

    pixel_multiple = 16

    def __init__(
        self,
        *,
        backbone: str = "resnet18",
        channels: tuple[int, ...] = (48, 80, 128, 32),
        stem: int = 16,
        width: int = 64,
        key_dim: int = 32,
        value_dim: int = 64,
    ) -> None:
        super().__init__()
        self.key_encoder = _KeyEncoder(backbone, tuple(channels), stem, width, key_dim)
        self.value_encoder = _ValueEncoder(width, value_dim)
        self.decoder = _Decoder(value_dim, *self.key_encoder.out_channels)
        # How much a millimetre in plane, and one between slices, weighs against the keys (log of 1/mm).
        self.log_place = nn.Parameter(torch.tensor([math.log(1 / 8), math.log(1 / 16)]))

    def encode_key(self, image: Tensor) -> Features:
        """Features of windowed slices, B x 3 x H x W in [0, 1], H and W multiples of 16."""
        if image.shape[-1] % self.pixel_multiple or image.shape[-2] % self.pixel_multiple:
            raise ValueError(
                f"slices of {tuple(image.shape[-2:])} pixels; expected multiples of {self.pixel_multiple}; "
                "pad them first"
            )
        return self.key_encoder(image)

    def encode_value(self, image: Tensor, features: Features, mask: Tensor) -> Tensor:
        """Values B x CV x H/4 x W/4 of slices with `mask` (B x 1 x H x W in [0, 1]); it sees no other label."""
        return self.value_encoder(image, features.context, mask)

    def read(
        self,
        query: Tensor,
        query_place: Tensor,
        keys: Tensor,
        values: Tensor,
        places: Tensor,
        valid: Tensor | None = None,
    ) -> Tensor:
        """What memory says of each query token (Cheng et al. 2021, eq. 4, with the place added).

        Args:
            query: B x CK x h x w. query_place: B x 3 x h x w, millimetres (z, y, x).
            keys: B x CK x N. values: B x CV x N. places: B x 3 x N.
            valid: B x N, False for memory tokens that do not count.

        Returns:
            B x CV x h x w.
        """
        weight = torch.exp(self.log_place.float())
        # with_position keeps distances; the key's own are divided by sqrt(CK), so the place's are multiplied.
        scale = torch.stack([weight[1], weight[0], weight[0]])[:, None] * math.sqrt(math.sqrt(query.shape[1]))
        query_place = query_place.flatten(2)
        centre = query_place.mean(2, keepdim=True)  # small numbers keep float32 exact
        away = places - centre
        away = torch.cat([away[:, :1].clamp(-REACH_MM, REACH_MM), away[:, 1:]], 1)
        scores = _scores(
            with_position(keys.float(), away, scale),
            with_position(query.flatten(2).float(), query_place - centre, scale),
            math.sqrt(query.shape[1]),
        )  # B x hw x N
        if valid is not None:
            scores = scores.masked_fill(~valid[:, None, :], float("-inf"))
        weights = scores.softmax(2).to(values.dtype)
        return torch.bmm(values, weights.transpose(1, 2)).unflatten(2, query.shape[-2:])

    def reach(self) -> float:
        """Millimetres in plane from which on memory tokens say nothing of a query token.

        53 with the weights that ship. On liver_17, bone among the labels, at most 5e-7 of what a sample of query
        tokens read came from beyond 48, where half precision rounds to 4e-3.
        """
        return FAR / math.exp(float(self.log_place[0].detach()))

    def decode(self, image: Tensor, features: Features, readout: Tensor, prior: Prior) -> Decoded:
        """The structure on query slices: where it is, and whether it is there."""
        return self.decoder(image, features, readout, prior)


def _scores(keys: Tensor, query: Tensor, scale: float) -> Tensor:
    """`memory.affinity`, a row of memory tokens for each query token: B x hw x N, in one pass.

    Reading memory took as long as decoding; rows that the softmax runs along, and scale and squares within the
    product, halve it (one core, 96 pixels: 8.9 to 3.8 ms).
    """
    with torch.autocast(keys.device.type, enabled=False):  # float32, as there
        bias = -keys.pow(2).sum(1, keepdim=True) / scale  # B x 1 x N
        return torch.baddbmm(bias, (query * (2.0 / scale)).transpose(1, 2), keys)


def places(height: int, width: int, pixel: Tensor, z: Tensor) -> Tensor:
    """Token places B x 3 x h x w (z, y, x in mm) of slices of `height` x `width` pixels.

    Args:
        pixel: B, pixel spacing in mm.
        z: B, the slice's place in mm.
    """
    y = (torch.arange(height // STRIDE, device=z.device) + 0.5) * STRIDE
    x = (torch.arange(width // STRIDE, device=z.device) + 0.5) * STRIDE
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"))  # 2 x h x w
    plane = grid[None] * pixel[:, None, None, None]
    return torch.cat([z[:, None, None, None].expand(-1, 1, *grid.shape[1:]), plane], 1).float()
