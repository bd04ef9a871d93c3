"""What a person says of a volume: key slices, marks, and which slices that concerns since it was last carried out.

Nothing is computed from it here. What a label's stretches depend on is all in a key slice's digest of that label, so
equal digests mean that what was computed still holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumes.errors import InputError
from volumes.key_slices import Extents, KeySlices


class Annotations:
    """Key slices and marks of one volume. They stay the same objects whatever is said.

    Args:
        shape_dhw: shape `(D, H, W)` of the volume.
        name: of the volume, for messages.

    Attributes:
        key_slices, extents: what holds now.
        changed: key slices and marks that changed; whoever has carried it all out clears it.
    """

    def __init__(self, shape_dhw: tuple[int, int, int], name: str | Path) -> None:
        self.key_slices = KeySlices(shape_dhw, where=name)
        self.extents: Extents = {}
        self.changed: set[int] = set()
        self._name = name
        self._digests: dict[tuple[int, int, bool], bytes] = {}

    def annotate(self, z: int, mask: NDArray, labels: Iterable[int] | None = None, *, complete: bool = False) -> None:
        """Paint slice `z` with `mask` (H, W), or correct it; as in `Session.annotate`.

        Raises:
            InputError: no such slice, another shape, or a label outside its marks. Nothing has changed then.
        """
        trial = KeySlices(self.key_slices.shape_dhw, where=self.key_slices.where)
        trial.add(z, mask, labels, complete)  # refuses what is not a mask
        for label in trial.labels:
            if label in self.extents:
                self._check_marks(label, [z], self.extents[label])
        given, named = trial.mask(z), trial.named(z)
        if z in self.key_slices:
            before = self.key_slices.mask(z)
            given = np.where((given == 0) & ~np.isin(before, list(named)), before, given)
            named = named | self.key_slices.named(z)
            complete = complete or self.key_slices.is_complete(z)
        self.key_slices.add(z, given, named, complete)
        self._touch(z)

    def mark_absent(self, z: int, labels: Iterable[int]) -> None:
        """Say that `labels` are not on slice `z`; what was painted of them there goes."""
        self.annotate(z, np.zeros(self.key_slices.shape_dhw[1:], np.uint8), labels)

    def forget(self, z: int, labels: Iterable[int] | None = None) -> None:
        """Take back what key slice `z` says of `labels`, or all of it; it is a slice like any other then."""
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
            self.changed.update(self.extents.pop(label, ()))
            return
        low, high = (int(mark) for mark in extent)
        depth = self.key_slices.shape_dhw[0]
        if not 0 <= low <= high < depth:
            raise InputError(
                self._name,
                found=f"marks {low} and {high} of label {label}",
                expected=f"0 <= first <= last <= {depth - 1}",
                fix="correct the marks; slices count from 0, inferior first",
            )
        self._check_marks(label, self.key_slices.slices_with(label), (low, high))
        self.extents[label] = (low, high)
        self.changed.update((low, high))

    def distances(self) -> NDArray[np.int64]:
        """(D,) slices from each slice to the nearest change."""
        z = np.arange(self.key_slices.shape_dhw[0])
        at = np.array(sorted(self.changed) or self.key_slices.slices())
        return np.abs(z[:, None] - at).min(1)

    def digest(self, z: int, label: int, *, with_others: bool) -> bytes:
        """Of all that key slice `z` says of `label` that its stretches depend on.

        Args:
            with_others: they depend on where other labels were painted, too.
        """
        key = (z, label, with_others)
        if key not in self._digests:
            painted = self.key_slices.mask(z)
            hashed = hashlib.blake2b(np.packbits(painted == label).tobytes(), digest_size=16)
            if with_others:
                hashed.update(np.packbits(painted > 0).tobytes())
            self._digests[key] = hashed.digest()
        return self._digests[key]

    def _touch(self, z: int) -> None:
        for key in [key for key in self._digests if key[0] == z]:
            del self._digests[key]
        self.changed.add(z)

    def _check_marks(self, label: int, slices: Iterable[int], extent: tuple[int, int]) -> None:
        low, high = extent
        for z in slices:
            if not low <= z <= high:
                raise InputError(
                    self._name,
                    found=f"label {label} on key slice {z}",
                    expected=f"label {label} between its marks {low} and {high}",
                    fix="move the mark or take the label off that slice",
                )
