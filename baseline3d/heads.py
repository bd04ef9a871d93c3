"""From a network's channels to probabilities of classes: one way for both kinds of head."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Head = Literal["softmax", "sigmoid"]
"""`softmax`: a channel for each class, the background among them. `sigmoid`: a channel for each structure."""


def channels_of(head: Head, structures: int) -> int:
    """Channels that a network for so many structures has."""
    return structures + 1 if head == "softmax" else structures


def probabilities(logits: Tensor, head: Head) -> Tensor:
    """Probabilities B x (K+1) x ... of logits B x C x ..., class 0 the background, whose greatest decides.

    Behind a sigmoid the background is the constant 0.5: a voxel is the likeliest structure's if that is likelier than
    not. These do not sum to 1, but what is averaged or interpolated from them decides as they do.
    """
    if head == "softmax":
        return logits.softmax(1)
    found = logits.sigmoid()
    return torch.cat([torch.full_like(found[:, :1], 0.5), found], dim=1)
