"""The document against a slow model that goes pixel by pixel: random actions, undo, redo, a replayed journal."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.annotate.changes import Change
from tools.annotate.document import Document
from tools.annotate.given import GivenSlice
from volumes.errors import InputError

SHAPE = (3, 4, 5)
PIXELS = [(y, x) for y in range(4) for x in range(5)]
Action = tuple[str, tuple[Any, ...]]


@dataclass
class Slice:
    pixels: dict[tuple[int, int], int] = field(default_factory=dict)  # painted ones only
    speaks: set[int] = field(default_factory=set)
    complete: bool = False
    kind: str = "painted"


@dataclass
class Model:
    """What the document should be; `None` from an action: refused, or nothing changes."""

    names: dict[int, str] = field(default_factory=lambda: {1: "a", 2: "b"})
    locked: set[int] = field(default_factory=set)
    slices: dict[int, Slice] = field(default_factory=dict)
    extents: dict[int, tuple[int, int]] = field(default_factory=dict)

    def outside(self, label: int, z: int) -> bool:
        return label in self.extents and not self.extents[label][0] <= z <= self.extents[label][1]

    def seen(self, z: int, proposal: np.ndarray) -> dict[tuple[int, int], int]:
        given = self.slices.get(z, Slice())
        seen = dict(given.pixels)
        for at in PIXELS:
            label = int(proposal[at])
            known = label in self.names and not self.outside(label, z)
            if at not in seen and known and not given.complete and label not in given.speaks:
                seen[at] = label
        return seen

    def _write(self, z: int, new: Slice) -> None:
        self.slices.pop(z, None)
        if new.speaks or new.complete:
            self.slices[z] = new

    def _edit(self, z: int, new: Slice) -> None:
        old = self.slices.get(z, Slice())
        if (new.pixels, new.speaks) != (old.pixels, old.speaks):
            new.kind = "painted"
            self._write(z, new)

    def paint(self, z: int, label: int, pixels: np.ndarray, proposal: np.ndarray) -> None:
        if label not in self.names or label in self.locked or self.outside(label, z):
            return
        seen, new = self.seen(z, proposal), copy.deepcopy(self.slices.get(z, Slice()))
        stroke = [at for at in PIXELS if pixels[at] and seen.get(at) not in self.locked]
        if not stroke:
            return
        if label not in new.speaks and not new.complete:
            new.pixels.update({at: label for at, one in seen.items() if one == label})
        new.pixels.update(dict.fromkeys(stroke, label))
        new.speaks.add(label)
        self._edit(z, new)

    def erase(self, z: int, label: int | None, pixels: np.ndarray, proposal: np.ndarray) -> None:
        if label is not None and (label not in self.names or label in self.locked):
            return
        seen, new = self.seen(z, proposal), copy.deepcopy(self.slices.get(z, Slice()))
        gone = {seen[at] for at in seen if pixels[at] and seen[at] not in self.locked and label in (None, seen[at])}
        for at, one in seen.items():
            if one in gone:
                new.pixels[at] = one
                if pixels[at]:
                    del new.pixels[at]
        new.speaks |= gone
        self._edit(z, new)

    def accept_all(self, proposals: list[tuple[int, np.ndarray]]) -> None:
        used = {label for one in self.slices.values() for label in one.pixels.values()}
        for z, seen in {z: self.seen(z, proposal) for z, proposal in proposals}.items():
            old = self.slices.get(z, Slice())
            self._write(z, Slice(seen, old.speaks | used | set(seen.values()), old.complete, "accepted"))

    def mark_absent(self, z: int, label: int) -> None:
        if label not in self.names or label in self.locked:
            return
        new = copy.deepcopy(self.slices.get(z, Slice()))
        new.pixels = {at: one for at, one in new.pixels.items() if one != label}
        new.speaks.add(label)
        self._edit(z, new)

    def clear(self, z: int) -> None:
        old = self.slices.get(z, Slice())
        kept = {at: one for at, one in old.pixels.items() if one in self.locked}
        self._write(z, Slice(kept, old.speaks & self.locked, False, old.kind))

    def clear_label(self, z: int, label: int) -> None:
        if label in self.names and label not in self.locked and z in self.slices:
            old = self.slices[z]
            speaks = (old.speaks | set(self.names) if old.complete else old.speaks) - {label}
            kept = {at: one for at, one in old.pixels.items() if one != label}
            self._write(z, Slice(kept, speaks, False, old.kind))

    def set_extent(self, label: int, extent: tuple[int, int] | None) -> None:
        if label not in self.names:
            return
        if extent is None:
            self.extents.pop(label, None)
        elif extent[0] <= extent[1] and not any(
            label in one.pixels.values() and not extent[0] <= z <= extent[1] for z, one in self.slices.items()
        ):
            self.extents[label] = extent

    def set_locked(self, label: int, locked: bool) -> None:
        if label in self.names:
            (self.locked.add if locked else self.locked.discard)(label)

    def add_label(self, name: str) -> None:
        if name not in self.names.values():
            self.names[max(self.names, default=0) + 1] = name

    def delete_label(self, label: int) -> None:
        if label not in self.names or label in self.locked:
            return
        del self.names[label]
        self.extents.pop(label, None)
        for z, one in list(self.slices.items()):
            kept = {at: value for at, value in one.pixels.items() if value != label}
            self._write(z, Slice(kept, one.speaks - {label}, one.complete, one.kind))

    def put_slices(self, slices: dict[int, GivenSlice], _title: str) -> None:
        if any(self._unwelcome(z, label, new) for z, new in slices.items() for label in new.speaks):
            return
        for z, new in slices.items():
            old = self.slices.get(z)
            merged = copy.deepcopy(old) or Slice(kind=new.kind)
            added = {label for label in new.speaks if not merged.complete and label not in merged.speaks}
            for at in PIXELS:
                if at not in merged.pixels and int(new.mask[at]) in added:
                    merged.pixels[at] = int(new.mask[at])
            merged.speaks |= added
            merged.complete = merged.complete or new.complete
            self._write(z, merged)

    def _unwelcome(self, z: int, label: int, new: GivenSlice) -> bool:
        old = self.slices.get(z, Slice())
        if old.complete or label in old.speaks:
            return False
        free = any(int(new.mask[at]) == label and at not in old.pixels for at in PIXELS)
        return label not in self.names or label in self.locked or (free and self.outside(label, z))


def same(document: Document, model: Model) -> None:
    assert {value: one.name for value, one in document.labels.items()} == model.names
    assert {value for value, one in document.labels.items() if one.locked} == model.locked
    assert document.extents == model.extents
    assert sorted(document.slices) == sorted(model.slices)
    for z, one in model.slices.items():
        mask = np.zeros(SHAPE[1:], np.uint8)
        for at, label in one.pixels.items():
            mask[at] = label
        assert document.slices[z] == GivenSlice(mask, frozenset(one.speaks), one.complete, one.kind)  # type: ignore[arg-type]


def described(document: Document) -> tuple[object, ...]:
    """The state without its history."""
    slices = {z: (given.mask.tobytes(), given.says) for z, given in sorted(document.slices.items())}
    return list(document.labels.items()), slices, sorted(document.extents.items()), sorted(document.rejected.items())


Z = st.integers(0, SHAPE[0] - 1)
LABEL = st.integers(1, 4)
MASK = st.lists(st.sampled_from([0, 0, 1, 2, 3]), min_size=20, max_size=20).map(
    lambda values: np.array(values, np.uint8).reshape(SHAPE[1:])
)
STROKE = st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(1, 4), st.integers(1, 5)).map(
    lambda one: np.array(
        [[one[0] <= y < one[0] + one[2] and one[1] <= x < one[1] + one[3] for x in range(5)] for y in range(4)]
    )
)
GIVEN = st.builds(
    lambda mask, more, complete: GivenSlice(
        mask, frozenset(more) | {int(v) for v in np.unique(mask) if v}, complete, "imported"
    ),
    MASK,
    st.sets(LABEL),
    st.booleans(),
)
ACTION = st.one_of(
    st.tuples(st.just("paint"), st.tuples(Z, LABEL, STROKE, MASK)),
    st.tuples(st.just("erase"), st.tuples(Z, st.none() | LABEL, STROKE, MASK)),
    st.tuples(st.just("accept_all"), st.tuples(st.lists(st.tuples(Z, MASK), max_size=3, unique_by=lambda one: one[0]))),
    st.tuples(st.just("mark_absent"), st.tuples(Z, LABEL)),
    st.tuples(st.just("clear"), st.tuples(Z)),
    st.tuples(st.just("clear_label"), st.tuples(Z, LABEL)),
    st.tuples(st.just("set_extent"), st.tuples(LABEL, st.none() | st.tuples(Z, Z))),
    st.tuples(st.just("set_locked"), st.tuples(LABEL, st.booleans())),
    st.tuples(st.just("add_label"), st.tuples(st.sampled_from("abcd"))),
    st.tuples(st.just("delete_label"), st.tuples(LABEL)),
    st.tuples(st.just("put_slices"), st.tuples(st.dictionaries(Z, GIVEN, max_size=2), st.just("import"))),
    st.tuples(st.sampled_from(["undo", "redo"]), st.just(())),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(ACTION, max_size=25))
def test_random_actions(actions: list[Action]) -> None:
    document = Document(SHAPE, {1: ("a", (0, 0, 0)), 2: ("b", (0, 0, 0))})
    start, past, future, model = described(document), [], [], Model()
    journal: list[Change | str] = []
    for name, arguments in actions:
        before, state, revision = copy.deepcopy(model), document.to_state(), document.revision
        if name in ("undo", "redo"):
            source, target = (past, future) if name == "undo" else (future, past)
            done: Change | None = getattr(document, name)()
            assert (done is None) == (not source)
            if source:
                target.append(model)
                model = source.pop()
                journal.append(name)
        else:
            getattr(model, name)(*arguments)
            try:
                done = getattr(document, name)(*arguments)
            except InputError:
                done = None
                assert document.to_state() == state, "a refused action has no effect"
            assert (done is None) == (model == before), name
            if done is not None:
                past.append(before)
                future.clear()
                journal.append(done)
        same(document, model)
        assert document.revision == revision + (done is not None) == len(journal)
        assert (document.can_undo, document.can_redo) == (bool(past), bool(future))
        if done is not None:
            after = document.to_state()
            document.take_back()
            assert document.to_state() == state, "as if it had never been"
            document = Document.from_state(state, SHAPE)
            replay(document, [journal[-1]])
            assert document.to_state() == after, "a journal's record does what the action did"

    replayed = Document(SHAPE, {1: ("a", (0, 0, 0)), 2: ("b", (0, 0, 0))})
    replay(replayed, journal)
    assert replayed.to_state() == document.to_state()
    while document.redo():
        pass
    end = described(document)
    while document.undo():
        pass
    assert described(document) == start
    while document.redo():
        pass
    assert described(document) == end


def replay(document: Document, journal: list[Change | str]) -> None:
    for record in journal:
        if isinstance(record, Change):
            document.act(Change.unpacked(record.packed, SHAPE, "journal"))
        else:
            getattr(document, record)()
