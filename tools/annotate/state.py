"""The annotation's state: labels, given slices, marks and history, and how changes move it.

Everything that is to survive is in `State`; the actions of a person are in `document`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from tools.annotate.changes import (
    Change,
    Entry,
    Extent,
    Key,
    Shape,
    SliceEntry,
    Value,
    digest_from_json,
    extent_from_json,
    says_from_json,
    says_to_json,
)
from tools.annotate.given import GivenSlice
from tools.annotate.history import History
from tools.annotate.label_states import LabelState, label_from_json, label_to_json
from tools.annotate.packing import compress, damaged, decompress, pack, split, unpack
from volumes.labels import MAX_LABEL

_FORMAT = 1

_State = TypeVar("_State", bound="State")


class State:
    """State of one case, without a way to change it but by changes.

    Args:
        shape: (D, H, W) of the volume.

    Attributes:
        labels: value -> `LabelState`, in order of addition.
        slices: z -> `GivenSlice`, of those that say something.
        extents: label -> (first, last) slice, both inside.
        rejected: z -> digest of the proposal that was rejected there.
        revision: number of changes, undos and redos so far.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.labels: dict[int, LabelState] = {}
        self.slices: dict[int, GivenSlice] = {}
        self.extents: dict[int, Extent] = {}
        self.rejected: dict[int, str] = {}
        self.revision = 0
        self._next_order = 0  # of labels; never given twice, so that it tells a label from others of its number
        self._order_before = 0  # the last new change
        self._history = History()

    @property
    def names(self) -> dict[int, str]:
        """What the labels are called."""
        return {value: label.name for value, label in self.labels.items()}

    # Undo and redo.

    @property
    def can_undo(self) -> bool:
        return bool(self._history.done)

    @property
    def can_redo(self) -> bool:
        return bool(self._history.undone)

    @property
    def undo_title(self) -> str | None:
        """What `undo` would take back, None if nothing."""
        return self._history.undo_title

    @property
    def redo_title(self) -> str | None:
        """What `redo` would do again, None if nothing."""
        return self._history.redo_title

    def undo(self) -> Change | None:
        """Take the newest change back; returns it, to be read from after to before, or None."""
        if not self.can_undo:
            return None
        change = self._unpacked(self._history.done[-1])
        self._apply(change, forward=False)
        self._history.undo()
        self.revision += 1
        return change

    def redo(self) -> Change | None:
        """Do the change again that was undone last; returns it, or None."""
        if not self.can_redo:
            return None
        change = self._unpacked(self._history.undone[-1])
        self._apply(change, forward=True)
        self._history.redo()
        self.revision += 1
        return change

    def act(self, change: Change) -> Change:
        """Apply a change that was made from this state, as a journal brings it back; returns it.

        Raises:
            InputError: it was made from another state. Nothing has changed then.
        """
        return self._done(change, self._outcome(change, forward=True))

    def fork(self: _State) -> _State:
        """The same state, without a history, to work a change out beside this one; `adopt` takes it over."""
        other = copy.copy(self)
        for table in _TABLES.values():
            setattr(other, table, dict(getattr(self, table)))
        other._history = History()
        return other

    def adopt(self, fork: State, change: Change) -> Change:
        """Apply a change that was done to a fork of this state; returns it. This one must not have changed since."""
        return self._done(change, {entry.key: fork.value(entry.key) for entry in change.entries})

    def take_back(self) -> None:
        """As if the last action, undo or redo had never been: for one that could not be saved.

        Works once after each; what a new action made redo forget is there again.
        """
        move = self._history.last
        assert move is not None, "nothing to take back"
        newest = self._history.undone[-1] if move == "undo" else self._history.done[-1]
        self._apply(self._unpacked(newest), forward=move == "undo")
        if move == "act":
            self._next_order = self._order_before
        self._history.take_back()
        self.revision -= 1

    # To bytes and back.

    def to_state(self) -> bytes:
        """All of it, undo and redo included, as `from_state` takes it; equal states give equal bytes."""
        slices = sorted(self.slices.items())
        done, undone = self._history.done, self._history.undone
        masks = [compress(given.mask) for _, given in slices]
        head = {
            "format": _FORMAT,
            "shape": list(self.shape),
            "revision": self.revision,
            "labels": [[value, label_to_json(label)] for value, label in self.labels.items()],
            "next_order": self._next_order,
            "extents": [[label, list(extent)] for label, extent in sorted(self.extents.items())],
            "rejected": [[z, digest] for z, digest in sorted(self.rejected.items())],
            "slices": [[z, says_to_json(given.says)] for z, given in slices],
            "done": len(done),
            "sizes": [len(part) for part in (*masks, *done, *undone)],
        }
        return pack(head, (*masks, *done, *undone))

    def _fill(self, data: bytes, where: str | Path) -> None:
        head, body = unpack(data, where)
        if head.get("format") != _FORMAT:
            raise damaged(where, f"format {head.get('format')}"[:40])
        if head.get("shape") != list(self.shape):
            raise damaged(where, f"the shape {head.get('shape')} for a volume of {list(self.shape)}"[:80])
        parts = split(body, head.get("sizes"), where)
        revision, done, order = head.get("revision"), head.get("done"), head.get("next_order", 0)
        slices = _rows(head, "slices", self.shape[0] - 1, where)
        if type(revision) is not int or revision < 0 or type(done) is not int or type(order) is not int:
            raise damaged(where, "a state without revision or history")
        if not 0 <= done <= len(parts) - len(slices):
            raise damaged(where, "a state whose history does not fit its parts")
        for value, content in _rows(head, "labels", MAX_LABEL, where):
            self._set(("label", value), label_from_json(content, where))
        for label, content in _rows(head, "extents", MAX_LABEL, where):
            self._set(("extent", label), extent_from_json(content, self.shape[0], where))
        for z, content in _rows(head, "rejected", self.shape[0] - 1, where):
            self._set(("rejected", z), digest_from_json(content, where))
        _, height, width = self.shape
        for (z, content), part in zip(slices, parts, strict=False):
            mask = decompress(part, height * width, where).reshape(height, width)
            self._set(("slice", z), GivenSlice(mask, *says_from_json(content, where)))
        history = parts[len(slices) :]
        self._history = History(history[:done], history[done:])
        self._next_order = max(self._next_order, order)
        self.revision = revision

    # How it is done.

    def value(self, key: Key) -> Value:
        """What a key of a change holds now; None for nothing."""
        kind, number = key
        table: dict[int, Any] = getattr(self, _TABLES[kind])
        return table.get(number)

    def _done(self, change: Change, values: Mapping[Key, Value]) -> Change:
        """A new change has come to these values."""
        self._order_before = self._next_order
        for key, value in values.items():
            self._set(key, value)
        self._history.act(change.packed)
        self.revision += 1
        return change

    def _apply(self, change: Change, *, forward: bool) -> None:
        for key, value in self._outcome(change, forward=forward).items():
            self._set(key, value)

    def _outcome(self, change: Change, *, forward: bool) -> dict[Key, Value]:
        """What the change's keys hold after it, or, backward, before it; raises InputError if this is not its state."""
        values: dict[Key, Value] = {}
        for entry in change.entries:
            current = self.value(entry.key)
            if isinstance(entry, SliceEntry):
                assert current is None or isinstance(current, GivenSlice)
                values[entry.key] = entry.applied(current, self.shape, forward=forward)
            else:
                values[entry.key] = _moved(entry, current, forward=forward)
        return values

    def _set(self, key: Key, value: Value) -> None:
        kind, number = key
        table: dict[int, Any] = getattr(self, _TABLES[kind])
        if value is None:
            table.pop(number, None)
        else:
            table[number] = value
        if kind == "label":  # one that comes back comes back to its place
            if isinstance(value, LabelState):
                self._next_order = max(self._next_order, value.order + 1)
            self.labels = dict(sorted(self.labels.items(), key=lambda item: (item[1].order, item[0])))

    def _unpacked(self, packed: bytes) -> Change:
        return Change.unpacked(packed, self.shape, "history")


_TABLES = {"slice": "slices", "label": "labels", "extent": "extents", "rejected": "rejected"}


def _moved(entry: Entry, current: Value, *, forward: bool) -> Value:
    source, target = (entry.before, entry.after) if forward else (entry.after, entry.before)
    if current != source:
        raise damaged(f"a change of {entry.key[0]} {entry.key[1]}", "something that is not as the change found it")
    return target


def _rows(head: dict[str, Any], name: str, highest: int, where: str | Path) -> list[tuple[int, Any]]:
    """Pairs of a number from 0 to `highest`, each once, and what belongs to it."""
    rows = head.get(name)
    if not isinstance(rows, list):
        raise damaged(where, f"a state without {name}")
    seen: set[int] = set()
    for row in rows:
        if not isinstance(row, list) or len(row) != 2 or type(row[0]) is not int or not 0 <= row[0] <= highest:
            raise damaged(where, f"{name} in another form")
        if row[0] in seen:
            raise damaged(where, f"{name} {row[0]} twice")
        seen.add(row[0])
    return [(row[0], row[1]) for row in rows]
