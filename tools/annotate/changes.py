"""A change of the annotation: what was there before and what is there after it, exactly, in few bytes.

A change is all that undo, redo and the journal need: no engine, no floating point. Of a slice it holds the box in which
pixels changed, before and after, compressed: a stroke takes some hundred bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tools.annotate.given import KINDS, GivenSlice, Says
from tools.annotate.label_states import LabelState, label_from_json, label_to_json
from tools.annotate.packing import compress, damaged, decompress, pack, split, unpack
from volumes.labels import MAX_LABEL

Key = tuple[str, int]
"""`("slice", z)`, `("label", value)`, `("extent", label)` or `("rejected", z)`."""

Extent = tuple[int, int]
Value = GivenSlice | LabelState | Extent | str | None
"""What a key holds: of a slice, a label, an extent (first, last), a rejected proposal's digest; None: nothing."""

Shape = tuple[int, int, int]

MAX_TITLE = 200
_MAX_DIGEST = 128


@dataclass(frozen=True)
class Entry:
    """One key's value before and after; not of a slice."""

    key: Key
    before: LabelState | Extent | str | None
    after: LabelState | Extent | str | None


@dataclass(frozen=True)
class SliceEntry:
    """What a slice said before and after, None for nothing.

    Attributes:
        box: rows and columns (first, end, first, end) in which pixels changed.
        pixels: the box before and after, as far as the slice said anything, compressed.
    """

    key: Key
    before: Says | None
    after: Says | None
    box: tuple[int, int, int, int]
    pixels: bytes

    @classmethod
    def between(cls, z: int, before: GivenSlice | None, after: GivenSlice | None, shape: Shape) -> SliceEntry:
        """The entry that leads from `before` to `after`."""
        old, new = (np.uint8(0) if given is None else given.mask for given in (before, after))
        top, bottom, left, right = box = _box(np.broadcast_to(old != new, shape[1:]))
        there = [given.mask[top:bottom, left:right] for given in (before, after) if given is not None]
        pixels = compress(*there)
        return cls(("slice", z), _says(before), _says(after), box, pixels)

    def applied(self, given: GivenSlice | None, shape: Shape, *, forward: bool) -> GivenSlice | None:
        """What the slice says after the change, or, backward, before it.

        Raises:
            InputError: `given` is not what the change was made from.
        """
        top, bottom, left, right = self.box
        size = (bottom - top, right - left)
        where = f"a change of slice {self.key[1]}"
        said = [says is not None for says in (self.before, self.after)]
        boxes = iter(decompress(self.pixels, sum(said) * size[0] * size[1], where).reshape(sum(said), *size))
        ends = [next(boxes) if there else np.zeros(size, np.uint8) for there in said]
        old, new = ends if forward else ends[::-1]
        source, target = (self.before, self.after) if forward else (self.after, self.before)
        mask = np.zeros(shape[1:], np.uint8) if given is None else given.mask.copy()
        if _says(given) != source or not np.array_equal(mask[top:bottom, left:right], old):
            raise damaged(where, "a slice that is not as the change found it")
        mask[top:bottom, left:right] = new
        if target is None:
            if mask.any():
                raise damaged(where, "pixels on a slice that says nothing")
            return None
        return GivenSlice(mask, *target)


class Change:
    """Something that a person did, one step of undo.

    Args:
        title: short text, such as "brush spleen, slice 41".
        entries: what it changes, each key once.
    """

    def __init__(self, title: str, entries: Iterable[Entry | SliceEntry]) -> None:
        self.title = title[:MAX_TITLE]
        self.entries = tuple(entries)

    @classmethod
    def between(cls, title: str, pairs: Iterable[tuple[Key, Value, Value]], shape: Shape) -> Change | None:
        """The change of these keys from what was before to what is after; None if nothing differs.

        Args:
            shape: of the volume, (D, H, W).
        """
        entries: list[Entry | SliceEntry] = []
        for key, before, after in pairs:
            if before == after:
                continue
            if isinstance(before, GivenSlice) or isinstance(after, GivenSlice):
                assert not isinstance(before, (tuple, str)) and not isinstance(after, (tuple, str))
                entries.append(SliceEntry.between(key[1], before, after, shape))
            else:
                entries.append(Entry(key, before, after))
        return cls(title, entries) if entries else None

    def touched(self, kind: str) -> list[int]:
        """Slices or labels that it changes: those of its keys of this kind, sorted."""
        return sorted(entry.key[1] for entry in self.entries if entry.key[0] == kind)

    @cached_property
    def packed(self) -> bytes:
        """The change in bytes, which `Change.unpacked` takes."""
        rows = [
            [
                *entry.key,
                _to_json(entry.before),
                _to_json(entry.after),
                *([list(entry.box)] if isinstance(entry, SliceEntry) else []),
            ]
            for entry in self.entries
        ]
        parts = [entry.pixels for entry in self.entries if isinstance(entry, SliceEntry)]
        return pack({"title": self.title, "entries": rows, "sizes": [len(part) for part in parts]}, parts)

    @classmethod
    def unpacked(cls, data: bytes, shape: Shape, where: str | Path) -> Change:
        """A change from its bytes.

        Args:
            shape: of the volume, (D, H, W); what does not fit is refused.
            where: the file, for messages.

        Raises:
            InputError: these are not the bytes of a change of such a volume.
        """
        head, body = unpack(data, where)
        rows, title = head.get("entries"), head.get("title")
        if not isinstance(title, str) or len(title) > MAX_TITLE or not isinstance(rows, list) or not rows:
            raise damaged(where, "a change without title or entries")
        parts = iter(split(body, head.get("sizes"), where))
        entries = [_entry(row, parts, shape, where) for row in rows]
        if next(parts, None) is not None or len({entry.key for entry in entries}) != len(entries):
            raise damaged(where, "a change whose entries do not fit its parts")
        change = cls(title, entries)
        change.packed = data  # saves packing it again
        return change


