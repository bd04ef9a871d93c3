"""Label maps that clients send: as key slices to propagate from, and as what a case is to say from now on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tools.annotate.changes import Change, Key, Value
from tools.annotate.document import Document
from tools.annotate.given import GivenSlice
from tools.annotate.imports import as_key_slices, read_import, read_on_grid
from tools.annotate.merging import merge_again
from tools.annotate.taking_in import renumbered
from tools.annotate.uploads import check_self_contained
from volumes.errors import InputError

if TYPE_CHECKING:
    from tools.annotate.case import OpenCase
    from tools.annotate.monai_label.forms import Params
    from volumes.labels import LabelTable
    from volumes.volume import Volume


@dataclass(frozen=True)
class Saved:
    """What became of a label map that was saved.

    Attributes:
        title: of the step of undo; None where it changed nothing.
        slices: those that it speaks of.
        numbers: of its labels in the case, by name.
    """

    title: str | None
    slices: list[int]
    numbers: dict[str, int]


def read_key_slices(path: Path, volume: Volume, params: Params) -> tuple[dict[int, GivenSlice], LabelTable]:
    """Key slices of a label map, and its labels; they speak for what they do in `keyslice propagate`.

    Raises:
        InputError: another grid, no label, a slice that would say nothing.
    """
    from volumes.key_slices import KeySlices

    check_self_contained(path)
    found = read_on_grid(path, volume, params.table())
    keys = KeySlices.from_label_map(found, params.key_slices, params.complete)
    given = {z: GivenSlice(keys.mask(z), keys.named(z), keys.is_complete(z), "imported") for z in keys.slices()}
    return given, found.table


async def save(case: OpenCase, path: Path, params: Params) -> Saved:
    """Make a label map key slices of the case, in one step of undo; it is on the disk when this returns.

    Each slice that shows a label is from then on as the file has it: a label that was on it and is not any more is
    absent there. Other slices stay as they are.

    Raises:
        InputError: another grid, or no label.
        Refusal: a label that is locked or a slice beyond its marks would change, or the disk does not take it.
    """
    names = case.document.names
    await asyncio.to_thread(check_self_contained, path)
    imported = await asyncio.to_thread(read_import, path, case.volume, names, params.table())
    found = await asyncio.to_thread(as_key_slices, imported, params.key_slices)
    numbers: dict[str, int] = {}

    def act(document: Document) -> Change | None:
        merge = merge_again(imported.merge, names, document.names, path)
        known = {**document.names, **{value: label.name for value, label in merge.new.items()}}
        numbers.update({known[value]: value for value in sorted(set(merge.values.values()))})
        return _replaced(document, renumbered(found, merge), f"labels of a client, {len(found)} slices", merge.colors)

    answer = await case.commit(lambda _: act)
    for note in imported.notes:
        case.notice(f"import: {note}", "info")
    return Saved(answer["title"], sorted(found), numbers)


def _replaced(
    document: Document, slices: Mapping[int, GivenSlice], title: str, labels: Mapping[int, tuple[str, Any]]
) -> Change | None:
    """Have slices say what they show here; the change is done to the document."""
    with_labels = document.fork()
    with_labels.put_slices({}, title, labels)
    pairs: list[tuple[Key, Value, Value]] = [
        (("label", value), None, state) for value, state in with_labels.labels.items() if value not in document.labels
    ]
    for z, new in slices.items():
        before = document.slices.get(z) or GivenSlice.empty(document.shape[1:])
        after = GivenSlice(new.mask, before.speaks | new.speaks, before.complete or new.complete, new.kind)
        _check_allowed(document, z, before, after)
        pairs.append((("slice", z), document.slices.get(z), after))
    change = Change.between(title, pairs, document.shape)
    return None if change is None else document.act(change)


def _check_allowed(document: Document, z: int, before: GivenSlice, after: GivenSlice) -> None:
    """Raise InputError where a label changes that is locked, or comes to a slice beyond its marks."""
    for value in sorted(after.speaks & document.labels.keys()):
        first, last = document.extents.get(value, (z, z))
        same = value in before.speaks and np.array_equal(before.mask == value, after.mask == value)
        if same:
            continue
        name = document.labels[value].name
        if document.labels[value].locked:
            raise InputError(
                f"label {name}",
                found=f"other pixels on slice {z}",
                expected="it as it is: it is locked",
                fix="unlock it",
            )
        if value in after.labels and not first <= z <= last:
            raise InputError(
                f"label {name}",
                found=f"slice {z} outside its extent",
                expected=f"a slice from {first} to {last}",
                fix="widen or remove its extent first",
            )
