"""What was found of each label on each slice, how sure that is, and the label map that comes of it.

Between key slices a label is found twice, on the way up and on the way down; what comes first waits for the other.
Both are kept as packed probabilities (`shelf`), from which a slice's label map is put together anew when one of its
labels changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from propagation_module.confidence import Evidence, follows_from, weigh
from propagation_module.fusion import compose, fuse
from propagation_module.grid import InternalGrid, bounds
from propagation_module.passes import Stretch
from propagation_module.shelf import Shelf, rounded
from propagation_module.walks import Walk
from volumes.key_slices import KeySlices


class Findings:
    """What walks found in one volume.

    Args:
        key_slices: what was painted; it is put over what was found.
        calibration: from what is known of a mask to a confidence.

    Attributes:
        labels: (D, H, W) uint8.
        confidence: (D,) float32 of each label that is carried.
        stale: slices to be put together anew.
    """

    def __init__(self, key_slices: KeySlices, calibration: Callable[[Evidence], float]) -> None:
        depth = key_slices.shape_dhw[0]
        self.labels: NDArray[np.uint8] = np.zeros(key_slices.shape_dhw, np.uint8)
        self.confidence: dict[int, NDArray[np.float32]] = {}
        self.stale: set[int] = set()
        self._key_slices, self._calibration = key_slices, calibration
        self._grid: InternalGrid | None = None
        self._final, self._first = Shelf(depth), Shelf(depth)
        self._waiting: dict[tuple[int, int], tuple[float, float | None]] = {}  # beside `_first`

    def move_to(self, grid: InternalGrid) -> None:
        """From now on all is found on `grid`; what was found on another goes."""
        if self._grid is not None:
            self.stale.update(np.flatnonzero(self.labels.any((1, 2))).tolist())
        self._grid = grid
        self._final.clear()
        self._first.clear()
        self._waiting.clear()

    def confine(self, stretches: Iterable[Stretch]) -> None:
        """Drop what was found where none of a label's `stretches` goes any more; its confidence is 1 there."""
        depth, labels = len(self.labels), self._key_slices.labels
        covered = {label: np.zeros(depth, bool) for label in {*labels, *self.confidence}}
        for stretch in stretches:
            low, high = sorted((stretch.start + stretch.direction, stretch.end))
            covered[stretch.label][low : high + 1] = True
        for label, cover in covered.items():
            self.confidence.setdefault(label, np.ones(depth, np.float32))[~cover] = 1.0
            for z in np.flatnonzero(~cover).tolist():
                if self._final.known(label, z):
                    self._final.drop(label, z)
                    self.stale.add(z)
        self.confidence = {label: self.confidence[label] for label in labels}

    def drop_waiting(self, label: int, slices: Iterable[int]) -> None:
        """Drop what waits on `slices` for the other direction: `label` is carried over them anew."""
        for z in slices:
            self._first.drop(label, z)
            self._waiting.pop((label, z), None)

    def take(self, walk: Walk) -> None:
        """What a walk found on the slice that it came to; between key slices it waits for the other direction."""
        stretch, z = walk.stretch, walk.z
        label = stretch.label
        # As `shelf` keeps it, whichever direction came first.
        patch = None if walk.patch is None else rounded(walk.patch)
        follows, presence = follows_from(walk), None if walk.seen is None else walk.seen.presence
        directions = None
        if stretch.between and stretch.far is not None:
            waiting = self._waiting.pop((label, z), None)
            if waiting is None:
                self._first.put(label, z, patch)
                self._waiting[label, z] = (follows, presence)
            else:
                # In the order of the slices, not of the work: sums then round the same whichever came first.
                other = self._first.get(label, z)
                self._first.drop(label, z)
                up, down = (patch, other) if stretch.direction > 0 else (other, patch)
                low, high = sorted((stretch.start, stretch.far))
                patch = fuse(up, down, (z - low) / (high - low))
                directions = None if up is None or down is None else (up, down)
                follows = (follows + waiting[0]) / 2
                presence = None if presence is None or waiting[1] is None else (presence + waiting[1]) / 2
        self._final.put(label, z, patch)
        mask = patch or (walk.seen.patch if walk.seen is not None and not stretch.between else None)
        if mask is not None:
            walk.sure = self._calibration(
                weigh(walk, mask, directions, follows=follows, presence=presence, found=patch is not None)
            )
        elif stretch.between:
            walk.sure = 0.0  # it should be there, and nothing says where
        self.confidence[label][z] = walk.sure  # not looked for any more: as sure as when it last was
        self.stale.add(z)

    def probability(self, label: int, z: int) -> tuple[NDArray[np.float32], tuple[slice, slice]] | None:
        """See `Session.probability`."""
        if z in self._key_slices and label in self._key_slices.speaks_for(z):
            given = self._key_slices.mask(z) == label
            boxes = bounds(given, (0, given.shape[0], 0, given.shape[1]))
            if not boxes:
                return None
            top, bottom, left, right = boxes[0]
            return given[top:bottom, left:right].astype(np.float32), (slice(top, bottom), slice(left, right))
        patch = self._final.get(label, z)
        return None if patch is None or self._grid is None else self._grid.to_native(patch)

    def compose(self, z: int) -> None:
        """One slice's labels, with the key slice as it was given."""
        is_key = z in self._key_slices
        spoken = self._key_slices.speaks_for(z) if is_key else frozenset[int]()
        offers = []
        for label in self._key_slices.labels:
            patch = None if label in spoken else self._final.get(label, z)
            if patch is not None and self._grid is not None:
                offers.append((label, *self._grid.to_native(patch)))
        height, width = self.labels.shape[1:]
        plane = compose((height, width), offers)
        if is_key:
            given = self._key_slices.mask(z)
            plane[given > 0] = given[given > 0]
        self.labels[z] = plane
        self.stale.discard(z)

    def compose_stale(self, slices: Iterable[int]) -> Iterator[int]:
        """Put together those of `slices` that have changed, each when it is asked for."""
        for z in slices:
            if z in self.stale:
                self.compose(int(z))
                yield int(z)
