"""What propagation proposes on each slice of a case, and how much of it is to be shown.

Belongs to the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tools.annotate.given import proposal_digest
from tools.annotate.proposals_file import SavedProposals
from volumes.label_map import labels_in

if TYPE_CHECKING:
    from tools.annotate.document import Document

Mask = npt.NDArray[np.uint8]


class Proposals:
    """The proposals of one case, all of them zero at first.

    Args:
        shape: (D, H, W).

    Attributes:
        masks: what propagation says, (H, W) uint8 by slice. None is ever written to: another one takes its place, so
            that a copy of the list can be read in another thread.
        confidence: of each label that is carried, by slice.
        owners: label -> which one of those that had its number it is that is proposed (`LabelState.order`).
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._nothing = _unwritten(np.zeros(shape[1:], np.uint8))
        self.masks: list[Mask] = [self._nothing] * shape[0]
        self.confidence: dict[int, dict[int, float]] = {}
        self.owners: dict[int, int] = {}
        self._labels: dict[int, tuple[int, ...]] = {}  # those that occur, of slices with any
        self._digests: dict[int, str] = {}

    def put(self, z: int, mask: Mask, confidence: Mapping[int, float]) -> bool:
        """Take over the proposals of a slice, an array that is not written to any more; whether there were others."""
        labels = labels_in(mask)
        confidence = {label: round(float(confidence[label]), 4) for label in labels if label in confidence}
        same = labels == self._labels.get(z, ()) and confidence == self.confidence.get(z, {})
        if same and (not labels or np.array_equal(mask, self.masks[z])):
            return False
        self._digests.pop(z, None)
        if labels:
            self.masks[z], self._labels[z], self.confidence[z] = _unwritten(mask), labels, confidence
        else:
            self.masks[z] = self._nothing
            del self._labels[z], self.confidence[z]
        return True

    def follow(self, z: int, mask: Mask, confidence: Mapping[int, float]) -> bool:
        """Take over what propagation says of a slice; whether there were other proposals.

        What was imported of labels that it never carried, which `confidence` lacks, stays where it says nothing.
        """
        known = {**confidence, **self.confidence.get(z, {})}
        kept = [label for label in self._labels.get(z, ()) if label not in known]
        if kept:
            mask = np.where((mask == 0) & np.isin(self.masks[z], kept), self.masks[z], mask)
        return self.put(z, mask, confidence)

    def take_in(self, z: int, mask: Mask, labels: Collection[int]) -> bool:
        """Propose what a file says of `labels` on a slice, others going on beside it; whether that is new."""
        others = np.isin(self.masks[z], list(labels), invert=True)
        known = {label: value for label, value in self.confidence.get(z, {}).items() if label not in labels}
        return self.put(z, np.where((mask == 0) & others, self.masks[z], mask), known)

    def hand_over(self, document: Document) -> set[int]:
        """Forget what is proposed of labels whose numbers are others' now; returns these numbers.

        What is proposed of a label that was deleted, or whose addition was undone, is not seen, and comes back with it.
        """
        owners = {value: label.order for value, label in document.labels.items()}
        stale = {value for value, order in owners.items() if self.owners.get(value, order) != order}
        for z in self.slices_with(stale):
            kept = np.where(np.isin(self.masks[z], list(stale)), np.uint8(0), self.masks[z])
            self.put(z, kept, self.confidence.get(z, {}))
        self.owners.update(owners)
        return stale

    def saved(self, revision: int) -> SavedProposals:
        """What is kept of them on the disk."""
        depth = len(self.masks)
        labels = {label for of in self.confidence.values() for label in of}
        confidence = {label: np.zeros(depth, np.float32) for label in labels}
        for z, of in self.confidence.items():
            for label, value in of.items():
                confidence[label][z] = value
        return SavedProposals(list(self.masks), confidence, dict(self.owners), revision)

    def slices(self) -> list[int]:
        """Slices with proposals, whether they are shown or not."""
        return sorted(self._labels)

    def digest(self, z: int) -> str:
        """What tells the slice's proposals from others; 0.3 ms, and asked for at every change of rejected ones."""
        if z not in self._digests:
            self._digests[z] = proposal_digest(self.masks[z])
        return self._digests[z]

    def is_rejected(self, z: int, document: Document) -> bool:
        """Whether just these proposals of the slice were rejected."""
        return z in document.rejected and z in self._labels and document.rejected[z] == self.digest(z)

    def rejected(self, document: Document) -> list[int]:
        """Slices whose proposals were rejected and have not changed since."""
        return [z for z in sorted(document.rejected) if self.is_rejected(z, document)]

    def open_to(self, z: int, document: Document) -> Mask:
        """(H, W) proposals that an edit may take over: those that are there, zeros if they were rejected."""
        return np.zeros_like(self.masks[z]) if self.is_rejected(z, document) else self.masks[z]

    def visible(self, z: int, document: Document) -> Mask | None:
        """(H, W) proposals that are to be shown beside what is given; None if there are none."""
        if z not in self._labels or self.is_rejected(z, document):
            return None
        given = document.slices.get(z)
        if given is not None and given.complete:
            return None
        mask = document.shown(z, self.masks[z])
        if given is not None:
            mask[given.mask > 0] = 0
        return mask if mask.any() else None

    def visible_labels(self, z: int, document: Document) -> tuple[int, ...]:
        """Labels that `visible` shows, without a look at the pixels where nothing is given."""
        if document.slices.get(z) is not None:
            mask = self.visible(z, document)
            return () if mask is None else labels_in(mask)
        if self.is_rejected(z, document):
            return ()
        labels = self._labels.get(z, ())
        return tuple(label for label in labels if label in document.labels and _within(document, label, z))

    def slices_with(self, labels: AbstractSet[int]) -> list[int]:
        """Slices on which one of the labels is proposed."""
        return [z for z, present in sorted(self._labels.items()) if not labels.isdisjoint(present)]

    def mean_confidence(self) -> dict[int, float]:
        """Of each label over the slices on which it is proposed."""
        values: dict[int, list[float]] = {}
        for of in self.confidence.values():
            for label, value in of.items():
                values.setdefault(label, []).append(value)
        return {label: round(sum(of) / len(of), 4) for label, of in values.items()}


def _unwritten(mask: Mask) -> Mask:
    mask.setflags(write=False)
    return mask


def _within(document: Document, label: int, z: int) -> bool:
    first, last = document.extents.get(label, (z, z))
    return first <= z <= last
