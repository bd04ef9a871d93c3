"""One label on its way from a key slice: what it expects of the next slice, and what it remembers of the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from propagation_module.fusion import expected_dice, refresh
from propagation_module.grid import Box, InternalGrid, Patch, bounds, cut_box, union
from propagation_module.passes import Stretch
from propagation_module.priors import LIMIT_MM, shape_between, signed_distance
from propagation_module.trackers import Entry, Look, Mark, Seen, Tracker

SURE = 0.8  # expected Dice from which a predicted slice may stay in memory
ENDED_AFTER_MM = 9.0  # a structure not seen for so long has ended: more than a gap that one slice's noise makes


@dataclass(frozen=True)
class MemorySettings:
    """Which predicted slices join memory, besides the last one.

    Args:
        every: every n-th, if it is sure; 0 for none.
        slices: at most so many of them, the newest.
    """

    every: int = 0
    slices: int = 4


@dataclass(eq=False)
class Given:
    """A label on a key slice: its signed distance in mm where it is above -`LIMIT_MM`, and its memory entry."""

    z: int
    distance: NDArray[np.float32]
    box: Box
    others: NDArray[np.float32] | None
    entry: Entry | None = field(default=None)

    @classmethod
    def of(cls, z: int, mask: NDArray[np.float32], others: NDArray[np.float32] | None, pixel: float) -> Given:
        """From a mask on the internal grid (H, W)."""
        whole = (0, mask.shape[0], 0, mask.shape[1])
        distance = signed_distance(mask > 0, pixel)
        near = bounds(distance > -LIMIT_MM, whole)
        box = near[0] if near else (0, 1, 0, 1)
        return cls(z, cut_box(distance, whole, box, -LIMIT_MM).copy(), box, others)

    def bounds(self) -> list[Box]:
        """The box of the mask, if it is not empty."""
        return bounds(self.distance > 0, self.box)

    def shape(self, box: Box) -> NDArray[np.float32]:
        return cut_box(self.distance, self.box, box, -LIMIT_MM)

    def mark(self, tracker: Tracker) -> Mark:
        """What is to be remembered of it."""
        box = tracker.box(self.bounds())
        assert box is not None, "the grid keeps at least a pixel of what was painted"
        others = None if self.others is None else cut_box(self.others, _whole(self.others), box, 0.0)
        return Mark(self.z, box, (self.shape(box) > 0).astype(np.float32), others)


class Walk:
    """One stretch under way.

    Args:
        start: the key slice it comes from.
        far: the label on the slice beyond, if that is a key slice which has it.
        memory: entries that stay.
    """

    def __init__(
        self,
        stretch: Stretch,
        start: Given,
        far: Given | None,
        memory: list[Entry],
        grid: InternalGrid,
        settings: MemorySettings,
    ) -> None:
        self.stretch, self.start, self.far, self.memory, self.grid = stretch, start, far, memory, grid
        self.settings = settings
        self.z = self.at = stretch.start  # where it has come to, and the slice that `previous` is of
        self.previous = Patch((start.distance > 0).astype(np.float32), start.box)
        self.before = self.previous  # what `previous` was one slice earlier
        self.kept: list[Entry] = []
        self.last: Entry | None = None
        self.unseen = 0.0  # mm since the structure was last seen
        self.seen: Seen | None = None  # on the slice that it has come to
        self.patch: Patch | None = None  # what comes of that
        self.sure = 1.0  # confidence in that

    @property
    def next(self) -> int:
        """The slice that it comes to next."""
        return self.z + self.stretch.direction

    @property
    def done(self) -> bool:
        return self.z == self.stretch.end

    @property
    def ended(self) -> bool:
        """Whether the structure has been gone for so long that it is not looked for any more."""
        return self.unseen > ENDED_AFTER_MM and not self.stretch.certain

    def look(self, tracker: Tracker) -> Look | None:
        """What to ask of the next slice; None where there is nothing to go by."""
        shape, where, distances = self._prior()
        box = tracker.box([*self.previous.bounds(0.1), *bounds(shape > 0, where)])
        if box is None:
            return None
        memory = [*self.memory, *self.kept, *([self.last] if self.last is not None else [])]
        return Look(self.next, box, memory, self.previous.cut(box), self.shape(box), distances)

    def take(self, seen: Seen | None, tracker: Tracker, ended: Callable[[Walk], bool]) -> Mark | None:
        """What was seen on the next slice has come; what is to be remembered of it before the one after it.

        Args:
            ended: whether that looks as if the structure had ended, where nobody has said whether it has.
        """
        self.z, self.before, self.seen, self.patch = self.next, self.previous, seen, None
        if seen is None or (not self.stretch.certain and ended(self)):
            # The mask before stays what is looked for: a structure may start again after a gap.
            self.unseen += self.grid.dz
            return None
        patch = self.patch = seen.patch
        # What goes on is refreshed; what comes out stays as the network said it.
        self.previous, self.at = Patch(refresh(patch.probability), patch.box), self.z
        self.unseen = 0.0 if (patch.probability > 0.5).any() else self.unseen + self.grid.dz
        if self.done:
            return None
        shape, where = self._shape(self.z)
        box = tracker.box([*self.previous.bounds(0.1), *bounds(shape > 0, where)]) or patch.box
        return Mark(self.z, box, self.previous.cut(box))

    def remember(self, entry: Entry) -> None:
        """The slice just labelled joins memory: until the next one comes or, if it is sure and its turn, for longer.

        The last one joins however unsure: without it where expected Dice was below .6, head-neck from one key slice
        fell from .779 to .762.
        """
        self.last = entry
        if self.patch is None or expected_dice(self.patch.probability) < SURE:
            return
        if self.settings.every and self.z % self.settings.every == 0 and self.settings.slices:
            self.kept = [*self.kept, entry][-self.settings.slices :]

    def to_key(self) -> float:
        """Millimetres from the slice that it has come to, to the nearest key slice."""
        ends = [self.stretch.start] if self.far is None else [self.stretch.start, self.far.z]
        return min(abs(self.z - z) for z in ends) * self.grid.dz

    def shape(self, box: Box, z: int | None = None) -> NDArray[np.float32]:
        """Signed distance in mm, in `box`, that the key slices suggest for slice `z`, or the next."""
        stretch = self.stretch
        near = self.start.shape(box)
        if stretch.far is None:
            return near
        z = self.next if z is None else z
        if self.far is None:
            return shape_between(near, None, abs(z - stretch.start) / abs(stretch.far - stretch.start))
        # From below, whichever way it goes: both directions then round alike.
        far = self.far.shape(box)
        low, high = sorted((stretch.start, stretch.far))
        ends = (near, far) if stretch.direction > 0 else (far, near)
        return shape_between(*ends, (z - low) / (high - low))

    def _shape(self, z: int) -> tuple[NDArray[np.float32], Box]:
        where = self.start.box if self.far is None else union([self.start.box, self.far.box])
        return self.shape(where, z), where

    def _prior(self) -> tuple[NDArray[np.float32], Box, tuple[float, float, float]]:
        stretch, dz = self.stretch, self.grid.dz
        shape, where = self._shape(self.next)
        step, to_key = abs(self.next - self.at), abs(self.next - stretch.start)
        if stretch.far is None:
            return shape, where, (step * dz, to_key * dz, 0.0)
        return shape, where, (step * dz, min(to_key, abs(stretch.far - self.next)) * dz, 1.0)


def _whole(plane: NDArray) -> Box:
    return (0, plane.shape[0], 0, plane.shape[1])
