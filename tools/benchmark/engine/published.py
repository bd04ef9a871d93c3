"""The published way of running a memory network, to compare the engine with.

Float32, whole slices, every label on every slice, a dense readout over all of memory, both directions encoded anew,
probabilities of a whole range kept. For `STCN` that is `compat`; for `LocalSTCN` it is here, and kind to it: on the
engine's pixels, a fusion by distance, the masks that are handed on refreshed as the engine does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from propagation_module import compat
from propagation_module.fusion import refresh
from propagation_module.grid import Box, InternalGrid, Patch, cut_box
from propagation_module.local_stcn import Features, LocalSTCN, Prior, places
from propagation_module.memory import MemoryBank, affinity, aggregate, top_k_softmax
from propagation_module.priors import shape_between, signed_distance
from propagation_module.stcn import STCN
from propagation_module.trackers import Look, Mark, Seen, STCNTracker
from volumes.key_slices import KeySlices
from volumes.volume import Volume

SCORES_AT_ONCE = 2**25  # of memory and query tokens: 128 MiB


def dense_readout(scores: Tensor, values: Tensor, top_k: int | None) -> Tensor:
    """Values (N x C) times a matrix (N x Q) that is zero but for `top_k` tokens a query: C x Q."""
    weights, tokens = top_k_softmax(scores, top_k)  # 1 x k x Q
    dense = torch.zeros_like(scores).scatter_(1, tokens, weights)[0]
    return values.T @ dense


class DenseBank(MemoryBank):
    """The memory as published: all of it is multiplied, also what the top-k left at zero."""

    def read(self, query: Tensor) -> Tensor:
        keys = self._keys.filled(self._filled).unsqueeze(0)  # 1 x CK x N
        scores = affinity(keys, query.flatten(1).unsqueeze(0), scale=self.scale)
        found = dense_readout(scores, self._values.filled(self._filled), self.top_k)
        return found.reshape(self._labels, -1, *query.shape[-2:])


@contextmanager
def dense_memory() -> Iterator[None]:
    """Within the block, `compat` reads densely."""
    with mock.patch.object(compat, "MemoryBank", DenseBank):
        yield


class PublishedTracker:
    """A tracker with the published arithmetic: whole slices, encoded for each label anew, a dense readout.

    Put in place of the engine's own (`session.make_tracker`), it shows what the engine's savings change.
    """

    sees_others = True

    def __init__(self, network: STCN, grid: InternalGrid, device: torch.device, *, top_k: int, **_: Any) -> None:
        self.network, self.grid, self.top_k = network, grid, top_k
        self._whole = (0, grid.shape[0], 0, grid.shape[1])
        self._boxes = STCNTracker(network, grid, device, top_k)
        self.features = self._boxes.features  # not used: each label encodes its slice anew

    def box(self, bounds: Sequence[Box]) -> Box | None:
        return self._boxes.box(bounds)

    def look(self, looks: Sequence[Look]) -> list[Seen]:
        return [self._look(look) for look in looks]

    def remember(self, marks: Sequence[Mark]) -> list[Any]:
        return [self._remember(mark) for mark in marks]

    def _look(self, look: Look) -> Seen:
        features = self.network.encode_key(self._frame(look.z))
        memory: Any = look.memory
        keys, values = (torch.cat(part, -1) for part in zip(*memory, strict=True))  # 1 x CK x N, CV x N
        scores = affinity(keys, features.key.flatten(2))
        found = dense_readout(scores, values.T, self.top_k).unflatten(1, features.key.shape[-2:])
        logits = self.network.decode(found[None, None], features.thin, features.f8, features.f4)
        plane = torch.sigmoid(logits)[0, 0].numpy()
        return Seen(Patch(cut_box(plane, self._whole, look.box, 0.0), look.box), None)

    def _remember(self, mark: Mark) -> tuple[Tensor, Tensor]:
        frame = self._frame(mark.z)
        features = self.network.encode_key(frame)
        others = None if mark.others is None else self._plane(mark.others, mark.box)
        value = self.network.encode_value(frame, features.f16, self._plane(mark.mask, mark.box), others)
        return features.key.flatten(2), value[0].flatten(1)

    def _frame(self, z: int) -> Tensor:
        return torch.from_numpy(self.grid.image(z))[None]

    def _plane(self, mask: NDArray[np.float32], box: Box) -> Tensor:
        return torch.from_numpy(np.array(cut_box(mask, box, self._whole, 0.0)))[None, None]


class _Entry(NamedTuple):
    key: Tensor  # 1 x CK x N
    value: Tensor  # 1 x (K CV) x N
    place: Tensor  # 1 x 3 x N


class _Given(NamedTuple):
    masks: NDArray[np.float32]  # K x H x W
    distances: NDArray[np.float32]  # K x H x W, mm
    there: NDArray[np.bool_]  # K, which labels are on the slice


@torch.inference_mode()
def propagate_local(
    network: LocalSTCN, volume: Volume, key_slices: KeySlices, *, pixel: float, memory_every: int = 5
) -> NDArray[np.uint8]:
    """Label a volume from complete key slices with `LocalSTCN` run the published way.

    Args:
        network: float32, in eval mode, on the CPU.
        pixel: mm.
        memory_every: every n-th predicted slice stays in memory, besides the start and the last one.

    Returns:
        uint8 D x H x W.
    """
    return _Local(network, volume, key_slices, pixel, memory_every).run()


class _Local:
    def __init__(
        self, network: LocalSTCN, volume: Volume, key_slices: KeySlices, pixel: float, memory_every: int
    ) -> None:
        self.network, self.volume, self.key_slices, self.every = network, volume, key_slices, memory_every
        everywhere = (0, volume.shape[1], 0, volume.shape[2])
        self.grid = InternalGrid(volume, everywhere, pixel=pixel, multiple=16)
        self.whole = (0, self.grid.shape[0], 0, self.grid.shape[1])
        self.values = np.array((0, *key_slices.labels), np.uint8)
        self.result = np.zeros(volume.shape, np.uint8)

    def run(self) -> NDArray[np.uint8]:
        slices, depth = self.key_slices.slices(), self.volume.shape[0]
        for z, found in self._pass(slices[0], -1, None):
            self._write(z, found)
        for lower, upper in zip(slices, slices[1:], strict=False):
            upward = dict(self._pass(lower, upper, upper))
            for z, downward in self._pass(upper, lower, lower):
                share = self._share(lower, upper, (z - lower) / (upper - lower))
                self._write(z, (1 - share) * upward.pop(z) + share * downward)
        for z, found in self._pass(slices[-1], depth, None):
            self._write(z, found)
        for z in slices:
            self.result[z] = self.key_slices.mask(z)
        return self.result

    def _share(self, lower: int, upper: int, position: float) -> Tensor:
        """K x 1 x 1, what the way down counts; a label that is on one key slice only goes by that one."""
        low, up = self._given(lower).there, self._given(upper).there
        share = np.where(low == up, position, np.where(up, 1.0, 0.0)).astype(np.float32)
        return torch.from_numpy(share)[:, None, None]

    def _pass(self, start: int, end: int, far: int | None) -> Iterator[tuple[int, Tensor]]:
        """Each slice after `start` and before `end` with its probabilities, K x H x W.

        Args:
            far: the key slice at the other end, if there is one.
        """
        step = 1 if end > start else -1
        if start + step == end:
            return
        near, other = self._given(start), None if far is None else self._given(far)
        image, features = self._encode(start)
        previous = torch.from_numpy(near.masks)[:, None]  # K x 1 x H x W
        kept = [self._entry(start, image, features, previous)]
        last: list[_Entry] = []
        for z in range(start + step, end, step):
            image, features = self._encode(z)
            found = self._read(z, features, [*kept, *last])
            between = 0.0 if far is None else 1.0
            away = abs(z - start) if far is None else min(abs(z - start), abs(far - z))
            distances = torch.tensor([[self.grid.dz, away * self.grid.dz, between]])
            fraction = 0.0 if far is None else abs(z - start) / abs(far - start)
            prior = Prior(previous, self._shape(near, other, fraction), distances.expand(len(found), -1))
            logits = self.network.decode(*self._for_each(image, features, len(found)), found, prior).logits
            probabilities = aggregate(torch.sigmoid(logits[:, 0]), dim=0)[1:]  # K x H x W
            yield z, probabilities
            previous = torch.from_numpy(np.stack([refresh(plane) for plane in probabilities.numpy()]))[:, None]
            if z + step != end:
                entry = self._entry(z, image, features, previous)
                if z % self.every:
                    last = [entry]
                else:
                    kept, last = [*kept, entry], []

    def _given(self, z: int) -> _Given:
        painted = self.key_slices.mask(z)
        masks = np.stack([self.grid.mask(painted == label) for label in self.values[1:]])
        distances = np.stack([signed_distance(mask > 0, self.grid.pixel) for mask in masks])
        return _Given(masks, distances, np.array([mask.any() for mask in masks]))

    def _shape(self, near: _Given, far: _Given | None, fraction: float) -> Tensor:
        """K x 1 x H x W, mm."""
        if far is None:
            return torch.from_numpy(near.distances)[:, None]
        planes = [
            shape_between(there, None, 1 - fraction)
            if not near.there[k]
            else shape_between(here, there if far.there[k] else None, fraction)
            for k, (here, there) in enumerate(zip(near.distances, far.distances, strict=True))
        ]
        return torch.from_numpy(np.stack(planes))[:, None]

    def _encode(self, z: int) -> tuple[Tensor, Features]:
        image = torch.from_numpy(self.grid.image(z))[None]
        return image, self.network.encode_key(image)

    def _entry(self, z: int, image: Tensor, features: Features, masks: Tensor) -> _Entry:
        value = self.network.encode_value(*self._for_each(image, features, len(masks)), masks)  # K x CV x h x w
        return _Entry(features.key.flatten(2), value.flatten(0, 1).flatten(1)[None], self._places(z).flatten(2))

    def _for_each(self, image: Tensor, features: Features, labels: int) -> tuple[Tensor, Features]:
        return image.expand(labels, -1, -1, -1), Features(*(part.expand(labels, -1, -1, -1) for part in features))

    def _read(self, z: int, features: Features, memory: Sequence[_Entry]) -> Tensor:
        """K x CV x h x w: one affinity serves all labels."""
        keys, values, where = (torch.cat(part, 2) for part in zip(*memory, strict=True))
        place, width = self._places(z), features.key.shape[-1]
        rows = max(1, SCORES_AT_ONCE // (keys.shape[2] * width))
        parts = [
            self.network.read(query, at, keys, values, where)
            for query, at in zip(features.key.split(rows, 2), place.split(rows, 2), strict=True)
        ]
        return torch.cat(parts, 2)[0].unflatten(0, (len(self.values) - 1, -1))

    def _places(self, z: int) -> Tensor:
        height, width = self.grid.shape
        return places(height, width, torch.tensor([self.grid.pixel]), torch.tensor([z * self.grid.dz]))

    def _write(self, z: int, probabilities: Tensor) -> None:
        native = torch.zeros(len(probabilities), *self.volume.shape[1:])
        for plane, probability in zip(native, probabilities, strict=True):
            back, window = self.grid.to_native(Patch(probability.numpy(), self.whole))
            plane[window] = torch.from_numpy(back)
        self.result[z] = self.values[aggregate(native, dim=0).argmax(0).numpy()]
