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
        masks: (D, H, W) uint8, what propagation says.
        confidence: of each label that is carried, by slice.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.masks = np.zeros(shape, np.uint8)  # takes no memory where nothing is proposed
        self.confidence: dict[int, dict[int, float]] = {}
        self._labels: dict[int, tuple[int, ...]] = {}  # those that occur, of slices with any

    def put(self, z: int, mask: Mask, confidence: Mapping[int, float]) -> bool:
        """Take over the proposals of a slice; whether there were others."""
        labels = labels_in(mask)
        confidence = {label: round(float(confidence[label]), 4) for label in labels if label in confidence}
        same = labels == self._labels.get(z, ()) and confidence == self.confidence.get(z, {})
        if same and (not labels or np.array_equal(mask, self.masks[z])):
            return False
        if labels or z in self._labels:
            self.masks[z] = mask
        self._labels[z], self.confidence[z] = labels, confidence
        if not labels:
            del self._labels[z], self.confidence[z]
        return True

    def follow(self, z: int, mask: Mask, confidence: Mapping[int, float]) -> bool:
        """Take over what propagation says of a slice; whether there were other proposals.

        What was imported of labels that it never carried, which `confidence` lacks, stays where it says nothing.
        """
        kept = [label for label in self._labels.get(z, ()) if label not in {**confidence, **self.confidence[z]}]
        if kept:
            mask = np.where((mask == 0) & np.isin(self.masks[z], kept), self.masks[z], mask)
        return self.put(z, mask, confidence)

    def take_in(self, z: int, mask: Mask, labels: Collection[int]) -> bool:
        """Propose what a file says of `labels` on a slice, others going on beside it; whether that is new."""
        others = np.isin(self.masks[z], list(labels), invert=True)
        known = {label: value for label, value in self.confidence.get(z, {}).items() if label not in labels}
        return self.put(z, np.where((mask == 0) & others, self.masks[z], mask), known)

    def drop(self, labels: AbstractSet[int]) -> None:
        """Forget what is proposed of labels whose numbers are others' now."""
        for z in self.slices_with(labels):
            kept = np.where(np.isin(self.masks[z], list(labels)), np.uint8(0), self.masks[z])
            self.put(z, kept, self.confidence.get(z, {}))

    def saved(self, revision: int) -> SavedProposals:
        """A copy of them as it is kept on the disk."""
        depth = len(self.masks)
        labels = {label for of in self.confidence.values() for label in of}
        confidence = {label: np.zeros(depth, np.float32) for label in labels}
        for z, of in self.confidence.items():
            for label, value in of.items():
                confidence[label][z] = value
        return SavedProposals(self.masks.copy(), confidence, {}, revision)

    def slices(self) -> list[int]:
        """Slices with proposals, whether they are shown or not."""
        return sorted(self._labels)

    def digest(self, z: int) -> str:
        """What tells the slice's proposals from others."""
        return proposal_digest(self.masks[z])

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

    def mean_confidence(self, label: int) -> float | None:
        """Over the slices on which the label is proposed; None if there is none."""
        values = [of[label] for of in self.confidence.values() if label in of]
        return round(sum(values) / len(values), 4) if values else None


def _within(document: Document, label: int, z: int) -> bool:
    first, last = document.extents.get(label, (z, z))
    return first <= z <= last