def title_of(packed: bytes) -> str:
    """The title of a change from its bytes."""
    return str(unpack(packed, "history")[0].get("title", ""))


def says_from_json(content: object, where: str | Path) -> Says:
    """Raises InputError unless it is what a slice says, as it was written."""
    if not isinstance(content, list) or len(content) != 3:
        raise damaged(where, "what a slice says in another form")
    speaks, complete, kind = content
    if not isinstance(speaks, list) or not all(type(v) is int and 1 <= v <= MAX_LABEL for v in speaks):
        raise damaged(where, "a slice that speaks for what is no label")
    if type(complete) is not bool or kind not in KINDS or not (speaks or complete):
        raise damaged(where, "a slice of no known kind")
    return Says(frozenset(speaks), complete, kind)


def extent_from_json(content: object, depth: int, where: str | Path) -> Extent:
    """Raises InputError unless it is a first and a last slice of a volume of `depth` slices."""
    if not isinstance(content, list) or len(content) != 2 or not all(type(z) is int for z in content):
        raise damaged(where, "an extent in another form")
    first, last = content
    if not 0 <= first <= last < depth:
        raise damaged(where, f"an extent from {first} to {last} in a volume of {depth} slices")
    return first, last


def digest_from_json(content: object, where: str | Path) -> str:
    """Raises InputError unless it is a digest in hexadecimal."""
    if not isinstance(content, str) or not 1 <= len(content) <= _MAX_DIGEST or set(content) - set("0123456789abcdef"):
        raise damaged(where, "a digest in another form")
    return content


def says_to_json(says: Says) -> list[Any]:
    """As it is written; `says_from_json` reads it."""
    return [sorted(says.speaks), says.complete, says.kind]


def _to_json(value: Says | LabelState | Extent | str | None) -> Any:
    if isinstance(value, Says):
        return says_to_json(value)
    return label_to_json(value) if isinstance(value, LabelState) else value


def _entry(row: object, parts: Any, shape: Shape, where: str | Path) -> Entry | SliceEntry:
    if not isinstance(row, list) or len(row) not in (4, 5) or type(row[1]) is not int:
        raise damaged(where, "an entry in another form")
    kind, number, before, after = row[:4]
    low, high = (0, shape[0] - 1) if kind in ("slice", "rejected") else (1, MAX_LABEL)
    if kind not in ("slice", "label", "extent", "rejected") or not low <= number <= high:
        raise damaged(where, f"an entry for {kind} {number}"[:MAX_TITLE])
    if (kind == "slice") != (len(row) == 5):
        raise damaged(where, "an entry in another form")
    if kind != "slice":
        return Entry((kind, number), *(_value(kind, content, shape[0], where) for content in (before, after)))
    says = [None if content is None else says_from_json(content, where) for content in (before, after)]
    box, pixels = row[4], next(parts, None)
    if not isinstance(box, list) or len(box) != 4 or not all(type(edge) is int for edge in box) or pixels is None:
        raise damaged(where, "a slice's change without its pixels")
    top, bottom, left, right = box
    if not (0 <= top <= bottom <= shape[1] and 0 <= left <= right <= shape[2]):
        raise damaged(where, "a box outside the slice")
    return SliceEntry((kind, number), says[0], says[1], (top, bottom, left, right), pixels)


def _value(kind: str, content: object, depth: int, where: str | Path) -> LabelState | Extent | str | None:
    if content is None:
        return None
    if kind == "label":
        return label_from_json(content, where)
    return extent_from_json(content, depth, where) if kind == "extent" else digest_from_json(content, where)


def _says(given: GivenSlice | None) -> Says | None:
    return None if given is None else given.says


def _box(changed: np.ndarray) -> tuple[int, int, int, int]:
    """Rows and columns (first, end, first, end) around what is True; empty if nothing is."""
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    if not rows.size:
        return 0, 0, 0, 0
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
