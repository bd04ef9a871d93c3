"""Changes and states as bytes: exact there and back, and no bytes whatever do harm."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.annotate.changes import Change
from tools.annotate.document import Document
from tools.annotate.given import GivenSlice
from tools.annotate.label_states import LabelState
from tools.annotate.packing import compress, decompress, pack, unpack
from volumes.errors import InputError

SHAPE = (4, 6, 7)
NOTHING = np.zeros(SHAPE[1:], np.uint8)


def busy() -> Document:
    """A document with something of everything, and with changes to undo and to redo."""
    document = Document(SHAPE, {1: ("liver", (1, 2, 3))})
    document.add_label("Ärteria x", (9, 8, 7))
    document.paint(1, 1, np.eye(6, 7, dtype=bool), NOTHING)
    document.paint(1, 2, np.ones((6, 7), bool), NOTHING)
    document.mark_absent(3, 2)
    document.set_extent(1, (1, 2))
    document.reject(2, NOTHING + np.uint8(2), "0f")
    document.accept(0, NOTHING + np.uint8(2))
    document.delete_label(2)
    document.undo()
    return document


def test_changes_come_back_exactly() -> None:
    document = busy()
    for packed in (*document._history.done, *document._history.undone):
        head, _ = unpack(packed, "test")
        change = Change.unpacked(packed, SHAPE, "test")
        again = Change(change.title, change.entries)
        assert again.packed == packed and Change.unpacked(again.packed, SHAPE, "test").entries == change.entries
        assert change.title == head["title"]


def test_entries_tell_what_was_before_and_after() -> None:
    document = busy()
    change = Change.unpacked(document._history.done[-1], SHAPE, "test")  # accept slice 0
    (entry,) = change.entries
    assert entry.key == ("slice", 0) and entry.before is None and entry.after == document.slices[0].says
    change = Change.unpacked(document._history.done[0], SHAPE, "test")  # add label
    assert isinstance(change.entries[0].after, LabelState)


def test_a_state_comes_back_exactly_with_its_history() -> None:
    document = busy()
    again = Document.from_state(document.to_state(), SHAPE)
    assert again.to_state() == document.to_state()
    assert (again.slices, again.labels, again.extents) == (document.slices, document.labels, document.extents)
    assert again.rejected == {2: "0f"} and again.redo_title == "delete label Ärteria x"
    for step in ("redo", *["undo"] * 8):
        assert getattr(again, step)() is not None
        getattr(document, step)()
        assert again.to_state() == document.to_state()
    assert not again.can_undo and not again.slices


def test_a_change_of_another_state_is_refused_whole() -> None:
    source = Document(SHAPE, {1: ("liver", (1, 2, 3)), 2: ("spleen", (1, 2, 3))})
    source.accept_all([(0, NOTHING + np.uint8(1)), (1, NOTHING + np.uint8(1))])
    change = source.paint(1, 2, np.ones((6, 7), bool), NOTHING)
    assert change is not None
    slices = {0: source.slices[0], 1: GivenSlice(NOTHING + np.uint8(2), frozenset({2}))}
    other = Document(SHAPE, {1: ("liver", (1, 2, 3)), 2: ("spleen", (1, 2, 3))})
    other.put_slices(slices, "import")
    before = other.to_state()
    with pytest.raises(InputError, match="not as the change found it"):
        other.act(change)
    assert other.to_state() == before


def changed_head(packed: bytes, **replaced: Any) -> bytes:
    head, body = unpack(packed, "test")
    return pack({**head, **replaced}, [body])


@pytest.mark.parametrize(
    "replaced",
    [
        {"title": None},
        {"title": "x" * 201},
        {"entries": []},
        {"entries": None},
        {"entries": [["slice", 4, None, [[1], False, "painted"], [0, 6, 0, 7]]]},
        {"entries": [["slice", -1, None, [[1], False, "painted"], [0, 6, 0, 7]]]},
        {"entries": [["slice", True, None, [[1], False, "painted"], [0, 6, 0, 7]]]},
        {"entries": [["slice", 1, None, [[0], False, "painted"], [0, 6, 0, 7]]]},
        {"entries": [["slice", 1, None, [[1], 0, "painted"], [0, 6, 0, 7]]]},
        {"entries": [["slice", 1, None, [[1], False, "guessed"], [0, 6, 0, 7]]]},
        {"entries": [["slice", 1, None, [[1], False, ["painted"]], [0, 6, 0, 7]]]},
        {"entries": [["slice", 1, None, [[1], False, "painted"], [0, 7, 0, 7]]]},
        {"entries": [["slice", 1, None, [[1], False, "painted"], [4, 3, 0, 7]]]},
        {"entries": [["slice", 1, None, [[1], False, "painted"], [0, 10**12, 0, 7]]]},
        {"entries": [["slice", 1, None, [[1], False, "painted"]]]},
        {"entries": [["label", 0, None, None]]},
        {"entries": [["label", 1, None, {"name": "x"}]]},
        {"entries": [["extent", 1, None, [2, 1]]]},
        {"entries": [["extent", 1, None, [0, 4]]]},
        {"entries": [["rejected", 1, None, "../x"]]},
        {"entries": [["rejected", 1, None, ""]]},
        {"entries": [["__class__", 1, None, None]]},
        {"entries": [["rejected", 1, None, "ab"], ["rejected", 1, None, "ab"]]},
        {"entries": [[["slice"], 1, None, None]]},
        {"sizes": [10**15]},
        {"sizes": [-1]},
        {"sizes": None},
        {"sizes": []},
    ],
)
def test_a_change_of_another_form_is_refused(replaced: dict[str, Any]) -> None:
    document = Document(SHAPE, {1: ("liver", (1, 2, 3))})
    change = document.paint(1, 1, np.ones((6, 7), bool), NOTHING)
    assert change is not None
    with pytest.raises(InputError):
        Change.unpacked(changed_head(change.packed, **replaced), SHAPE, "test")


def test_a_mask_that_unpacks_to_more_than_it_may_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(30_000_000), 9)
    head = {
        "title": "x",
        "entries": [["slice", 1, None, [[1], False, "painted"], [0, 6, 0, 7]]],
        "sizes": [len(bomb)],
    }
    change = Change.unpacked(pack(head, [bomb]), SHAPE, "test")
    tracemalloc.start()
    with pytest.raises(InputError, match="not of 42 pixels"):
        Document(SHAPE, {1: ("liver", (1, 2, 3))}).act(change)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_mask_with_bytes_too_many_or_too_few_is_refused() -> None:
    whole = compress(NOTHING)
    assert not decompress(whole, 42, "test").any()
    for data in (whole + b"x", whole + whole, whole[:-1], whole[:-4], b""):
        with pytest.raises(InputError):
            decompress(data, 42, "test")


@pytest.mark.parametrize(
    "head", [b"", b"[]", b"{", b"[" * 100_000, b"\xff", b'{"title":' + b"9" * 5000 + b"}", b'{"sizes":[NaN]}']
)
def test_a_head_that_is_none_is_refused(head: bytes) -> None:
    for data in (struct.pack("<I", len(head)) + head, struct.pack("<I", 0xFFFFFFFF) + head, head[:3]):
        with pytest.raises(InputError):
            Change.unpacked(data, SHAPE, "test")
        with pytest.raises(InputError):
            Document.from_state(data, SHAPE)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_damaged_bytes_are_refused_or_mean_something(data: st.DataObject) -> None:
    """Without the checksum that guards them on the disk: still no other error than the one for people."""
    document = busy()
    change = document._history.done[1]
    for source, read in (
        (change, lambda content: start().act(Change.unpacked(content, SHAPE, "test"))),
        (document.to_state(), lambda content: unwind(Document.from_state(content, SHAPE))),
    ):
        content = bytearray(source)
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        content = content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]
        try:
            read(bytes(content))
        except InputError as error:
            assert "\n" not in str(error)


def start() -> Document:
    document = Document(SHAPE, {1: ("liver", (1, 2, 3))})
    document.add_label("Ärteria x", (9, 8, 7))
    return document


def unwind(document: Document) -> None:
    while document.undo():
        pass


@pytest.mark.parametrize(
    "replaced",
    [
        {"format": 2},
        {"shape": [4, 7, 6]},
        {"revision": -1},
        {"revision": "1"},
        {"done": 99},
        {"done": -1},
        {"labels": [[256, {}]]},
        {"labels": [[1, {"name": "a", "color": [0, 0, 0], "visible": 1, "locked": False, "order": 0}]]},
        {"slices": [[0, [[1], False, "painted"]], [0, [[1], False, "painted"]]]},
        {"slices": [[4, [[1], False, "painted"]]]},
        {"extents": {"1": [0, 1]}},
        {"rejected": [[0, 5]]},
        {"sizes": [1]},
    ],
)
def test_a_state_of_another_form_is_refused(replaced: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Document.from_state(changed_head(busy().to_state(), **replaced), SHAPE)


def test_a_state_of_another_volume_is_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        Document.from_state(busy().to_state(), (4, 7, 6))


def test_a_stroke_takes_few_bytes() -> None:
    document = Document((1, 512, 512), {1: ("liver", (1, 2, 3))})
    rows, columns = np.mgrid[:512, :512]
    change = document.paint(0, 1, (rows - 200) ** 2 + (columns - 300) ** 2 < 15**2, np.zeros((512, 512), np.uint8))
    assert change is not None and len(change.packed) < 400
