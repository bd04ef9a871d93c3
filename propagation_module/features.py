"""Key features by slice, kept within a budget: each slice is encoded once for all labels, directions and rounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from propagation_module.grid import InternalGrid

# 80 slices of 384 x 384 mm; beyond it a slice costs its encoding again (16 ms). It must be full within the first 100
# slices, or memory would grow with the volume from there on.
CACHE_BYTES = 128 * 2**20
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
        # All places at once, each tensor's in one block; pages that are never written take no memory. One by one they
        # would lie between what a network allocates and frees, and that space would then be lost to larger layers: 300
        # slices took 850 MB more than 100.
        self._places: list[Tensor] = []
        self._free: list[int] = []
        self._kept: OrderedDict[int, tuple[int, tuple[Tensor, Any]]] = OrderedDict()

    def __call__(self, z: int) -> tuple[Tensor, Any]:
        """Image 1 x 3 x H x W and features of slice `z`."""
        if z not in self._kept:
            image = torch.from_numpy(self.grid.image(z))[None].to(self.device, self.dtype)
            image = image.contiguous(memory_format=torch.channels_last)
            features = self.encode(image)
            self.encoded += 1
            self._keep(z, image, features)
        self._kept.move_to_end(z)
        return self._kept[z][1]

    def _keep(self, z: int, image: Tensor, features: Any) -> None:
        tensors = (image, *features)
        if not self._places:
            slots = max(LEAST_KEPT, self.budget // sum(t.numel() * t.element_size() for t in tensors))
            slots = min(slots, self.grid.volume.shape[0])
            self._places = [_places_for(t, slots) for t in tensors]
            self._free = list(range(slots))
        place = self._free.pop() if self._free else self._kept.popitem(last=False)[1][0]
        for places, tensor in zip(self._places, tensors, strict=True):
            places[place] = tensor[0]
        image, *rest = (places[place : place + 1] for places in self._places)
        self._kept[z] = (place, (image, type(features)(*rest)))


def _places_for(tensor: Tensor, slots: int) -> Tensor:
    channels_last = tensor.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(
        (slots, *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device, memory_format=layout
    )
