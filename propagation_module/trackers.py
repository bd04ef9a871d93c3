"""One network on one volume: slices in, memory entries and probabilities out.

A tracker hides what networks differ in: where a label is looked for, and what memory a slice leaves behind.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from propagation_module.grid import Box, InternalGrid, Patch
from propagation_module.local_stcn import Features, LocalSTCN, Prior, places
from propagation_module.memory import affinity, readout, top_k_softmax
from propagation_module.stcn import STCN, KeyFeatures

MARGIN_PIXELS = 28  # around a structure; a training crop of 96 pixels shows about as much
LEAST_PIXELS = 80
CACHE_BYTES = 512 * 2**20  # key features kept, so that both directions share them


@dataclass(frozen=True)
class Entry:
    """A slice in memory, for one label: its tokens."""

    key: Tensor  # 1 x CK x N
    value: Tensor  # 1 x CV x N
    place: Tensor  # 1 x 3 x N, mm


@dataclass(frozen=True)
class Expectation:
    """What is known of a label on a slice before the network looks (internal grid, whole planes)."""

    previous: NDArray[np.float32]  # probability on the slice before
    shape: NDArray[np.float32]  # signed distance, mm
    distances: tuple[float, float, float]  # as in `local_stcn.Prior`


class Tracker(Protocol):
    """What the propagator asks of a network."""

    def remember(self, z: int, mask: NDArray[np.float32], others: NDArray[np.float32] | None, box: Box) -> Entry:
        """Slice `z` with a label's `mask` (whole plane) as memory, from what lies in `box`."""

    def look(self, z: int, memory: list[Entry], expectation: Expectation) -> Patch | None:
        """The label's probabilities on slice `z`; None where there is no place to look."""

    def box(self, *maps: NDArray[np.bool_]) -> Box | None:
        """Where a label that covers `maps` is looked for."""


class _Cache:
    """Key features by slice; the least recently used go first."""

    def __init__(self, network: Any, grid: InternalGrid, device: torch.device) -> None:
        self.network, self.grid, self.device = network, grid, device
        self._kept: OrderedDict[int, tuple[Tensor, Any, int]] = OrderedDict()
        self._bytes = 0

    def __call__(self, z: int) -> tuple[Tensor, Any]:
        """Image 1 x 3 x H x W and features of slice `z`."""
        if z not in self._kept:
            image = torch.from_numpy(self.grid.image(z))[None].to(self.device)
            features = self.network.encode_key(image.contiguous(memory_format=torch.channels_last))
            size = sum(t.numel() * t.element_size() for t in (image, *features))
            self._kept[z] = (image, features, size)
            self._bytes += size
            while self._bytes > CACHE_BYTES and len(self._kept) > 1:
                _, (_, _, freed) = self._kept.popitem(last=False)
                self._bytes -= freed
        self._kept.move_to_end(z)
        image, features, _ = self._kept[z]
        return image, features


class LocalTracker:
    """`LocalSTCN`, in a box about the structure."""

    def __init__(self, network: LocalSTCN, grid: InternalGrid, device: torch.device) -> None:
        self.network, self.grid, self.device = network, grid, device
        self._slices = _Cache(network, grid, device)

    def box(self, *maps: NDArray[np.bool_]) -> Box | None:
        return self.grid.box_about(*maps, margin=MARGIN_PIXELS, least=LEAST_PIXELS)

    def remember(self, z: int, mask: NDArray[np.float32], others: NDArray[np.float32] | None, box: Box) -> Entry:
        image, features = self._cut(z, box)
        own = self._plane(mask, box)
        rest = torch.zeros_like(own) if others is None else self._plane(others, box)
        value = self.network.encode_value(image, features, own, rest)
        return Entry(features.key.flatten(2), value.flatten(2), self._places(z, box).flatten(2))

    def look(self, z: int, memory: list[Entry], expectation: Expectation) -> Patch | None:
        box = self.box(expectation.previous > 0.1, expectation.shape > 0)
        if box is None:
            return None
        image, features = self._cut(z, box)
        found = self.network.read(
            features.key,
            self._places(z, box),
            torch.cat([entry.key for entry in memory], 2),
            torch.cat([entry.value for entry in memory], 2),
            torch.cat([entry.place for entry in memory], 2),
        )
        prior = Prior(
            self._plane(expectation.previous, box),
            self._plane(expectation.shape, box),
            torch.tensor([expectation.distances], device=self.device),
        )
        logits = self.network.decode(image, features, found, prior)
        return Patch(torch.sigmoid(logits)[0, 0].float().cpu().numpy(), box)

    def _cut(self, z: int, box: Box) -> tuple[Tensor, Features]:
        image, features = self._slices(z)
        top, bottom, left, right = box
        return image[..., top:bottom, left:right], features.crop(box)

    def _plane(self, plane: NDArray[np.float32], box: Box) -> Tensor:
        top, bottom, left, right = box
        return torch.from_numpy(np.ascontiguousarray(plane[top:bottom, left:right]))[None, None].to(self.device)

    def _places(self, z: int, box: Box) -> Tensor:
        top, bottom, left, right = box
        pixel = torch.tensor([self.grid.pixel], device=self.device)
        place = places(bottom - top, right - left, pixel, torch.tensor([z * self.grid.dz], device=self.device))
        corner = torch.tensor([0.0, top, left], device=self.device) * self.grid.pixel
        return place + corner[None, :, None, None]


class STCNTracker:
    """`STCN` on whole slices, as published."""

    def __init__(self, network: STCN, grid: InternalGrid, device: torch.device, top_k: int) -> None:
        self.network, self.grid, self.device, self.top_k = network, grid, device, top_k
        self._slices = _Cache(network, grid, device)

    def box(self, *maps: NDArray[np.bool_]) -> Box | None:
        return (0, self.grid.shape[0], 0, self.grid.shape[1])

    def remember(self, z: int, mask: NDArray[np.float32], others: NDArray[np.float32] | None, box: Box) -> Entry:
        image, features = self._slices(z)
        own = torch.from_numpy(mask)[None, None].to(self.device)
        rest = None if others is None else torch.from_numpy(others)[None, None].to(self.device)
        value = self.network.encode_value(image, features.f16, own, rest)
        return Entry(features.key.flatten(2), value.flatten(2), features.key.new_zeros(1, 3, 0))

    def look(self, z: int, memory: list[Entry], expectation: Expectation) -> Patch | None:
        _, features = self._slices(z)
        assert isinstance(features, KeyFeatures)
        scores = affinity(torch.cat([entry.key for entry in memory], 2), features.key.flatten(2))
        values = torch.cat([entry.value for entry in memory], 2).transpose(1, 2).contiguous()
        found = readout(*top_k_softmax(scores, self.top_k), values).unflatten(2, features.key.shape[-2:])
        logits = self.network.decode(found[:, None], features.thin, features.f8, features.f4)
        probability = torch.sigmoid(logits)[0, 0].float().cpu().numpy()
        return Patch(probability, (0, self.grid.shape[0], 0, self.grid.shape[1]))


def make_tracker(network: nn.Module, grid: InternalGrid, device: torch.device, *, top_k: int) -> Tracker:
    """The tracker of a network's kind."""
    if isinstance(network, LocalSTCN):
        return LocalTracker(network, grid, device)
    if isinstance(network, STCN):
        return STCNTracker(network, grid, device, top_k)
    raise TypeError(f"no tracker for {type(network).__name__}")
