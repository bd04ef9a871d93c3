"""DeepLabV3+ for slices of any size.

Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation (2018), as
segmentation-models-pytorch builds it. Two things are ours: slices are padded to the network's stride, and the branch
that sees the whole slice at once is normalised over channels, since batch norm there has one value a channel in a
batch of one (an error) and two in a batch of two (each channel becomes +1 and -1, whatever the slices show).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPPPooling
from torch import Tensor, nn

from reference_module.layers import pad_to_multiple
from volumes.errors import InputError

_SMALLEST = 32  # at least four values a channel at stride 16: batch norm takes a batch of one


class DeepLabV3Plus(nn.Module):
    """Segmentation of slices by atrous convolutions.

    Args:
        classes: background included.
        in_channels: channels of an image.
        encoder: a name of segmentation-models-pytorch; `tu-<name>` is a model of timm.
        depth: stages of the encoder, 3 to 5; the fifth is the widest.
        output_stride: of the encoder's last features; stages beyond it are dilated instead.
        channels: of the atrous branches and the decoder.
        rates: dilations of the three atrous branches.
        dropout: share of the branches' features that training drops.
        fine: leave out the pooling after the stem (timm's ResNets only). Every stride is then half of what its
            name says, the decoder's skip is at stride 2 instead of 4: for structures of few pixels.
        encoder_settings: passed on to timm for a `tu-` encoder, such as `channels`.

    Example:
        >>> network = DeepLabV3Plus(14).eval()
        >>> network(torch.rand(1, 3, 54, 130)).shape
        torch.Size([1, 14, 54, 130])
    """

    def __init__(
        self,
        classes: int,
        *,
        in_channels: int = 3,
        encoder: str = "efficientnet-b3",
        depth: Literal[3, 4, 5] = 5,
        output_stride: Literal[8, 16] = 16,
        channels: int = 256,
        rates: Sequence[int] = (12, 24, 36),
        dropout: float = 0.5,
        fine: bool = False,
        encoder_settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        try:
            self.network = smp.DeepLabV3Plus(
                encoder_name=encoder,
                encoder_depth=depth,
                encoder_weights=None,
                encoder_output_stride=output_stride,
                decoder_channels=channels,
                decoder_atrous_rates=rates,
                decoder_aspp_dropout=dropout,
                in_channels=in_channels,
                classes=classes,
                upsampling=2 if fine else 4,
                **(encoder_settings or {}),
            )
        except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:  # timm asserts
            raise InputError(
                "deeplabv3plus",
                found=f"encoder {encoder} that cannot be built ({error})",
                expected="an encoder of segmentation-models-pytorch and settings that it takes",
                fix="correct the network section",
            ) from error
        if fine:
            _leave_out_pooling(self.network.encoder, encoder)
        # A classifier's, of EfficientNets, through which no features pass: several GPUs wait for every gradient.
        for name in ("_conv_head", "_bn1"):
            if (unused := getattr(self.network.encoder, name, None)) is not None:
                unused.requires_grad_(False)
        # As large as TransUNet's: with torch's own, smaller start it finds small structures later.
        nn.init.kaiming_normal_(self.network.segmentation_head[0].weight, nonlinearity="relu")
        nn.init.zeros_(self.network.segmentation_head[0].bias)
        for module in list(self.network.decoder.modules()):
            if isinstance(module, ASPPPooling):
                _normalise_over_channels(module)

    def forward(self, images: Tensor, position: Tensor | None = None) -> Tensor:
        """Logits (B, classes, H, W) of images (B, in_channels, H, W), any H and W; the position is not used."""
        height, width = images.shape[-2:]
        padded = pad_to_multiple(images, self.network.encoder.output_stride, _SMALLEST)
        return self.network(padded)[..., :height, :width]


def _leave_out_pooling(encoder: nn.Module, name: str) -> None:
    model = getattr(encoder, "model", None)
    if not isinstance(getattr(model, "maxpool", None), nn.Module):
        raise InputError(
            "deeplabv3plus",
            found=f"fine: true with the encoder {name}",
            expected="a ResNet of timm, such as tu-resnet18",
            fix="change one of the two",
        )
    setattr(model, "maxpool", nn.Identity())  # noqa: B010 (an attribute that the type of a module does not name)


def _normalise_over_channels(branch: ASPPPooling) -> None:
    for name, layer in branch.named_children():
        if isinstance(layer, nn.BatchNorm2d):
            setattr(branch, name, nn.GroupNorm(1, layer.num_features))
