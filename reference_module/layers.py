"""What both networks of the pair need to take slices of any size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pad_to_multiple(images: Tensor, multiple: int, at_least: int = 0) -> Tensor:
    """Images (B, C, H, W) with their right and lower edge repeated until both sides are multiples of `multiple`.

    Repeated, since a border of zeros is an edge that networks see, and a reflection needs more pixels than a
    slice of one pixel has.

    Args:
        images: H, W >= 1.
        multiple: the network's stride.
        at_least: smallest side of the result, itself a multiple.

    Returns:
        (B, C, H', W'); the same tensor where nothing is to be added.
    """
    height, width = images.shape[-2:]
    below = max(-(-height // multiple) * multiple, at_least) - height
    beside = max(-(-width // multiple) * multiple, at_least) - width
    return F.pad(images, (0, beside, 0, below), mode="replicate") if below or beside else images
