"""Weights, inputs and digests of golden tests: the same numbers whatever torch's generators do."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn


def give_seeded_weights(network: nn.Module) -> None:
    """Weights that depend on a tensor's name alone: not on torch's generator or initialisation."""
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = np.random.Generator(np.random.PCG64(crc32(name.encode()))).standard_normal(
            tuple(tensor.shape), dtype=np.float32
        )
        values = torch.from_numpy(noise)
        if tensor.dim() > 1:
            values = values * 1.2 / tensor[0].numel() ** 0.5
        elif name.endswith("running_var"):
            values = 1 + 0.2 * values.abs()
        elif name.endswith(("running_mean", "bias")):
            values = 0.1 * values
        else:
            values = 0.6 + 0.1 * values
        tensor.copy_(values)


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).random(shape, dtype=np.float32))


def digest(tensor: Tensor) -> list[float]:
    """Mean, deviation, and a few elements."""
    flat = tensor.double().flatten()
    some = flat[torch.arange(1, 6) * (len(flat) // 6)]
    return [float(flat.mean()), float(flat.std()), *some.tolist()]
