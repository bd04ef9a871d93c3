"""Labels, their marks, and whole slices that come from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tools.annotate.document import Document
from tools.annotate.given import GivenSlice
from volumes.errors import InputError
from volumes.labels import distinct_color

SHAPE = (6, 5, 4)
NOTHING = np.zeros(SHAPE[1:], np.uint8)


def rows(*numbers: int) -> NDArray[np.bool_]:
    pixels = np.zeros(SHAPE[1:], bool)
    pixels[list(numbers)] = True
    return pixels


def mask(**labels: int) -> NDArray[np.uint8]:
    """Row 0 for `r0`, and so on: the label that fills it."""
    painted = NOTHING.copy()
    for row, label in labels.items():
        painted[int(row[1:])] = label
    return painted


@pytest.fixture
def document() -> Document:
    return Document(SHAPE, {1: ("liver", (9, 9, 9)), 2: ("spleen", (8, 8, 8))})


def test_labels_to_begin_with_are_not_undone(document: Document) -> None:
    assert not document.can_undo and document.revision == 0 and list(document.labels) == [1, 2]


def test_a_label_gets_a_number_a_colour_and_a_place(document: Document) -> None:
    document.add_label("  left kidney ")
    document.add_label("aorta", (1, 2, 3), value=200)
    document.add_label("vein")

    assert list(document.labels) == [1, 2, 3, 200, 201]
    assert document.labels[3].name == "left kidney" and document.labels[3].color == distinct_color(3)
    assert document.labels[200].color == (1, 2, 3)


def test_numbers_run_out(document: Document) -> None:
    document.add_label("last", value=255)
    document.add_label("next")
    assert 3 in document.labels
    full = Document(SHAPE, {value: (f"one {value}", (0, 0, 0)) for value in range(1, 256)})
    with pytest.raises(InputError, match="room for one more"):
        full.add_label("another")


@pytest.mark.parametrize("name", ["", "  ", "12", "two\nlines", "x" * 101, "Liver", None])
def test_a_name_that_will_not_do_is_refused(document: Document, name: str) -> None:
    with pytest.raises(InputError):
        document.add_label(name)
    with pytest.raises(InputError):
        document.rename_label(2, name)
    assert document.revision == 0


@pytest.mark.parametrize("color", [(1, 2), (1, 2, 256), (1, 2, 3.0), "red", (True, 2, 3)])
def test_a_colour_that_will_not_do_is_refused(document: Document, color: tuple[int, int, int]) -> None:
    with pytest.raises(InputError):
        document.recolor_label(1, color)
    with pytest.raises(InputError):
        document.add_label("new", color)
    assert document.revision == 0


@pytest.mark.parametrize("value", [0, 256, 1, -3, True])
def test_a_number_that_will_not_do_is_refused(document: Document, value: int) -> None:
    with pytest.raises(InputError, match="free one"):
        document.add_label("new", value=value)


def test_labels_change_and_change_back(document: Document) -> None:
    before = dict(document.labels)
    for change in (
        document.rename_label(1, "Liver"),
        document.recolor_label(1, (1, 2, 3)),
        document.set_visible(1, False),
        document.set_locked(1, True),
    ):
        assert change is not None and change.touched("label") == [1] and not change.touched("slice")
    state = document.labels[1]
    assert (state.name, state.color, state.visible, state.locked) == ("Liver", (1, 2, 3), False, True)
    assert document.set_locked(1, True) is None
    for _ in range(4):
        document.undo()
    assert document.labels == before


def test_a_deleted_label_goes_from_every_slice_and_comes_back_to_its_place(document: Document) -> None:
    document.paint(1, 1, rows(0, 1), NOTHING)
    document.paint(1, 2, rows(2), NOTHING)
    document.paint(3, 1, rows(4), NOTHING)
    document.mark_absent(4, 1)
    document.set_extent(1, (1, 3))
    before = dict(document.slices), dict(document.extents), list(document.labels.items())

    change = document.delete_label(1)

    assert change is not None and change.touched("slice") == [1, 3, 4] and change.touched("extent") == [1]
    assert document.slices == {1: GivenSlice(mask(r2=2), frozenset({2}))}
    assert list(document.labels) == [2] and not document.extents
    document.undo()
    assert (document.slices, document.extents, list(document.labels.items())) == before


def test_marks_keep_to_the_volume_and_to_what_was_painted(document: Document) -> None:
    document.paint(2, 1, rows(0), NOTHING)
    for marks in ((3, 5), (0, 1), (4, 3), (-1, 4), (0, 6)):
        with pytest.raises(InputError):
            document.set_extent(1, marks)
    document.set_extent(1, (2, 4))
    assert document.extents == {1: (2, 4)}
    document.set_extent(1, None)
    assert not document.extents and document.set_extent(1, None) is None


def test_painting_outside_the_marks_is_refused_with_a_fix(document: Document) -> None:
    document.set_extent(1, (2, 4))
    with pytest.raises(InputError, match="widen or remove its extent"):
        document.paint(1, 1, rows(0), NOTHING)
    with pytest.raises(InputError, match="widen or remove its extent"):
        document.put_slices({5: GivenSlice(mask(r0=1), frozenset({1}))}, "import")
    document.paint(1, 2, rows(0), NOTHING)
    document.mark_absent(0, 1)
    document.put_slices({5: GivenSlice(NOTHING, frozenset({1}))}, "import")  # absent there: no contradiction
    assert document.slices[5].absent == {1}


def test_what_a_slice_says_stays_when_others_come(document: Document) -> None:
    document.paint(1, 1, rows(0, 1), NOTHING)

    document.put_slices(
        {
            1: GivenSlice(mask(r1=2, r2=2, r3=1), frozenset({1, 2}), kind="automatic"),
            2: GivenSlice(mask(r0=1), frozenset({1, 2}), kind="automatic"),
        },
        "automatic start",
    )

    assert document.slices[1] == GivenSlice(mask(r0=1, r1=1, r2=2), frozenset({1, 2}), kind="painted")
    assert document.slices[2] == GivenSlice(mask(r0=1), frozenset({1, 2}), kind="automatic")
    assert document.undo_title == "automatic start"
    document.undo()
    assert list(document.slices) == [1] and document.slices[1].speaks == {1}


def test_labels_come_with_their_slices_in_one_step(document: Document) -> None:
    slices = {2: GivenSlice(mask(r0=7), frozenset({7}), kind="imported")}
    with pytest.raises(InputError, match="no such label"):
        document.put_slices(slices, "import x.nii.gz")

    document.put_slices(slices, "import x.nii.gz", {7: ("aorta", (1, 2, 3)), 1: ("other", (0, 0, 0))})

    assert document.labels[7].name == "aorta" and document.labels[1].name == "liver" and document.revision == 1
    document.undo()
    assert 7 not in document.labels and not document.slices


def test_slices_of_another_grid_are_refused(document: Document) -> None:
    with pytest.raises(InputError, match="own grid"):
        document.put_slices({2: GivenSlice(np.ones((4, 5), np.uint8), frozenset({1}))}, "import")
    with pytest.raises(InputError, match="0 to 5"):
        document.put_slices({6: GivenSlice(mask(r0=1), frozenset({1}))}, "import")
    assert document.revision == 0
