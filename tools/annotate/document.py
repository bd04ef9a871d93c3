"""What a person can do to the annotation of one case; every action is one step of undo.

No files, no threads, no network: an action works out its change from the state and applies it. It returns the change,
None if nothing would change, and raises InputError, without effect, if it is not allowed. What was painted stays byte
for byte until the person paints over it, erases it or clears it; locked labels stay even then.

`proposal` is what propagation says of the slice at present, (H, W) uint8; zeros if there is nothing or if it was
rejected. The first edit of a label on a slice where it was only proposed adopts the proposal: it becomes given, with
the edit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.annotate.changes import Change, Key, Shape, Value, digest_from_json
from tools.annotate.given import GivenSlice, occurring, shown
from tools.annotate.label_actions import LabelActions, bad
from tools.annotate.packing import Mask
from volumes.labels import Color

Pixels = NDArray[np.bool_]


class Document(LabelActions):
    """The annotation of one case.

    Args:
        shape: (D, H, W) of the volume.
        labels: value -> (name, colour) to begin with; undo does not take them away.
    """

    def __init__(self, shape: Shape, labels: Mapping[int, tuple[str, Color]] | None = None) -> None:
        super().__init__((int(shape[0]), int(shape[1]), int(shape[2])))
        self._nothing = GivenSlice.empty(self.shape[1:])
        for value, state in self._new_labels(labels or {}).items():
            self._set(("label", value), state)

    @classmethod
    def from_state(cls, data: bytes, shape: Shape, where: str | Path = "state") -> Document:
        """The document that `to_state` gave as bytes.

        Raises:
            InputError: these are not the bytes of a document of such a volume.
        """
        document = cls(shape)
        document._fill(data, where)
        return document

    # Painting.

    def shown(self, z: int, proposal: Mask) -> Mask:
        """What is seen of slice `z`, (H, W): given labels, else proposed ones that the slice does not speak for."""
        self._check_slice(z)
        known = (v for v in self.labels if v not in self.extents or self.extents[v][0] <= z <= self.extents[v][1])
        return shown(self.slices.get(z), self._mask(proposal), known)

    def paint(self, z: int, label: int, pixels: Pixels, proposal: Mask) -> Change | None:
        """Paint `pixels`, (H, W) bool, with `label`; pixels that show a locked label stay."""
        name = self._editable(label).name
        self._check_extent(label, z)
        seen = self.shown(z, proposal)
        stroke = self._pixels(pixels) & self._free(seen)
        if not stroke.any():
            return None
        given = self._given(z)
        mask = given.mask.copy()
        if not given.speaks_for(label):
            mask[seen == label] = label
        mask[stroke] = label
        return self._edit(f"brush {name}, slice {z}", z, mask, [label])

    def erase(self, z: int, label: int | None, pixels: Pixels, proposal: Mask) -> Change | None:
        """Take `label`, or every label that is not locked (None), off `pixels`, (H, W) bool."""
        if label is not None:
            self._editable(label)
        seen = self.shown(z, proposal)
        under = seen[self._pixels(pixels) & self._free(seen)]
        labels = sorted(occurring(under, self.labels if label is None else [label]))
        if not labels:
            return None
        given = self._given(z)
        mask = given.mask.copy()
        for one in labels:
            mask[seen == one] = one
            mask[(seen == one) & pixels] = 0
        what = self.labels[labels[0]].name if len(labels) == 1 else f"{len(labels)} labels"
        return self._edit(f"erase {what}, slice {z}", z, mask, labels)

    def mark_absent(self, z: int, label: int) -> Change | None:
        """Say that `label` is not on slice `z`; what was painted of it there goes."""
        name = self._editable(label).name
        given = self._given(z)
        mask = np.where(given.mask == label, np.uint8(0), given.mask)
        return self._edit(f"{name} absent, slice {z}", z, mask, [label])

    def clear(self, z: int) -> Change | None:
        """Slice `z` says nothing any more, but of locked labels."""
        given = self._given(z)
        kept = given.speaks & frozenset(value for value, label in self.labels.items() if label.locked)
        mask = np.where(np.isin(given.mask, list(kept)), given.mask, np.uint8(0))
        return self._put(f"clear slice {z}", {z: GivenSlice(mask, kept, False, given.kind)})

    def clear_label(self, z: int, label: int) -> Change | None:
        """Slice `z` says nothing of `label` any more; what it says of others stays."""
        name = self._editable(label).name
        given = self._given(z)
        if given.complete:  # it goes on speaking for all others, which must be named now
            given = GivenSlice(given.mask, given.speaks | frozenset(self.labels), False, given.kind)
        return self._put(f"clear {name}, slice {z}", {z: given.without([label])})

    # Proposals.

    def accept(self, z: int, proposal: Mask) -> Change | None:
        """What is seen of slice `z` becomes given; the slice speaks for all labels that are in use."""
        return self._put(f"accept slice {z}", self._accepted([(z, proposal)]))

    def accept_all(self, proposals: Iterable[tuple[int, Mask]]) -> Change | None:
        """`accept` for many slices, (z, proposal) each, in one step."""
        accepted = self._accepted(proposals)
        return self._put(f"accept {len(accepted)} slices", accepted)

    def reject(self, z: int, proposal: Mask, digest: str) -> Change | None:
        """Hide the proposal of slice `z` for as long as it has this digest (`given.proposal_digest`)."""
        if np.array_equal(self.shown(z, proposal), self._given(z).mask):
            return None
        digest_from_json(digest, f"slice {z}")
        return self._change(f"reject slice {z}", {("rejected", z): digest})

    def is_rejected(self, z: int, digest: str) -> bool:
        """Whether the proposal of this digest was rejected on slice `z`."""
        return self.rejected.get(z) == digest

    def put_slices(
        self, slices: Mapping[int, GivenSlice], title: str, labels: Mapping[int, tuple[str, Color]] | None = None
    ) -> Change | None:
        """Add whole slices, from a file or a network, in one step.

        What a slice already says stays: labels that it speaks for, and every painted pixel.

        Args:
            labels: value -> (name, colour) of labels that are not there yet and come with the slices.
        """
        added = self._new_labels({v: new for v, new in (labels or {}).items() if v not in self.labels})
        merged: dict[Key, Value] = {("label", value): state for value, state in added.items()}
        for z, new in slices.items():
            before = self._given(z)
            self._mask(new.mask)
            after = before.beside(new)
            for label in sorted(after.speaks - before.speaks):
                if label not in added:
                    self._editable(label)
                    if label in after.labels:
                        self._check_extent(label, z)
            merged[("slice", z)] = None if after.says_nothing else after
        return self._change(title, merged)

    # How it is done.

    def _accepted(self, proposals: Iterable[tuple[int, Mask]]) -> dict[int, GivenSlice]:
        # Not for labels that come later: with every slice accepted, a new one could not be carried anywhere.
        used = frozenset[int]().union(*(given.labels for given in self.slices.values()))
        accepted = {}
        for z, proposal in proposals:
            mask = self.shown(z, proposal)
            speaks = self._given(z).speaks | used | occurring(mask, self.labels)
            accepted[z] = GivenSlice(mask, speaks, self._given(z).complete, "accepted")
        return accepted

    def _edit(self, title: str, z: int, mask: Mask, labels: Iterable[int]) -> Change | None:
        """Slice `z` with another mask, spoken for `labels` as well; nothing if that changes neither."""
        given = self._given(z)
        after = given.painted(mask, labels)
        if after.speaks == given.speaks and np.array_equal(mask, given.mask):
            return None
        return self._put(title, {z: after})

    def _put(self, title: str, slices: Mapping[int, GivenSlice]) -> Change | None:
        return self._change(title, {("slice", z): None if new.says_nothing else new for z, new in slices.items()})

    def _given(self, z: int) -> GivenSlice:
        self._check_slice(z)
        return self.slices.get(z, self._nothing)

    def _free(self, seen: Mask) -> Pixels:
        """Where no locked label is seen, (H, W)."""
        free = np.ones(seen.shape, bool)
        for value, label in self.labels.items():
            if label.locked:
                free &= seen != value
        return free

    def _check_slice(self, z: int) -> None:
        if not 0 <= z < self.shape[0]:
            found, fix = f"slice {z}", "count slices from 0, inferior first"
            raise bad("slice", found, f"a slice from 0 to {self.shape[0] - 1}", fix)

    def _check_extent(self, label: int, z: int) -> None:
        self._check_slice(z)
        first, last = self.extents.get(label, (z, z))
        if not first <= z <= last:
            where = f"label {self._label(label).name}"
            fix = "widen or remove its extent first"
            raise bad(where, f"slice {z} outside its extent", f"a slice from {first} to {last}", fix)

    def _mask(self, mask: Mask) -> Mask:
        if mask.dtype != np.uint8 or mask.shape != self.shape[1:]:
            raise bad("mask", f"{mask.dtype} {mask.shape}", f"uint8 {self.shape[1:]}", "use the volume's own grid")
        return mask

    def _pixels(self, pixels: Pixels) -> Pixels:
        if pixels.dtype != np.bool_ or pixels.shape != self.shape[1:]:
            found = f"{pixels.dtype} {pixels.shape}"
            raise bad("pixels", found, f"bool {self.shape[1:]}", "use the volume's own grid")
        return pixels
