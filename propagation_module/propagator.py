"""From key slices to every slice: the propagator.

Each label is carried by itself, so what one label gets does not depend on which others there are, nor on the order
in which they were given. One sweep goes up through the volume and one down; between key slices both are fused.
Key slices are memory, never output: what was given on them is put back as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from propagation_module.fusion import Winners, expected_dice, fuse, refresh
from propagation_module.grid import InternalGrid, Patch
from propagation_module.passes import Stretch, stretches
from propagation_module.priors import shape_between, signed_distance
from propagation_module.trackers import Entry, Expectation, Tracker, make_tracker
from volumes.errors import InputError
from volumes.key_slices import Extents, KeySlices
from volumes.volume import Volume

Progress = Callable[[int, int], None]
ENDED_AFTER_MM = 9.0  # a structure not seen for so long has ended: more than a gap that one slice's noise makes


@dataclass(frozen=True)
class Propagation:
    """What `Propagator.propagate` gives back.

    Args:
        labels: (D, H, W) uint8, canonical order.
        confidence: for each label, (D,) float32 in [0, 1]: the Dice to expect on a slice; 1 where it was given.
    """

    labels: NDArray[np.uint8]
    confidence: dict[int, NDArray[np.float32]]


class Propagator:
    """Carries key slices through a volume with a network.

    Args:
        network: `LocalSTCN` or `STCN`, see `checkpoints.load_network`.
        device: where it runs.
        pixel: internal pixel spacing in mm; None for the file's own.
        top_k: memory tokens a query draws from (`STCN` alone).
        memory_every: predicted slices that join memory, besides the last one: every n-th; 0 for none.
        memory_slices: at most so many of them, the newest.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        device: str | torch.device = "cpu",
        pixel: float | None = 1.5,
        top_k: int = 20,
        memory_every: int = 0,
        memory_slices: int = 4,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.pixel, self.top_k = pixel, top_k
        self.memory_every, self.memory_slices = memory_every, memory_slices

    @torch.inference_mode()
    def propagate(
        self,
        volume: Volume,
        key_slices: KeySlices,
        *,
        extents: Extents | None = None,
        progress: Progress | None = None,
    ) -> Propagation:
        """Label every slice of `volume`.

        Args:
            extents: first and last slice of labels for which they are known, both inside.
            progress: called with slices done and slices in all (two sweeps: twice the depth).

        Raises:
            InputError: no label on any key slice, or a key slice beyond its label's extent.
        """
        depth = volume.shape[0]
        extents = extents or {}
        _check(volume, key_slices, extents)
        grid = InternalGrid(volume, key_slices, pixel=self.pixel, multiple=16)
        tracker = make_tracker(self.network, grid, self.device, top_k=self.top_k)
        run = _Run(tracker, grid, key_slices, volume.shape, self.memory_every, self.memory_slices)
        plan = [s for label in key_slices.labels for s in stretches(key_slices, extents, label, depth)]
        for direction in (1, -1):
            waiting = sorted((s for s in plan if s.direction == direction), key=lambda s: (s.start, s.label))
            for step in range(depth):
                z = step if direction > 0 else depth - 1 - step
                run.slice(z, [s for s in waiting if z in s])
                if progress is not None:
                    progress(step + 1 + (0 if direction > 0 else depth), 2 * depth)
        return run.result()


def _check(volume: Volume, key_slices: KeySlices, extents: Extents) -> None:
    if not key_slices.labels:
        raise InputError(
            volume.name, found="no label on any key slice", expected="at least one", fix="paint a key slice first"
        )
    for label, (low, high) in extents.items():
        for z in key_slices.slices_with(label):
            if not low <= z <= high:
                raise InputError(
                    volume.name,
                    found=f"label {label} on key slice {z}",
                    expected=f"label {label} between its marks {low} and {high}",
                    fix="move the mark or take the label off that slice",
                )


class _Walk:
    """One stretch under way."""

    def __init__(self, run: _Run, stretch: Stretch) -> None:
        self.run, self.stretch = run, stretch
        self.z = stretch.start
        self.previous = run.key_mask(stretch.start, stretch.label)
        self.near = run.key_shape(stretch.start, stretch.label)
        self.far = run.key_shape(stretch.far, stretch.label) if stretch.between else None
        self.memory = [run.key_entry(stretch.start, stretch.label)]
        if stretch.far is not None and stretch.far_present:
            self.memory.append(run.key_entry(stretch.far, stretch.label))
        elif stretch.far is not None:
            self.memory.append(run.absent_entry(stretch.far, stretch.start, stretch.label))
        self.kept: list[Entry] = []
        self.last: Entry | None = None
        self.unseen = 0.0  # mm since the structure was last seen

    def step(self, z: int) -> Patch | None:
        """The label on slice `z`, the next one of the stretch; None where it is not."""
        stretch, grid = self.stretch, self.run.grid
        if self.unseen > ENDED_AFTER_MM and not stretch.certain:
            return None
        shape, distances = self._prior(z)
        memory = [*self.memory, *self.kept, *([self.last] if self.last is not None else [])]
        patch = self.run.tracker.look(z, memory, Expectation(self.previous, shape, distances))
        if patch is None:
            self.unseen += abs(z - self.z) * grid.dz
            return None
        plane = refresh(patch.paste(grid.shape))  # what goes on; what comes out stays as the network said it
        seen = bool((patch.probability > 0.5).any())
        self.unseen = 0.0 if seen else self.unseen + abs(z - self.z) * grid.dz
        box = self.run.tracker.box(plane > 0.1, shape > 0) or patch.box
        self.last = self.run.tracker.remember(z, plane, None, box)
        if self.run.memory_every and z % self.run.memory_every == 0 and self.run.memory_slices:
            self.kept = [*self.kept, self.last][-self.run.memory_slices :]
        self.previous, self.z = plane, z
        return patch

    def _prior(self, z: int) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
        stretch, dz = self.stretch, self.run.grid.dz
        to_key = abs(z - stretch.start)
        step = abs(z - self.z) * dz
        if stretch.far is None:
            return self.near, (step, to_key * dz, 0.0)
        shape = shape_between(self.near, self.far, to_key / abs(stretch.far - stretch.start))
        return shape, (step, min(to_key, abs(stretch.far - z)) * dz, 1.0)


