"""A volume under annotation, for people who write their own tool."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, overload

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from keyslice.axes import Axes
from keyslice.models import one_line, ready_propagator
from keyslice.results import Labels, Result
from keyslice.sources import Image, Names, Source, read_ct, read_names
from tools.propagate import check_untouched
from volumes.key_slices import KeySlices
from volumes.labels import LabelTable

if TYPE_CHECKING:
    from propagation_module.propagator import Propagator
    from propagation_module.session import SliceUpdate
    from propagation_module.suggestion import Suggestion


class Session(Generic[Labels]):
    """One volume with its key slices and marks, and what has been propagated from them. Made by `keyslice.open`.

    Only what a change touches is computed again, and the result does not depend on the order in which key slices came.
    A session belongs to one thread at a time.

    Slices count as in the array that was opened, for files and images from 0 at the most inferior one; `ct`, `labels`
    and the masks of slices have their axes in that order, too.

    Args:
        source: the CT.
        propagator: network and settings.
        names: names and colours of labels.
    """

    def __init__(self, source: Source, propagator: Propagator, names: LabelTable) -> None:
        self.names = names
        self._source, self._order = source, source.order
        self._session = propagator.open(source.volume)

    # What is there.

    @property
    def ct(self) -> npt.NDArray[np.int16]:
        """Hounsfield units, read-only: `(D, H, W)` for files and images, else as the array that was opened."""
        return self._order.view(self._source.volume.array)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxels along the axes of `ct`."""
        axes = self._source.axes
        return axes.spacing if axes else self._source.volume.spacing

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """All labels as they are now, in the order of `ct`, read-only; it follows `propagate` without being copied."""
        return self._order.view(self._session.labels)

    @property
    def confidence(self) -> dict[int, npt.NDArray[np.float32]]:
        """For each label, `(D,)` in [0, 1]: the Dice to expect on a slice; 1 where it was given."""
        return {label: self._order.along_slices(one) for label, one in self._session.confidence.items()}

    @property
    def key_slices(self) -> tuple[int, ...]:
        """Slices of which something was said."""
        return tuple(sorted(self._order.slice(z) for z in self._session.key_slices.slices()))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the CT."""
        return tuple(self._source.doubts())

    # What a person says.

    def annotate(
        self, z: int, mask: npt.ArrayLike, labels: Iterable[int | str] | None = None, *, complete: bool = False
    ) -> None:
        """Paint slice `z`, or correct it.

        Args:
            mask: whole numbers, one a pixel; what it paints wins over what was painted there before.
            labels: what the mask speaks for, by number or name: each is there or, if it does not occur, absent. None:
                the labels in it. What the slice says of other labels stays as it is.
            complete: the slice speaks for all labels, also for those that come later.

        Raises:
            InputError: no such slice, another shape, no labels, or a label outside its marks. Nothing has changed then.
        """
        named = None if labels is None else self._numbers(labels)
        at, plane = self._order.slice(z), self._order.plane(mask, z)
        with self._order.told():
            self._session.annotate(at, plane, named, complete=complete)

    def annotate_all(
        self,
        keys: Image | npt.NDArray[Any],
        *,
        key_slices: Sequence[int] | None = None,
        complete: bool = False,
    ) -> None:
        """Paint all slices of a label map that carry labels, or those named; arguments as for `keyslice.propagate`."""
        given = self._source.label_map(keys, "keys", self.names or None)
        chosen = None if key_slices is None else [self._order.slice(z) for z in key_slices]
        with self._order.told():
            self._session.annotate_all(KeySlices.from_label_map(given, chosen, complete=complete))
        self.names = self.names or given.table

    def mark_absent(self, z: int, labels: Iterable[int | str]) -> None:
        """Say that `labels` are not on slice `z`; what was painted of them there goes."""
        self._session.mark_absent(self._order.slice(z), self._numbers(labels))

    def forget(self, z: int, labels: Iterable[int | str] | None = None) -> None:
        """Take back what slice `z` says of `labels`, or all of it; it is a slice like any other then."""
        self._session.forget(self._order.slice(z), None if labels is None else self._numbers(labels))

    def set_extent(self, label: int | str, extent: tuple[int, int] | None) -> None:
        """Mark the first and last slice of `label`, both inside; None takes the marks away.

        Raises:
            InputError: the label was painted beyond them, or they are not in the volume. Nothing has changed then.
        """
        marks = None if extent is None else self._order.extent(extent)
        with self._order.told():
            self._session.set_extent(self.names.resolve(label), marks)

    # What comes of it.

    def propagate(self, *, live: bool = True) -> Iterator[SliceUpdate]:
        """Compute what has changed since, slice by slice: `for update in session.propagate(): ...`.

        To stop, stop iterating: all that was computed stays, and a later call goes on from there. A change ends a
        propagation that is under way; call it again.

        Args:
            live: slices nearest to the last change first, each yielded whenever it changes. Otherwise in sweeps
                through the volume, which is faster for many labels, each slice yielded once.

        Yields:
            `z`, whose labels are in `labels`; `settled`, whether nothing more will change there; `done` and `total`
            steps.

        Raises:
            InputError: no label on any key slice, or not enough memory.
        """
        with one_line(self._source.volume.name):
            for update in self._session.propagate(live=live):
                yield update._replace(z=self._order.slice(update.z))

    def suggest(self) -> Suggestion | None:
        """The slice whose annotation should help most, and why; None if there is nothing to gain."""
        names = {value: label.name for value, label in self.names.items()}
        found = self._session.suggest(names)
        return None if found is None else replace(found, z=self._order.slice(found.z))

    def result(self) -> Result[Labels]:
        """What is there now, in the kind and on the grid that came in; later changes do not touch it."""
        session = self._session
        check_untouched(session.labels, session.key_slices)
        return self._source.result(session.labels, session.confidence, session.key_slices, self.names)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> float:
        """Write what is there now; see `Result.save`."""
        return self.result().save(path, overwrite=overwrite)

    def _numbers(self, labels: Iterable[int | str]) -> list[int]:
        return [self.names.resolve(label) for label in ([labels] if isinstance(labels, str) else labels)]


@overload
def open_session(
    ct: npt.NDArray[Any],
    *,
    axes: Axes,
    names: Names | None = None,
    model: str | Path | Propagator = "small",
    device: str = "auto",
) -> Session[npt.NDArray[np.uint8]]: ...
@overload
def open_session(
    ct: Image,
    *,
    axes: None = None,
    names: Names | None = None,
    model: str | Path | Propagator = "small",
    device: str = "auto",
) -> Session[sitk.Image]: ...
def open_session(
    ct: Image | npt.NDArray[Any],
    *,
    axes: Axes | None = None,
    names: Names | None = None,
    model: str | Path | Propagator = "small",
    device: str = "auto",
) -> Session[Any]:
    """Open a CT for annotation; arguments as for `keyslice.propagate`."""
    source = read_ct(ct, axes)
    table = read_names(names)
    return Session(source, ready_propagator(model, device), LabelTable((), "names") if table is None else table)
