"""The true masks in place of what a network says, for the engine and for the published way alike.

What a run costs depends on what it finds. An untrained network finds nothing, so here it does all its work, and the
truth is then handed on. What the benchmark itself spends on that is counted apart, to be taken off.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from propagation_module import session
from propagation_module.compat import pad_to_stride
from propagation_module.grid import Box, InternalGrid, Patch, bounds, cut_box
from propagation_module.memory import MemoryBank
from propagation_module.stcn import STCN, KeyFeatures
from propagation_module.trackers import Entry, Look, Mark, Seen, Tracker
from volumes.volume import Volume
from volumes.windows import windowed


class Aside:
    """Time that the benchmark takes for itself within what it measures.

    Attributes:
        wall, cpu: seconds so far.
    """

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what happens in the block."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu


class TruthFedTracker:
    """A tracker that asks the network and answers with the truth.

    Args:
        tracker: the real one.
        truth: (D, H, W) labels on the file's pixels.
        given: the key slices; each of a label's looks remembers one of them, which says what label it is.
    """

    def __init__(
        self, tracker: Tracker, grid: InternalGrid, truth: NDArray[np.uint8], given: Collection[int], aside: Aside
    ) -> None:
        self.sees_others, self.features = tracker.sees_others, tracker.features
        self._tracker, self._grid, self._truth, self._given, self._aside = tracker, grid, truth, given, aside
        self._labels: dict[int, tuple[Entry, int]] = {}  # of entries that the session keeps anyway
        self._masks: dict[tuple[int, int], Patch] = {}

    def box(self, bounds: Sequence[Box]) -> Box | None:
        return self._tracker.box(bounds)

    def look(self, looks: Sequence[Look]) -> list[Seen]:
        found = self._tracker.look(looks)
        with self._aside.counted():
            return [self._truly(look, seen) for look, seen in zip(looks, found, strict=True)]

    def remember(self, marks: Sequence[Mark]) -> list[Entry]:
        entries = self._tracker.remember(marks)
        with self._aside.counted():
            for mark, entry in zip(marks, entries, strict=True):
                label = self._shown(mark) if mark.z in self._given else None
                if label is not None:
                    self._labels[id(entry)] = entry, label
        return entries

    def _truly(self, look: Look, seen: Seen) -> Seen:
        mask = self._mask(look.z, self._label_of(look)).cut(seen.patch.box)
        there = None if seen.presence is None else float(mask.any())
        return seen._replace(patch=replace(seen.patch, probability=mask), presence=there)

    def _label_of(self, look: Look) -> int:
        return next(self._labels[id(entry)][1] for entry in look.memory if id(entry) in self._labels)

    def _shown(self, mark: Mark) -> int | None:
        """The label that `mark` is, if it is one's mask to the pixel."""
        for label in np.unique(self._truth[mark.z])[1:].tolist():
            mask = self._mask(mark.z, label).cut(mark.box)
            if mask.any() and np.array_equal(mask > 0.5, mark.mask > 0.5):
                return label
        return None

    def _mask(self, z: int, label: int) -> Patch:
        if (z, label) not in self._masks:
            mask = self._grid.mask(self._truth[z] == label)
            whole = (0, mask.shape[0], 0, mask.shape[1])
            box = (bounds(mask > 0, whole) or [(0, 1, 0, 1)])[0]
            self._masks[z, label] = Patch(cut_box(mask, whole, box, 0.0).copy(), box)
        return self._masks[z, label]


@contextmanager
def truth_fed(truth: NDArray[np.uint8], given: Collection[int]) -> Iterator[Aside]:
    """Within the block, sessions get the truth for what the network says, on a volume with key slices `given`."""
    aside, make = Aside(), session.make_tracker

    def make_fed(network: Any, grid: InternalGrid, *args: Any, **kwargs: Any) -> TruthFedTracker:
        return TruthFedTracker(make(network, grid, *args, **kwargs), grid, truth, given, aside)

    with mock.patch.object(session, "make_tracker", make_fed):
        yield aside


class TruthFedNetwork:
    """An `STCN` for `compat` that does its work and answers with the truth.

    Slices are known by their pixels, so it does not matter in which order they come.

    Args:
        labels: those of the key slices, in their order.
    """

    def __init__(self, network: STCN, volume: Volume, truth: NDArray[np.uint8], labels: Sequence[int]) -> None:
        self.aside = Aside()
        self._network, self._truth = network, truth
        self._values = torch.tensor(labels, dtype=torch.uint8)
        frames = (torch.from_numpy(windowed(volume.array[z : z + 1])) for z in range(len(truth)))
        self._slices = {_look_of(pad_to_stride(frame)[0]): z for z, frame in enumerate(frames)}
        assert len(self._slices) == len(truth), "two slices look alike"
        self._z = -1

    def parameters(self) -> Iterator[Tensor]:
        return self._network.parameters()

    def encode_key(self, frames: Tensor) -> KeyFeatures:
        with self.aside.counted():
            self._z = self._slices[_look_of(frames)]
        return self._network.encode_key(frames)

    def encode_values(self, frame: Tensor, f16: Tensor, masks: Tensor) -> Tensor:
        return self._network.encode_values(frame, f16, masks)

    def segment_with_memory(self, memory: MemoryBank, features: KeyFeatures) -> Tensor:
        """K x 1 x H' x W', the truth."""
        self._network.segment_with_memory(memory, features)
        with self.aside.counted():
            masks = torch.from_numpy(self._truth[self._z]) == self._values[:, None, None]
            return pad_to_stride(masks.float())[0].unsqueeze(1)


def _look_of(frame: Tensor) -> bytes:
    return frame[..., ::5, ::5].contiguous().numpy().tobytes()
