"""Key slices that were worked out beside the document, made ready for it as it is by then."""

from __future__ import annotations

from collections.abc import Mapping

from tools.annotate.document import Document
from tools.annotate.given import GivenSlice
from tools.annotate.merging import LabelMerge


def renumbered(slices: Mapping[int, GivenSlice], merge: LabelMerge) -> dict[int, GivenSlice]:
    """The same slices in other numbers of labels.

    Args:
        merge: has all labels that they speak for.
    """
    if all(old == new for old, new in merge.values.items()):
        return dict(slices)
    return {
        z: GivenSlice(
            merge.applied(one.mask), frozenset(merge.values[label] for label in one.speaks), one.complete, one.kind
        )
        for z, one in slices.items()
    }


def allowed(document: Document, slices: Mapping[int, GivenSlice]) -> tuple[dict[int, GivenSlice], list[str]]:
    """Slices without what a person has ruled out: labels that are locked, or beyond their marks.

    Returns:
        The slices that say something, and the names of labels of which something was left out.
    """
    locked = {value for value, label in document.labels.items() if label.locked}
    kept, left_out = {}, set[int]()
    for z, one in slices.items():
        beyond = {label for label, (first, last) in document.extents.items() if not first <= z <= last}
        refused = one.speaks & (locked | beyond)
        left_out |= refused
        if refused:
            one = one.without(refused)
        if not one.says_nothing:
            kept[z] = one
    return kept, [document.labels[value].name for value in sorted(left_out)]
