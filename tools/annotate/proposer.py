"""A propagation session that follows the document, and what is proposed of each slice.

The session is brought to each state by what differs alone, so only what a change touches is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tools.annotate.engine_updates import Failed, Finished, Proposed
from tools.annotate.loading import loading

if TYPE_CHECKING:
    from propagation_module.propagator import Propagator
    from propagation_module.session import Session
    from tools.annotate.given import GivenSlice
    from volumes.key_slices import Extents
    from volumes.volume import Volume


@dataclass(frozen=True, eq=False)
class State:
    """What holds when a run is started; see `Engine.start`."""

    run: int
    revision: int
    given: dict[int, GivenSlice]
    extents: Extents
    names: dict[int, str]


class Proposer:
    """Propagates one state after the other; belongs to one thread.

    Args:
        volume: the case's CT.
        make_propagator: called when it is first needed.
        tell: takes each slice's proposals.
    """

    def __init__(
        self, volume: Volume, make_propagator: Callable[[], Propagator], tell: Callable[[Proposed], None]
    ) -> None:
        self._volume, self._make_propagator, self._tell = volume, make_propagator, tell
        self._propagator: Propagator | None = None
        self._session: Session | None = None
        self._untold: set[int] = set()  # slices that the server may have wrong
        self._proposed: set[int] = set()  # slices that it was told proposals of
        self._carried: set[int] = set()  # labels that were propagated at some time

    def load(self) -> Propagator:
        """Have the network ready."""
        if self._propagator is None:
            with loading():
                self._propagator = self._make_propagator()
        return self._propagator

    def forget(self) -> None:
        """Begin anew with the next state: the session may be half-changed."""
        self._session = None

    def tell_all(self) -> None:
        """Have the next run tell of every slice: the server has lost proposals."""
        self._untold = set(range(self._volume.shape[0]))

    def propagate(self, state: State, check: Callable[[int], None]) -> Finished | Failed:
        """Carry a state out, slice by slice.

        Args:
            check: called with the run's number after each slice; raises to end it there. What was computed stays.

        Raises:
            InputError: a label outside its marks.
        """
        if not any(one.mask.any() for one in state.given.values()):
            return self._take_back(state)
        session = self._opened()
        check(state.run)
        changed = bring_to(session, state.given, state.extents)
        self._untold |= changed
        for z in sorted(changed):
            self._propose(state, session, z, settled=False, done=0, total=0)
        done = total = 0
        for update in session.propagate():
            done, total = update.done, update.total
            self._propose(state, session, update.z, settled=update.settled, done=done, total=total)
            check(state.run)
        for z in sorted(self._untold):
            self._propose(state, session, z, settled=True, done=done, total=total)
        confidence = {label: values.copy() for label, values in session.confidence.items()}
        return Finished(state.run, state.revision, confidence, session.suggest(state.names))

    def _opened(self) -> Session:
        propagator = self.load()
        if self._session is None:
            self._session = propagator.open(self._volume)
            self.tell_all()
        return self._session

    def _take_back(self, state: State) -> Failed:
        """No label is painted: what was proposed no longer holds, and the next run begins anew."""
        self._session = None
        gone = dict.fromkeys(sorted(self._carried), 0.0)
        for z in sorted(self._proposed):
            empty = np.zeros(self._volume.shape[1:], np.uint8)
            self._tell(Proposed(state.run, state.revision, z, empty, gone, True, 0, 0))
        self._proposed.clear()
        return Failed(state.run, "nothing to propagate yet: paint a label on a slice first")

    def _propose(self, state: State, session: Session, z: int, *, settled: bool, done: int, total: int) -> None:
        keys, mask = session.key_slices, session.labels[z].copy()
        spoken = keys.speaks_for(z) if z in keys else frozenset[int]()
        if spoken:
            mask[keys.mask(z) > 0] = 0
        self._carried.update(keys.labels)
        confidence = {label: 1.0 if label in spoken else 0.0 for label in sorted(self._carried)}
        for label, values in session.confidence.items():
            if label in keys.labels and label not in spoken:
                confidence[label] = float(values[z])
        self._untold.discard(z)
        if mask.any():
            self._proposed.add(z)
        else:
            self._proposed.discard(z)
        self._tell(Proposed(state.run, state.revision, z, mask, confidence, settled, done, total))


def bring_to(session: Session, given: Mapping[int, GivenSlice], extents: Extents) -> set[int]:
    """Tell a session what holds, where it knows otherwise; returns the slices of which it was told.

    Raises:
        InputError: a label outside its marks. A later call puts right what was told until then.
    """
    keys = session.key_slices
    said = {z: one for z, one in given.items() if not one.says_nothing}
    for label, extent in list(session.extents.items()):
        if extents.get(label) != extent:
            session.set_extent(label, None)
    changed = {z for z in keys.slices() if z not in said}
    for z, one in said.items():
        if z not in keys or not (
            keys.is_complete(z) == one.complete
            and keys.named(z) == one.speaks
            and np.array_equal(keys.mask(z), one.mask)
        ):
            changed.add(z)
    # All are forgotten first: `annotate` adds to what a slice says. What was computed hangs on what is said of each
    # label in the end, so a label that stays as it was costs nothing.
    for z in sorted(changed):
        session.forget(z)
    for z in sorted(changed & said.keys()):
        session.annotate(z, said[z].mask, said[z].speaks, complete=said[z].complete)
    for label, extent in extents.items():
        if session.extents.get(label) != extent:
            session.set_extent(label, extent)
    return changed