class _Run:
    """The state of one call of `propagate`."""

    def __init__(
        self,
        tracker: Tracker,
        grid: InternalGrid,
        key_slices: KeySlices,
        shape: tuple[int, int, int],
        memory_every: int,
        memory_slices: int,
    ) -> None:
        self.tracker, self.grid, self.key_slices = tracker, grid, key_slices
        self.memory_every, self.memory_slices = memory_every, memory_slices
        self._winners = Winners(shape)
        self._confidence = {label: np.zeros(shape[0], np.float32) for label in key_slices.labels}
        self._walks: dict[Stretch, _Walk] = {}
        self._upward: dict[tuple[int, int], tuple[NDArray[np.uint8], Patch | None]] = {}
        self._entries: dict[tuple[int, int], Entry] = {}

    def slice(self, z: int, active: list[Stretch]) -> None:
        """Carry every stretch that covers slice `z` on to it."""
        for stretch in active:
            walk = self._walks.get(stretch)
            if walk is None:
                walk = self._walks[stretch] = _Walk(self, stretch)
            patch = walk.step(z)
            if z == stretch.end:
                del self._walks[stretch]
            self._take(z, stretch, patch)

    def _take(self, z: int, stretch: Stretch, patch: Patch | None) -> None:
        if not stretch.between:
            self._offer(z, stretch.label, patch)
            return
        assert stretch.far is not None
        if stretch.direction > 0:  # wait for the other direction, a byte a pixel
            self._upward[stretch.label, z] = _pack(patch)
            return
        other = _unpack(*self._upward.pop((stretch.label, z)))
        if patch is not None and other is not None:
            position = (z - stretch.far) / (stretch.start - stretch.far)
            patch = fuse(other, patch, self.grid.shape, position)
        self._offer(z, stretch.label, patch if patch is not None else other)

    def _offer(self, z: int, label: int, patch: Patch | None) -> None:
        if patch is None:
            self._confidence[label][z] = max(self._confidence[label][z], 1.0)
            return
        self._confidence[label][z] = expected_dice(patch.probability)
        probability, window = self.grid.to_native(patch)
        self._winners.offer(z, window, probability, label)

    def result(self) -> Propagation:
        """The label map with the key slices as they were given."""
        labels = self._winners.labels
        for z in self.key_slices.slices():
            given, spoken = self.key_slices.mask(z), self.key_slices.speaks_for(z)
            plane = labels[z]
            plane[np.isin(plane, list(spoken))] = 0
            plane[given > 0] = given[given > 0]
            for label in spoken:
                if label in self._confidence:
                    self._confidence[label][z] = 1.0
        return Propagation(labels, self._confidence)

    def key_mask(self, z: int, label: int) -> NDArray[np.float32]:
        """A key slice's mask on the internal grid."""
        return self.grid.mask(self.key_slices.mask(z) == label)

    def key_shape(self, z: int | None, label: int) -> NDArray[np.float32]:
        assert z is not None
        return signed_distance(self.key_mask(z, label) > 0, self.grid.pixel)

    def key_entry(self, z: int, label: int) -> Entry:
        """A key slice in memory: encoded once for both directions."""
        if (z, label) not in self._entries:
            given = self.key_slices.mask(z)
            mask = self.grid.mask(given == label)
            others = self.grid.mask((given > 0) & (given != label))
            box = self.tracker.box(mask > 0)
            assert box is not None
            self._entries[z, label] = self.tracker.remember(z, mask, others, box)
        return self._entries[z, label]

    def absent_entry(self, z: int, near: int, label: int) -> Entry:
        """A slice in memory on which the label is known to be absent, about where it was on key slice `near`."""
        box = self.tracker.box(self.key_mask(near, label) > 0)
        assert box is not None
        return self.tracker.remember(z, np.zeros(self.grid.shape, np.float32), None, box)


def _pack(patch: Patch | None) -> tuple[NDArray[np.uint8], Patch | None]:
    if patch is None:
        return np.empty(0, np.uint8), None
    return np.rint(patch.probability * 255).astype(np.uint8), Patch(np.empty((0, 0), np.float32), patch.box)


def _unpack(packed: NDArray[np.uint8], frame: Patch | None) -> Patch | None:
    if frame is None:
        return None
    return Patch(packed.astype(np.float32) / np.float32(255), frame.box)
