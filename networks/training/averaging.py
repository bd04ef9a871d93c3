"""A running mean of a network's weights over the last steps of its training: less noise, better masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(network: nn.Module, decay: float) -> AveragedModel | None:
    """A copy of `network` that `update_parameters` moves towards it; None for a decay of 0.

    Args:
        decay: what the mean keeps of itself at each step: 0.995 is a mean of about the last 200. It begins lower, so
            that the random weights of the start are forgotten early.
    """
    if not decay:
        return None
    model = AveragedModel(network, multi_avg_fn=_Mean(decay), use_buffers=True)
    model.requires_grad_(False)  # else several GPUs wait for gradients that never come
    return model


class _Mean:
    """Exponential moving average whose decay rises to its value."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    @torch.no_grad()
    def __call__(self, mean: Sequence[Tensor], network: Sequence[Tensor], steps: Tensor | int) -> None:
        done = float(steps)
        share = 1 - min(self.decay, (1 + done) / (10 + done))
        for one, other in zip(mean, network, strict=True):
            if one.is_floating_point():
                one.lerp_(other.to(one.dtype), share)
            else:
                one.copy_(other)  # batch norm's counters
