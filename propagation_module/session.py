"""A volume under annotation: key slices come and change, and only what a change touches is computed again.

Each label is carried by itself between its own neighbouring key slices. So a stretch between two of them depends on
nothing but those two, the image and the label's marks; it is computed once for each such state, whatever the order in
which the states came about.

A session knows what was said (`annotations`), which stretches that leaves to be walked (`planning`), walks them slice
by slice (`stepper`) and keeps what comes of it (`findings`).

A session belongs to one thread at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from networks.allocator import give_back_freed_memory
from propagation_module.annotations import Annotations
from propagation_module.confidence import Evidence
from propagation_module.findings import Findings
from propagation_module.grid import InternalGrid, body_box, bounds, union, wider
from propagation_module.planning import Agenda, Task, plans_for
from propagation_module.stepper import Stepper
from propagation_module.suggestion import Suggestion, areas_of, suggest
from propagation_module.trackers import make_tracker
from propagation_module.walks import MemorySettings
from volumes.errors import InputError
from volumes.key_slices import KeySlices
from volumes.volume import Volume

TRIM_EVERY = 40  # ticks, some 5 s of work, between which freed memory stays where it is


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
        self._said = Annotations(volume.shape, volume.name)
        self.key_slices, self.extents = self._said.key_slices, self._said.extents
        self._found = Findings(self.key_slices, calibration)
        self._agenda = Agenda()
        self._network, self._device, self._pixel, self._top_k = network, device, pixel, top_k
        self._memory, self._ending = memory, ending
        self._everywhere = (0, volume.shape[1], 0, volume.shape[2])
        self._body = body_box(volume)
        self._stepper: Stepper | None = None  # made with the grid, when first something is to be computed
        self._round = 0  # counts changes and calls of `propagate`: only the newest call goes on

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
        self._said.annotate(z, mask, labels, complete=complete)
        self._show(z)

    def annotate_all(self, key_slices: KeySlices) -> None:
        """Say all that `key_slices` say, slice by slice as `annotate` does."""
        for z in key_slices.slices():
            self.annotate(z, key_slices.mask(z), key_slices.named(z), complete=key_slices.is_complete(z))

    def mark_absent(self, z: int, labels: Iterable[int]) -> None:
        """Say that `labels` are not on slice `z`; what was painted of them there goes."""
        self._said.mark_absent(z, labels)
        self._show(z)

    def forget(self, z: int, labels: Iterable[int] | None = None) -> None:
        """Take back what slice `z` says of `labels`, or all of it; it is a slice like any other then."""
        if z in self.key_slices:
            self._said.forget(z, labels)
            self._show(z)

    def set_extent(self, label: int, extent: tuple[int, int] | None) -> None:
        """Mark the first and last slice of `label`, both inside; None takes the marks away.

        Raises:
            InputError: the label was painted beyond them, or they are not in the volume. Nothing has changed then.
        """
        self._said.set_extent(label, extent)
        self._round += 1

    # What comes of it.

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(D, H, W) label map."""
        return self._found.labels

    @property
    def confidence(self) -> dict[int, NDArray[np.float32]]:
        """For each label, (D,) in [0, 1]: the Dice to expect on a slice; 1 where it was given."""
        return self._found.confidence

    def probability(self, label: int, z: int) -> tuple[NDArray[np.float32], tuple[slice, slice]] | None:
        """How likely each pixel of slice `z` is of `label`: in a rectangle (h, w), and which one of the slice.

        Outside the rectangle it is 0. Where a key slice speaks for the label it is 0 or 1, as given; elsewhere what
        was propagated last, to within 1/510.

        Returns:
            None where the label is not, or nothing is known of it.
        """
        return self._found.probability(label, z)

    @property
    def slices_encoded(self) -> int:
        """How many slices the key encoder has seen; one that stays in the cache is seen once."""
        return 0 if self._stepper is None else self._stepper.tracker.features.encoded

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
        ticks, done, total = 0, 0, int(pending.sum())
        waiting = sorted(self._found.stale) if live else np.flatnonzero(pending == 0).tolist()
        for z in self._found.compose_stale(waiting):
            yield SliceUpdate(z, bool(pending[z] == 0), done, total)
        nearest = self._said.distances()

        def turn(task: Task) -> tuple[int, int]:
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
            ticks += 1
            if ticks % TRIM_EVERY == 0:
                give_back_freed_memory()
            for z in self._found.compose_stale(sorted({z for z in moved if live or pending[z] == 0})):
                yield SliceUpdate(z, bool(pending[z] == 0), done, total)
        if mine == self._round:
            self._said.changed.clear()

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

    def _show(self, z: int) -> None:
        """What was said of slice `z` is seen at once, and ends a propagation that is under way."""
        self._round += 1
        self._found.compose(z)

    def _plan(self) -> list[Task]:
        """What is left to do, after what no longer holds has been dropped."""
        stepper = self._fit_grid()
        plans = plans_for(self._said, with_others=stepper.tracker.sees_others)
        self._found.confine(plan.stretch for plan in plans)
        for task in self._agenda.renew(plans):
            self._found.drop_waiting(task.plan.stretch.label, task.slices())
        return self._agenda.tasks()

    def _fit_grid(self) -> Stepper:
        """The grid shows the body and all that was painted; one that no longer fits takes everything with it."""
        painted = [
            box for z in self.key_slices.slices() for box in bounds(self.key_slices.mask(z) > 0, self._everywhere)
        ]
        native = union([self._body, *(wider(box, self.volume) for box in painted)])
        if self._stepper is not None and self._stepper.grid.native == native:
            return self._stepper
        grid = InternalGrid(self.volume, native, pixel=self._pixel, multiple=16)
        tracker = make_tracker(self._network, grid, self._device, top_k=self._top_k)
        self._stepper = Stepper(tracker, grid, self.key_slices, memory=self._memory, ending=self._ending)
        self._found.move_to(grid)
        self._agenda.clear()
        return self._stepper

    def _advance(self, tasks: list[Task]) -> list[int]:
        """Each task by one slice; the slices that they came to."""
        assert self._stepper is not None
        walks = self._stepper.advance(tasks)
        for task, walk in zip(tasks, walks, strict=True):
            self._found.take(walk)
            if walk.done:
                self._agenda.finish(task)
        return [walk.z for walk in walks]


def _sweep(task: Task) -> tuple[int, int]:
    """Upward through the volume, then downward."""
    direction = task.plan.stretch.direction
    return (-direction, task.next * direction)
