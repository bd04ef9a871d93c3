"""Labels from elsewhere among the document's own: which is which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from volumes.errors import InputError
from volumes.labels import MAX_LABEL, Color, Label, LabelTable, distinct_color, name_key

_UNNAMED = re.compile(r"label_\d+")  # as a table calls a label that the file gives no name


@dataclass(frozen=True)
class LabelMerge:
    """How foreign labels become the document's.

    Attributes:
        values: the document's label for each foreign one.
        new: labels that the document lacks, by the number that they get there.
    """

    values: dict[int, int]
    new: dict[int, Label]

    @property
    def colors(self) -> dict[int, tuple[str, Color]]:
        """Names and colours of the labels that the document lacks, as it takes them."""
        return {value: (label.name, label.color) for value, label in self.new.items()}

    def applied(self, array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Foreign labels of any shape in the document's numbers; others become 0."""
        lookup = np.zeros(MAX_LABEL + 1, np.uint8)
        for foreign, own in self.values.items():
            lookup[foreign] = own
        return lookup[array]


def merge_labels(
    own: Mapping[int, str], foreign: LabelTable, occurring: Iterable[int], where: str | Path
) -> LabelMerge:
    """Which of the document's labels each foreign one is.

    One with a name is the label of that name, or a new one: two files number things differently. One without a name
    is the label of its number.

    Args:
        own: names of the document's labels.
        foreign: what the foreign labels are called.
        occurring: those that matter.
        where: the file or model, for messages.

    Raises:
        InputError: more than 255 labels together.
    """
    by_name = {name_key(name): value for value, name in own.items()}
    values: dict[int, int] = {}
    new: dict[int, Label] = {}
    taken = set(own)
    unknown = []
    for value in sorted(occurring):
        label = foreign[value]
        named = not is_unnamed(label.name)
        match = next((by_name[key] for key in map(name_key, (label.name, *label.aliases)) if key in by_name), None)
        if match is None and not named and value in own:
            match = value
        if match is None:
            unknown.append(label)
        else:
            values[value] = match
    for label in sorted(unknown, key=lambda one: one.value in taken):  # those that can keep their number first
        free = label.value if label.value not in taken else _free(taken, where)
        taken.add(free)
        values[label.value] = free
        new[free] = Label(free, label.name, label.color)
    return LabelMerge(values, new)


def merge_again(merge: LabelMerge, begun: Mapping[int, str], now: Mapping[int, str], where: str | Path) -> LabelMerge:
    """How labels that `merge` gave numbers become the document's as it is now.

    Meanwhile a person may have added, deleted or renamed labels, so that a number may be another label's.

    Args:
        begun: names of the document's labels when `merge` was made.
        now: their names now.

    Raises:
        InputError: more than 255 labels together.
    """
    numbers = sorted(set(merge.values.values()))
    if begun == now:
        return LabelMerge({value: value for value in numbers}, merge.new)
    named = (merge.new[v] if v in merge.new else Label(v, begun[v], distinct_color(v)) for v in numbers)
    return merge_labels(now, LabelTable(named, name=str(where)), numbers, where)


def is_unnamed(name: str) -> bool:
    """Whether a label is called as a table calls one without a name."""
    return _UNNAMED.fullmatch(name_key(name)) is not None


def _free(taken: set[int], where: str | Path) -> int:
    for value in range(1, MAX_LABEL + 1):
        if value not in taken:
            return value
    raise InputError(
        where,
        found="more labels than there are free numbers",
        expected=f"at most {MAX_LABEL} labels together",
        fix="delete labels that are not needed first",
    )
