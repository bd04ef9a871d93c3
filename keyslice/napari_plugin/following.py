"""A session that follows what a person paints in a layer; knows neither napari nor Qt.

The layer's thread takes a `Painted` of what is there and goes on. A worker carries it out, slice by slice. The session
belongs to the worker: one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from keyslice.axes import Axes
from keyslice.sessions import Session, open_session
from volumes.errors import InputError

if TYPE_CHECKING:
    from propagation_module.propagator import Propagator
    from propagation_module.suggestion import Suggestion


@dataclass(frozen=True, eq=False)
class Painted:
    """What a person has said.

    Args:
        labels: whole numbers of three axes, a copy of the layer's data; every slice with a label is a key slice.
        complete: labels that are missing on a key slice are absent there.
        absent: labels that were said not to be on a slice, by slice.
        extents: first and last slice of labels, both inside.
    """

    labels: npt.NDArray[Any]
    complete: bool = False
    absent: Mapping[int, frozenset[int]] = field(default_factory=dict)
    extents: Mapping[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Proposed:
    """A slice whose labels have changed: its plane, and steps done of all."""

    z: int
    plane: npt.NDArray[np.uint8]
    done: int
    total: int


@dataclass(frozen=True)
class Ended:
    """How a propagation ended: where to look next, or what was wrong with the input."""

    suggestion: Suggestion | None = None
    error: str | None = None


class Following:
    """One image under annotation.

    Args:
        image: Hounsfield units, an array of three axes.
        axes: how it lies in the patient.
        model: as in `keyslice.open`; it is loaded when it is first needed.
    """

    def __init__(self, image: npt.NDArray[Any], axes: Axes, model: str | Path | Propagator = "small") -> None:
        self.axes = axes
        self._image, self._model = image, model
        self._session: Session[Any] | None = None
        self._told: dict[int, tuple[npt.NDArray[Any], frozenset[int], bool]] = {}
        self._extents: dict[int, tuple[int, int]] = {}
        self._behind: set[int] = set()  # slices that the person may see as they were

    def propagate(self, painted: Painted) -> Iterator[Proposed | Ended]:
        """Carry out what was painted; to stop, stop iterating: what was computed stays. The last one is `Ended`."""
        try:
            if not painted.labels.any():
                yield from self._take_back(painted)
                raise InputError(
                    "labels layer", found="no label", expected="at least one slice with labels", fix="paint one first"
                )
            session = self._opened()
            self._tell(session, painted)
            for update in session.propagate():
                yield self._proposed(session, update.z, update.done, update.total)
            for z in sorted(self._behind):
                yield self._proposed(session, z, 1, 1)
            yield Ended(session.suggest())
        except InputError as error:
            yield Ended(error=str(error))

    def _opened(self) -> Session[Any]:
        if self._session is None:
            self._session = open_session(self._image, axes=self.axes, model=self._model)
        return self._session

    def _take_back(self, painted: Painted) -> Iterator[Proposed]:
        """Nothing is painted: what was proposed no longer holds, and the next propagation begins anew."""
        told, self._session, self._told, self._extents, self._behind = self._told, None, {}, {}, set()
        for z, plane in enumerate(np.moveaxis(painted.labels, self.axes.axial, 0)) if told else ():
            yield Proposed(z, np.zeros_like(plane, np.uint8), 1, 1)

    def _tell(self, session: Session[Any], painted: Painted) -> None:
        """The session what has changed since."""
        planes = np.moveaxis(painted.labels, self.axes.axial, 0)
        if painted.labels.shape != session.ct.shape:
            raise InputError(
                "labels layer",
                found=f"shape {painted.labels.shape}",
                expected=f"{session.ct.shape}, as the image has",
                fix="make a labels layer of this image",
            )
        for label in [label for label, extent in self._extents.items() if painted.extents.get(label) != extent]:
            session.set_extent(label, None)
            del self._extents[label]
        speaking = {int(z) for z in np.flatnonzero(planes.any(axis=(1, 2)))} | painted.absent.keys()
        changed = self._told.keys() - speaking
        for z in speaking:
            before = self._told.get(z)
            said = planes[z], painted.absent.get(z, frozenset()), painted.complete
            if before is None or before[1:] != said[1:] or not np.array_equal(before[0], said[0]):
                changed = changed | {z}
        self._behind |= changed
        # All are forgotten first: what was said of two slices must not meet marks that hold for one of them.
        for z in changed:
            session.forget(z)
            self._told.pop(z, None)
        for z in sorted(changed & speaking):
            absent = painted.absent.get(z, frozenset())
            labels = absent | {int(label) for label in np.unique(planes[z]) if label}
            session.annotate(z, planes[z], labels, complete=painted.complete)
            self._told[z] = planes[z].copy(), absent, painted.complete
        for label, extent in painted.extents.items():
            if label not in self._extents:
                session.set_extent(label, extent)
                self._extents[label] = extent

    def _proposed(self, session: Session[Any], z: int, done: int, total: int) -> Proposed:
        self._behind.discard(z)
        return Proposed(z, np.take(session.labels, z, self.axes.axial), done, total)
