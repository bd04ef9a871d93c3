"""Key features by slice, kept within a budget: each slice is encoded once for all labels, directions and rounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from propagation_module.grid import InternalGrid

CACHE_BYTES = 320 * 2**20  # some 100 slices of 384 x 384 mm; beyond it a slice costs its encoding again
LEAST_KEPT = 32  # slices, whatever they take: more than are looked at together


class FeatureCache:
    """Image and key features of slices; the least recently used go first, to be encoded again when asked for.

    What it returns holds until `LEAST_KEPT` other slices have been asked for.
    """

    def __init__(
        self,
        encode: Callable[[Tensor], Any],
        grid: InternalGrid,
        device: torch.device,
        dtype: torch.dtype,
        *,
        budget: int = CACHE_BYTES,
    ) -> None:
        self.encode, self.grid, self.device, self.dtype, self.budget = encode, grid, device, dtype, budget
        self.encoded = 0  # how often a slice was
        self._kept: OrderedDict[int, tuple[Tensor, Any]] = OrderedDict()
        self._bytes = 0

    def __call__(self, z: int) -> tuple[Tensor, Any]:
        """Image 1 x 3 x H x W and features of slice `z`."""
        if z not in self._kept:
            image = torch.from_numpy(self.grid.image(z))[None].to(self.device, self.dtype)
            image = image.contiguous(memory_format=torch.channels_last)
            features = self.encode(image)
            self.encoded += 1
            size = sum(t.numel() * t.element_size() for t in (image, *features))
            if self._bytes + size > self.budget and len(self._kept) >= LEAST_KEPT:
                # Into the place of the one that goes: freed and allocated anew, places among living ones stay unused,
                # and 300 slices took 850 MB more than 100.
                _, (old_image, old_features) = self._kept.popitem(last=False)
                for old, new in zip((old_image, *old_features), (image, *features), strict=True):
                    old.copy_(new)
                image, features = old_image, old_features
            else:
                self._bytes += size
            self._kept[z] = (image, features)
        self._kept.move_to_end(z)
        return self._kept[z]
