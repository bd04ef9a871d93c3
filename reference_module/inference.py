"""A pair made ready to be used, not trained.

Unlike the propagation networks, which are half in bfloat16 for good, the pair computes under autocast: a transformer
and weight-standardised convolutions mix layers that bear eight bits with sums that do not, and torch knows which.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from networks.inference import check_precision, close, computes_bfloat16, folded, soft_noise

_SAME = 1e-3  # of a logit's range: folding only rounds
_TOLERANCE = 0.05  # the same for bfloat16, as of the propagation networks


class ReadyPair:
    """A pair on `device`, for inference alone; the pair that was given stays as it was.

    Args:
        pair: takes images (B, 3, H, W) and positions (B,), gives both members' logits (B, C, H, W).
        precision: `float32`, `bfloat16`, or `auto`: bfloat16 where the processor computes in it and a trial on
            this pair agrees with float32.

    Raises:
        InputError: another precision.
    """

    def __init__(self, pair: nn.Module, device: torch.device, precision: str = "auto") -> None:
        check_precision(precision)
        self.device, self.bfloat16 = device, False
        plain = copy.deepcopy(pair).eval().requires_grad_(False)
        self._pair = _folded(plain).to(device).to(memory_format=torch.channels_last)
        if precision != "float32" and (precision == "bfloat16" or computes_bfloat16(device)):
            self.bfloat16 = precision == "bfloat16" or self._bears_it()

    def probabilities(self, images: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Each member's softmax, float32 (B, C, H, W), of images (B, 3, H, W) and positions (B,)."""
        first, second = self._logits(images, position)
        return first.softmax(1), second.softmax(1)

    def _logits(self, images: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            first, second = self._pair(images, position.to(self.device))
        return first.float(), second.float()

    def _bears_it(self) -> bool:
        image, position = soft_noise(self.device), torch.full((1,), 0.5)
        exact = self._logits(image, position)
        self.bfloat16 = True
        return all(close(a, b, _TOLERANCE) for a, b in zip(exact, self._logits(image, position), strict=True))


def _folded(pair: nn.Module) -> nn.Module:
    """With its batch normalisation folded, if what that gives is the same.

    Folding goes by the order of the modules; an encoder from elsewhere may run them in another.
    """
    try:
        ready = folded(copy.deepcopy(pair))
        with torch.inference_mode():
            image, position = soft_noise(torch.device("cpu")), torch.full((1,), 0.5)
            answers = [one.cpu()(image, position) for one in (pair, ready)]
    except (TypeError, RuntimeError):
        return pair
    return ready if all(close(a, b, _SAME) for a, b in zip(*answers, strict=True)) else pair
