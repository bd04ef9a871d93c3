"""Tasks taken on by one slice each, with what they ask of the network asked together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from propagation_module.confidence import Evidence, weigh_alone
from propagation_module.grid import InternalGrid
from propagation_module.planning import Task
from propagation_module.trackers import Mark, Tracker
from propagation_module.walks import Given, MemorySettings, Walk
from volumes.key_slices import KeySlices

GIVEN_KEPT = 48  # labels on key slices, ready for the network, some 0.5 MB each; beyond it one costs 10 ms again


class Stepper:
    """Walks the stretches of one volume on one internal grid.

    Args:
        tracker: of a network on `grid`.
        key_slices: what was painted; read when a walk begins.
        memory: which predicted slices join memory.
        ending: whether a structure has ended, where neither key slices nor marks say so.
    """

    def __init__(
        self,
        tracker: Tracker,
        grid: InternalGrid,
        key_slices: KeySlices,
        *,
        memory: MemorySettings,
        ending: Callable[[Evidence], bool],
    ) -> None:
        self.tracker, self.grid = tracker, grid
        self._key_slices, self._memory, self._ending = key_slices, memory, ending
        self._given: OrderedDict[tuple[int, int, bytes], Given] = OrderedDict()

    def advance(self, tasks: Sequence[Task]) -> list[Walk]:
        """Each task by one slice; their walks, which say what they found there."""
        self._begin([task for task in tasks if task.walk is None])
        walks = [task.walk for task in tasks if task.walk is not None]
        looks = [None if walk.ended else walk.look(self.tracker) for walk in walks]
        found = iter(self.tracker.look([look for look in looks if look is not None]))
        marks = [
            walk.take(None if look is None else next(found), self.tracker, self._has_ended)
            for walk, look in zip(walks, looks, strict=True)
        ]
        entries = iter(self.tracker.remember([mark for mark in marks if mark is not None]))
        for walk, mark in zip(walks, marks, strict=True):
            if mark is not None:
                walk.remember(next(entries))
        return walks

    def _has_ended(self, walk: Walk) -> bool:
        return self._ending(weigh_alone(walk))

    def _begin(self, tasks: Sequence[Task]) -> None:
        """Give each task its walk, with what it remembers all the way: the slices where its label is known."""
        begun = [(task, *self._ends(task)) for task in tasks]
        wanting: list[Given] = []
        for _, start, far in begun:
            for given in (start, far):
                if given is not None and given.entry is None and given not in wanting:
                    wanting.append(given)
        marks = [given.mark(self.tracker) for given in wanting]
        entries = self.tracker.remember([*marks, *self._absent((task, start) for task, start, _ in begun)])
        for given, entry in zip(wanting, entries, strict=False):
            given.entry = entry
        gone = iter(entries[len(wanting) :])
        for task, start, far in begun:
            stretch = task.plan.stretch
            assert start.entry is not None
            memory = [start.entry]
            if far is not None and far.entry is not None:
                memory.append(far.entry)
            elif stretch.far is not None:
                memory.append(next(gone))
            task.walk = Walk(stretch, start, far, memory, self.grid, self._memory)

    def _ends(self, task: Task) -> tuple[Given, Given | None]:
        """The label on the key slice that a task starts from, and on the one beyond, if it is there."""
        stretch = task.plan.stretch
        start = self._given_on(stretch.start, stretch.label, task.plan.start)
        if not stretch.between or stretch.far is None:
            return start, None
        return start, self._given_on(stretch.far, stretch.label, task.plan.far)

    def _absent(self, begun: Iterable[tuple[Task, Given]]) -> list[Mark]:
        """What is to be remembered of the slices beyond, where the label is known not to be: an empty mask."""
        return [
            Mark(stretch.far, box, np.zeros((box[1] - box[0], box[3] - box[2]), np.float32))
            for stretch, box in ((task.plan.stretch, start.mark(self.tracker).box) for task, start in begun)
            if stretch.far is not None and not stretch.far_present
        ]

    def _given_on(self, z: int, label: int, digest: bytes) -> Given:
        """A label on a key slice, on the internal grid; the last `GIVEN_KEPT` are kept."""
        key = (z, label, digest)
        if key not in self._given:
            painted = self._key_slices.mask(z)
            others = None
            if self.tracker.sees_others:
                others = self.grid.mask((painted > 0) & (painted != label))
            self._given[key] = Given.of(z, self.grid.mask(painted == label), others, self.grid.pixel)
            while len(self._given) > GIVEN_KEPT:
                self._given.popitem(last=False)
        self._given.move_to_end(key)
        return self._given[key]
