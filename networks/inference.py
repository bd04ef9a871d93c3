"""What makes a trained network quick to use: normalisation folded into convolutions, half the bits where that pays."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from volumes.errors import InputError

PRECISIONS = ("auto", "float32", "bfloat16")


def check_precision(precision: str) -> None:
    """Raise InputError for one that is not of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise InputError(
            "precision", found=f"'{precision}'", expected=f"one of {', '.join(PRECISIONS)}", fix="choose one"
        )


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the processor has instructions for it; without them bfloat16 is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        capability = torch.backends.cpu.get_cpu_capability()
        return capability.startswith("AVX512") and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
    return False


def folded(network: nn.Module) -> nn.Module:
    """Every batch normalisation into the convolution before it; exact but for rounding. Changes `network` itself.

    Raises:
        TypeError: a normalisation that no convolution of its width comes before, in the order of the modules.
    """
    convolution: nn.Conv2d | None = None
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d):
            convolution = module
        elif isinstance(module, nn.BatchNorm2d):
            if convolution is None or convolution.out_channels != module.num_features:
                raise TypeError(f"{name} follows no convolution of its width")
            assert module.running_mean is not None and module.running_var is not None
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight,
                convolution.bias,
                module.running_mean,
                module.running_var,
                module.eps,
                module.weight,
                module.bias,
            )
            parent, _, own = name.rpartition(".")
            # timm's normalisation has the activation within.
            setattr(network.get_submodule(parent), own, getattr(module, "act", None) or nn.Identity())
            convolution = None
    return network


def soft_noise(device: torch.device) -> Tensor:
    """(1, 3, 96, 96): what two forms of a network are compared on."""
    noise = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    image = nn.functional.interpolate(noise, scale_factor=6, mode="bilinear").to(device)
    return image.contiguous(memory_format=torch.channels_last)


def close(exact: Tensor, rounded: Tensor, tolerance: float) -> bool:
    """Whether they differ by no more than a share `tolerance` of what `exact` varies, in the root mean square."""
    if not torch.isfinite(rounded).all():
        return False
    spread = exact.std() + 1e-6
    return float((exact - rounded).pow(2).mean().sqrt() / spread) < tolerance
