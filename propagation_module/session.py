"""A volume under annotation: key slices come and change, and only what a change touches is computed again.

Each label is carried by itself between its own neighbouring key slices. So a stretch between two of them depends on
nothing but those two, the image and the label's marks; it is computed once for each such state, whatever the order in
which the states came about. What was computed is kept as packed probabilities (`shelf`), from which a slice's label
map is put together anew when one of its labels changes.

A session belongs to one thread at a time.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from propagation_module.confidence import Evidence, follows_from, weigh, weigh_alone
from propagation_module.fusion import compose, fuse
from propagation_module.grid import InternalGrid, body_box, bounds, union, wider
from propagation_module.passes import Stretch, stretches
from propagation_module.shelf import Shelf, rounded
from propagation_module.suggestion import Suggestion, areas_of, suggest
from propagation_module.trackers import Mark, Tracker, make_tracker
from propagation_module.walks import Given, MemorySettings, Walk
from volumes.errors import InputError
from volumes.key_slices import Extents, KeySlices
from volumes.volume import Volume

GIVEN_KEPT = 256  # labels on key slices, ready for the network: at most some 70 MB


class SliceUpdate(NamedTuple):
    """A slice whose labels have changed, as `Session.propagate` yields it.

    Args:
        z: the slice; its labels are in `Session.labels`.
        settled: nothing more will change there.
        done: steps done so far, of one label by one slice in one direction.
        total: all of them.
    """

    z: int
    settled: bool
    done: int
    total: int


class _Plan(NamedTuple):
    """A stretch together with all that decides its outcome."""

    stretch: Stretch
    start: bytes  # digest of the label on `start`
    far: bytes  # and on `far`, empty where it is not there


class _Task:
    """A plan and how far it has come."""

    def __init__(self, plan: _Plan) -> None:
        self.plan = plan
        self.walk: Walk | None = None  # begun when its turn comes

    @property
    def next(self) -> int:
        stretch = self.plan.stretch
        return stretch.start + stretch.direction if self.walk is None else self.walk.next

    @property
    def done(self) -> bool:
        return self.walk is not None and self.walk.done

    def slices(self) -> range:
        """Those that it has still to come to."""
        stretch = self.plan.stretch
        return range(self.next, stretch.end + stretch.direction, stretch.direction)


class Session:
    """One volume with its key slices and marks, and what has been propagated from them.

    Made by `Propagator.open`. `labels` and `confidence` are there at any time and follow `propagate`.

    Args:
        network: prepared for inference, on `device`.
        pixel, top_k, memory, calibration, ending: as in `Propagator`.
    """

    def __init__(
        self,
        volume: Volume,
        network: nn.Module,
        device: torch.device,
        *,
        pixel: float | None,
        top_k: int,
        memory: MemorySettings,
        calibration: Callable[[Evidence], float],
        ending: Callable[[Evidence], bool],
    ) -> None:
        self.volume = volume
        self.key_slices = KeySlices(volume.shape, where=volume.name)
        self.extents: Extents = {}
        self.labels: NDArray[np.uint8] = np.zeros(volume.shape, np.uint8)
        self.confidence: dict[int, NDArray[np.float32]] = {}
        self._network, self._device, self._pixel, self._top_k, self._memory = network, device, pixel, top_k, memory
        self._everywhere = (0, volume.shape[1], 0, volume.shape[2])
        self._calibration, self._ending = calibration, ending
        self._body = body_box(volume)
        self._grid: InternalGrid | None = None
        self._tracker: Tracker | None = None
        self._final, self._first = Shelf(volume.shape[0]), Shelf(volume.shape[0])
        self._waiting: dict[tuple[int, int], tuple[float, float | None]] = {}  # beside `_first`
        self._digests: dict[tuple[int, int], bytes] = {}
        self._given: OrderedDict[tuple[int, int, bytes], Given] = OrderedDict()
        self._done: set[_Plan] = set()
        self._tasks: dict[_Plan, _Task] = {}  # begun or not, but not done
        self._round = 0  # counts changes and calls of `propagate`: only the newest call goes on
        self._changed: set[int] = set()  # key slices and marks that changed since `propagate` last finished
        self._stale: set[int] = set()  # slices to be put together anew

    # What a person says.

    def annotate(self, z: int, mask: NDArray, labels: Iterable[int] | None = None, *, complete: bool = False) -> None:
        """Paint slice `z`, or correct it.

        Args:
            mask: (H, W) whole numbers; what it paints wins over what was painted there before.
            labels: what the mask speaks for: each is there or, if it does not occur, absent. None: the labels in it.
                What the slice says of other labels stays as it is.
            complete: the slice speaks for all labels, also for those that come later.

        Raises:
            InputError: no such slice, another shape, or a label outside its marks. Nothing has changed then.
        """
        self._change(z, mask, labels, complete)

    def mark_absent(self, z: int, labels: Iterable[int]) -> None:
        """Say that `labels` are not on slice `z`; what was painted of them there goes."""
        self._change(z, np.zeros(self.volume.shape[1:], np.uint8), labels, False)

    def forget(self, z: int, labels: Iterable[int] | None = None) -> None:
        """Take back what slice `z` says of `labels`, or all of it; it is a slice like any other then."""
        if z not in self.key_slices:
            return
        spoken = self.key_slices.named(z)
        left = frozenset[int]() if labels is None else spoken - frozenset(labels)
        mask = np.where(np.isin(self.key_slices.mask(z), list(left)), self.key_slices.mask(z), 0)
        self.key_slices.remove(z)
        if left:
            self.key_slices.add(z, mask, left, complete=False)
        self._touch(z)

    def set_extent(self, label: int, extent: tuple[int, int] | None) -> None:
        """Mark the first and last slice of `label`, both inside; None takes the marks away.

        Raises:
            InputError: the label was painted beyond them, or they are not in the volume. Nothing has changed then.
        """
        if extent is None:
            gone = self.extents.pop(label, None)
            self._note(*gone or ())
            return
        low, high = (int(mark) for mark in extent)
        depth = self.volume.shape[0]
        if not 0 <= low <= high < depth:
            raise InputError(
                self.volume.name,
                found=f"marks {low} and {high} of label {label}",
                expected=f"0 <= first <= last <= {depth - 1}",
                fix="correct the marks; slices count from 0, inferior first",
            )
        _check_marks(self.volume.name, label, self.key_slices.slices_with(label), (low, high))
        self.extents[label] = (low, high)
        self._note(low, high)

    # What comes of it.

    @property
    def slices_encoded(self) -> int:
        """How many slices the key encoder has seen; one that stays in the cache is seen once."""
        return 0 if self._tracker is None else self._tracker.features.encoded

    def propagate(self, *, live: bool = True) -> Iterator[SliceUpdate]:
        """Compute what has changed since, slice by slice.

        To stop, stop iterating: all that was computed stays, and a later call goes on from there. A change ends a
        propagation that is under way; call it again. Results are the same for the same key slices and marks, however
        they came about.

        Args:
            live: slices nearest to the last change first, each yielded whenever it changes. Otherwise in sweeps
                through the volume, which batches more labels, each slice yielded once, when it is settled.

        Raises:
            InputError: no label on any key slice.
        """
        if not self.key_slices.labels:
            raise InputError(
                self.volume.name, found="no label on any key slice", expected="at least one", fix="paint one first"
            )
        self._round += 1
        mine, tasks = self._round, self._plan()
        pending = np.zeros(self.volume.shape[0], np.int64)  # steps that are still to come, by slice
        for task in tasks:
            pending[task.slices()] += 1
        done, total = 0, int(pending.sum())
        for z in self._fresh(sorted(self._stale) if live else np.flatnonzero(pending == 0).tolist()):
            yield SliceUpdate(z, bool(pending[z] == 0), done, total)
        nearest = self._distances()

        def turn(task: _Task) -> tuple[int, int]:
            return (int(nearest[task.next]), 0) if live else _sweep(task)

        queue = [(turn(task), number, task) for number, task in enumerate(tasks)]
        heapq.heapify(queue)
        del tasks  # what is done shall not be kept: a walk holds some megabyte of memory entries
        while queue and mine == self._round:
            tick = [heapq.heappop(queue)]
            while queue and queue[0][0] == tick[0][0]:
                tick.append(heapq.heappop(queue))
            with torch.inference_mode():
                moved = self._advance([task for _, _, task in tick])
            np.subtract.at(pending, moved, 1)
            done += len(moved)
            for _, number, task in tick:
                if not task.done:
                    heapq.heappush(queue, (turn(task), number, task))
            del tick, task
            for z in self._fresh(sorted({z for z in moved if live or pending[z] == 0})):
                yield SliceUpdate(z, bool(pending[z] == 0), done, total)
        if mine == self._round:
            self._changed.clear()

    def suggest(self, names: Mapping[int, str] | None = None) -> Suggestion | None:
        """The slice whose annotation should help most, after `propagate` or from the marks alone; see `suggestion`.

        Args:
            names: of labels, for the reason.

        Returns:
            None if there is nothing to gain.
        """
        areas, spacing = areas_of(self.labels), self.volume.spacing[0]
        return suggest(areas, self.confidence, self.key_slices, self.extents, spacing=spacing, names=names)

    # How it is done.

    def _change(self, z: int, mask: NDArray, labels: Iterable[int] | None, complete: bool) -> None:
        trial = KeySlices(self.volume.shape, where=self.key_slices.where)
        trial.add(z, mask, labels, complete)  # refuses what is not a mask
        for label in trial.labels:
            if label in self.extents:
                _check_marks(self.volume.name, label, [z], self.extents[label])
        given, named = trial.mask(z), trial.named(z)
        if z in self.key_slices:
            before = self.key_slices.mask(z)
            given = np.where((given == 0) & ~np.isin(before, list(named)), before, given)
            named = named | self.key_slices.named(z)
            complete = complete or self.key_slices.is_complete(z)
        self.key_slices.add(z, given, named, complete)
        self._touch(z)

    def _touch(self, z: int) -> None:
        for key in [key for key in self._digests if key[0] == z]:
            del self._digests[key]
        self._note(z)
        self._compose(z)

    def _note(self, *slices: int) -> None:
        self._changed.update(slices)
        self._round += 1

    def _plan(self) -> list[_Task]:
        """What is left to do, after what no longer holds has been dropped."""
        self._fit_grid()
        depth, labels = self.volume.shape[0], self.key_slices.labels
        plans: list[_Plan] = []
        covered = {label: np.zeros(depth, bool) for label in {*labels, *self.confidence}}
        for label in labels:
            for stretch in stretches(self.key_slices, self.extents, label, depth):
                far = self._digest(stretch.far, label) if stretch.between and stretch.far is not None else b""
                plans.append(_Plan(stretch, self._digest(stretch.start, label), far))
                low, high = sorted((stretch.start + stretch.direction, stretch.end))
                covered[label][low : high + 1] = True
        for label, cover in covered.items():
            self.confidence.setdefault(label, np.ones(depth, np.float32))[~cover] = 1.0
            for z in np.flatnonzero(~cover).tolist():
                if self._final.known(label, z):
                    self._final.drop(label, z)
                    self._stale.add(z)
        self.confidence = {label: self.confidence[label] for label in labels}
        self._done &= set(plans)
        before, self._tasks = self._tasks, {}
        for plan in plans:
            if plan in self._done:
                continue
            task = before.get(plan)
            if task is None:
                task = _Task(plan)
                for z in task.slices():
                    self._first.drop(plan.stretch.label, z)
                    self._waiting.pop((plan.stretch.label, z), None)
            self._tasks[plan] = task
        return list(self._tasks.values())

    def _fit_grid(self) -> None:
        """The grid shows the body and all that was painted; one that no longer fits takes everything with it."""
        painted = [
            box for z in self.key_slices.slices() for box in bounds(self.key_slices.mask(z) > 0, self._everywhere)
        ]
        native = union([self._body, *(wider(box, self.volume) for box in painted)])
        if self._grid is not None and self._grid.native == native:
            return
        if self._grid is not None:
            self._stale.update(np.flatnonzero(self.labels.any((1, 2))).tolist())
        self._grid = InternalGrid(self.volume, native, pixel=self._pixel, multiple=16)
        self._tracker = make_tracker(self._network, self._grid, self._device, top_k=self._top_k)
        self._final.clear()
        self._first.clear()
        self._waiting.clear()
        self._given.clear()
        self._done.clear()
        self._tasks.clear()

    def _advance(self, tasks: list[_Task]) -> list[int]:
        """Each task by one slice; the slices that they came to."""
        assert self._tracker is not None
        walks = self._walks_of(tasks)
        looks = [None if walk.ended else walk.look(self._tracker) for walk in walks]
        found = iter(self._tracker.look([look for look in looks if look is not None]))
        marks = [
            walk.take(None if look is None else next(found), self._tracker, self._has_ended)
            for walk, look in zip(walks, looks, strict=True)
        ]
        entries = iter(self._tracker.remember([mark for mark in marks if mark is not None]))
        for task, walk, mark in zip(tasks, walks, marks, strict=True):
            if mark is not None:
                walk.remember(next(entries))
            self._take(walk)
            if walk.done:
                self._done.add(task.plan)
                del self._tasks[task.plan]
        return [walk.z for walk in walks]

    def _has_ended(self, walk: Walk) -> bool:
        return self._ending(weigh_alone(walk))

    def _walks_of(self, tasks: list[_Task]) -> list[Walk]:
        """The tasks' walks, begun where they were not."""
        assert self._tracker is not None and self._grid is not None
        begun: list[tuple[_Task, Given, Given | None]] = []
        marks: list[Mark] = []
        wanting: list[Given] = []
        for task in tasks:
            if task.walk is not None:
                continue
            stretch = task.plan.stretch
            start = self._given_on(stretch.start, stretch.label, task.plan.start)
            far = None
            if stretch.between and stretch.far is not None:
                far = self._given_on(stretch.far, stretch.label, task.plan.far)
            begun.append((task, start, far))
            for given in (start, far):
                if given is not None and given.entry is None and given not in wanting:
                    wanting.append(given)
                    marks.append(given.mark(self._tracker))
        absent = [
            Mark(stretch.far, box, np.zeros((box[1] - box[0], box[3] - box[2]), np.float32))
            for stretch, box in ((task.plan.stretch, start.mark(self._tracker).box) for task, start, _ in begun)
            if stretch.far is not None and not stretch.far_present
        ]
        entries = self._tracker.remember([*marks, *absent])
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
            task.walk = Walk(stretch, start, far, memory, self._grid, self._memory)
        return [task.walk for task in tasks if task.walk is not None]

    def _take(self, walk: Walk) -> None:
        """What a walk found on the slice that it came to; between key slices it waits for the other direction."""
        stretch, z = walk.stretch, walk.z
        label = stretch.label
        patch = (
            None if walk.patch is None else rounded(walk.patch)
        )  # as `shelf` keeps it, whichever direction came first
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
        self._stale.add(z)

    def _given_on(self, z: int, label: int, digest: bytes) -> Given:
        """A label on a key slice, on the internal grid; the last `GIVEN_KEPT` are kept."""
        assert self._grid is not None and self._tracker is not None
        key = (z, label, digest)
        if key not in self._given:
            painted = self.key_slices.mask(z)
            others = None
            if self._tracker.sees_others:
                others = self._grid.mask((painted > 0) & (painted != label))
            self._given[key] = Given.of(z, self._grid.mask(painted == label), others, self._grid.pixel)
            while len(self._given) > GIVEN_KEPT:
                self._given.popitem(last=False)
        self._given.move_to_end(key)
        return self._given[key]

    def _digest(self, z: int, label: int) -> bytes:
        """Of all that a key slice says of a label that its stretches depend on."""
        if (z, label) not in self._digests:
            assert self._tracker is not None
            painted = self.key_slices.mask(z)
            hashed = hashlib.blake2b(np.packbits(painted == label).tobytes(), digest_size=16)
            if self._tracker.sees_others:
                hashed.update(np.packbits(painted > 0).tobytes())
            self._digests[z, label] = hashed.digest()
        return self._digests[z, label]

    def _fresh(self, slices: Iterable[int]) -> Iterator[int]:
        """Put together those of `slices` that have changed."""
        for z in slices:
            if z in self._stale:
                self._compose(int(z))
                yield int(z)

    def _compose(self, z: int) -> None:
        """One slice's labels, with the key slice as it was given."""
        is_key = z in self.key_slices
        spoken = self.key_slices.speaks_for(z) if is_key else frozenset[int]()
        offers = []
        for label in self.key_slices.labels:
            patch = None if label in spoken else self._final.get(label, z)
            if patch is not None and self._grid is not None:
                offers.append((label, *self._grid.to_native(patch)))
        plane = compose(self.volume.shape[1:], offers)
        if is_key:
            given = self.key_slices.mask(z)
            plane[given > 0] = given[given > 0]
        self.labels[z] = plane
        self._stale.discard(z)

    def _distances(self) -> NDArray[np.int64]:
        """Slices from each slice to the nearest change."""
        z = np.arange(self.volume.shape[0])
        at = np.array(sorted(self._changed) or self.key_slices.slices())
        return np.abs(z[:, None] - at).min(1)


def _sweep(task: _Task) -> tuple[int, int]:
    """Upward through the volume, then downward."""
    direction = task.plan.stretch.direction
    return (-direction, task.next * direction)


def _check_marks(where: str, label: int, slices: Iterable[int], extent: tuple[int, int]) -> None:
    low, high = extent
    for z in slices:
        if not low <= z <= high:
            raise InputError(
                where,
                found=f"label {label} on key slice {z}",
                expected=f"label {label} between its marks {low} and {high}",
                fix="move the mark or take the label off that slice",
            )
