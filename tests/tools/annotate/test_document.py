"""What painting, erasing and accepting do to a slice, and what they must not touch."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tools.annotate.document import Document
from tools.annotate.given import GivenSlice, proposal_digest, shown
from volumes.errors import InputError

SHAPE = (6, 8, 9)
LIVER, SPLEEN, AORTA = 1, 2, 3
LABELS = {LIVER: ("liver", (200, 60, 40)), SPLEEN: ("spleen", (40, 60, 200)), AORTA: ("aorta", (250, 0, 0))}
NOTHING = np.zeros(SHAPE[1:], np.uint8)


@pytest.fixture
def document() -> Document:
    return Document(SHAPE, LABELS)


def box(top: int, bottom: int, left: int = 0, right: int = 9) -> NDArray[np.bool_]:
    pixels = np.zeros(SHAPE[1:], bool)
    pixels[top:bottom, left:right] = True
    return pixels


def filled(*areas: tuple[int, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    mask = NOTHING.copy()
    for label, pixels in areas:
        mask[pixels] = label
    return mask


def test_a_stroke_is_given_and_speaks_for_its_label_alone(document: Document) -> None:
    change = document.paint(2, LIVER, box(1, 3), NOTHING)

    assert change is not None and change.title == "brush liver, slice 2" and change.touched("slice") == [2]
    given = document.slices[2]
    assert np.array_equal(given.mask, filled((LIVER, box(1, 3))))
    assert (given.speaks, given.complete, given.kind) == ({LIVER}, False, "painted")
    assert document.revision == 1 and document.undo_title == "brush liver, slice 2"


def test_the_same_stroke_again_is_no_change(document: Document) -> None:
    document.paint(2, LIVER, box(1, 3), NOTHING)
    assert document.paint(2, LIVER, box(1, 2), NOTHING) is None
    assert document.paint(2, LIVER, box(0, 0), NOTHING) is None
    assert document.revision == 1


def test_an_overpainted_label_loses_its_pixels_and_is_still_spoken_for(document: Document) -> None:
    document.paint(2, LIVER, box(1, 3), NOTHING)
    document.paint(2, SPLEEN, box(1, 3), NOTHING)

    assert document.slices[2].labels == {SPLEEN} and document.slices[2].absent == {LIVER}


def test_the_first_stroke_adopts_the_proposal_of_its_label_and_of_no_other(document: Document) -> None:
    document.paint(2, AORTA, box(0, 1), NOTHING)
    proposal = filled((LIVER, box(0, 4)), (SPLEEN, box(5, 8)))

    document.paint(2, LIVER, box(4, 6), proposal)

    given = document.slices[2]
    assert np.array_equal(given.mask, filled((AORTA, box(0, 1)), (LIVER, box(1, 6))))
    assert given.speaks == {LIVER, AORTA}
    seen = filled((AORTA, box(0, 1)), (LIVER, box(1, 6)), (SPLEEN, box(6, 8)))
    assert np.array_equal(document.shown(2, proposal), seen)


def test_a_later_proposal_of_an_adopted_label_is_not_taken(document: Document) -> None:
    document.paint(2, LIVER, box(0, 1), NOTHING)
    document.paint(2, LIVER, box(7, 8), filled((LIVER, box(0, 6))))
    assert np.array_equal(document.slices[2].mask, filled((LIVER, box(0, 1) | box(7, 8))))


def test_erasing_a_proposal_adopts_what_is_left_of_it(document: Document) -> None:
    proposal = filled((LIVER, box(0, 4)), (SPLEEN, box(5, 8)))

    document.erase(2, LIVER, box(2, 8), proposal)

    assert np.array_equal(document.slices[2].mask, filled((LIVER, box(0, 2)))) and document.slices[2].speaks == {LIVER}
    assert np.array_equal(document.shown(2, proposal), filled((LIVER, box(0, 2)), (SPLEEN, box(5, 8))))


def test_erasing_all_labels_takes_those_under_the_pixels(document: Document) -> None:
    document.paint(2, AORTA, box(0, 1), NOTHING)
    proposal = filled((LIVER, box(1, 4)), (SPLEEN, box(5, 8)))

    change = document.erase(2, None, box(0, 2, 0, 4), proposal)

    assert change is not None and change.title == "erase 2 labels, slice 2"
    assert document.slices[2].speaks == {LIVER, AORTA}
    expected = filled((AORTA, box(0, 1, 4)), (LIVER, box(1, 4)), (SPLEEN, box(5, 8)))
    expected[1, :4] = 0
    assert np.array_equal(document.shown(2, proposal), expected)
    assert document.erase(2, None, box(4, 5), proposal) is None, "nothing is seen there"


@pytest.mark.parametrize("proposed", [False, True])
def test_a_locked_label_is_never_painted_over(document: Document, proposed: bool) -> None:
    proposal = filled((LIVER, box(2, 5))) if proposed else NOTHING
    if not proposed:
        document.paint(2, LIVER, box(2, 5), NOTHING)
    document.set_locked(LIVER, True)

    document.paint(2, SPLEEN, box(0, 8), proposal)
    assert np.array_equal(document.shown(2, proposal), filled((SPLEEN, box(0, 8)), (LIVER, box(2, 5))))
    document.erase(2, None, box(0, 8), proposal)
    assert np.array_equal(document.shown(2, proposal), filled((LIVER, box(2, 5))))
    assert document.paint(2, SPLEEN, box(3, 4), proposal) is None
    document.clear(2)
    assert np.array_equal(document.shown(2, proposal), filled((LIVER, box(2, 5))))


def test_a_locked_label_refuses_every_edit_of_itself(document: Document) -> None:
    document.paint(2, LIVER, box(2, 5), NOTHING)
    document.set_locked(LIVER, True)
    before = document.to_state()

    for edit in (
        lambda: document.paint(2, LIVER, box(0, 1), NOTHING),
        lambda: document.erase(2, LIVER, box(0, 8), NOTHING),
        lambda: document.mark_absent(2, LIVER),
        lambda: document.clear_label(2, LIVER),
        lambda: document.delete_label(LIVER),
        lambda: document.put_slices({3: GivenSlice(filled((LIVER, box(0, 1))), frozenset({LIVER}))}, "import"),
    ):
        with pytest.raises(InputError, match="unlock it first"):
            edit()
    assert document.to_state() == before


def test_an_unlocked_label_can_be_painted_over_again(document: Document) -> None:
    document.paint(2, LIVER, box(2, 5), NOTHING)
    document.set_locked(LIVER, True)
    document.set_locked(LIVER, False)
    document.paint(2, SPLEEN, box(0, 8), NOTHING)
    assert document.slices[2].labels == {SPLEEN}


def test_an_accepted_slice_is_what_was_seen_and_speaks_for_all_labels_in_use(document: Document) -> None:
    document.paint(2, AORTA, box(0, 1), NOTHING)
    document.paint(4, SPLEEN, box(0, 1), NOTHING)
    proposal = filled((LIVER, box(0, 4)))

    document.accept(2, proposal)

    given = document.slices[2]
    assert np.array_equal(given.mask, filled((AORTA, box(0, 1)), (LIVER, box(1, 4))))
    assert given.kind == "accepted" and given.speaks == {LIVER, SPLEEN, AORTA}
    assert np.array_equal(document.shown(2, filled((SPLEEN, box(6, 8)))), given.mask), "no proposal is seen there"
    assert document.accept(2, filled((SPLEEN, box(6, 8)))) is None


def test_a_label_that_comes_later_is_carried_over_accepted_slices(document: Document) -> None:
    document.accept_all((z, filled((LIVER, box(0, 4)))) for z in range(5))
    document.paint(2, SPLEEN, box(6, 8), NOTHING)

    assert document.slices[2].kind == "painted"
    assert not document.slices[3].speaks_for(SPLEEN)
    both = filled((LIVER, box(0, 4)), (SPLEEN, box(6, 8)))
    assert np.array_equal(document.shown(3, both), both)


def test_accept_all_is_one_step(document: Document) -> None:
    before = document.to_state()
    document.accept_all((z, filled((LIVER, box(z, z + 1)))) for z in range(1, 5))

    assert sorted(document.slices) == [1, 2, 3, 4] and document.undo_title == "accept 4 slices"
    document.undo()
    assert not document.slices and not document.can_undo and document.to_state() != before  # there is something to redo
    document.redo()
    assert all(document.slices[z].kind == "accepted" for z in range(1, 5))


def test_a_rejected_proposal_is_known_by_its_digest(document: Document) -> None:
    proposal = filled((LIVER, box(0, 4)))
    document.reject(2, proposal, proposal_digest(proposal))

    assert document.is_rejected(2, proposal_digest(proposal)) and not document.is_rejected(3, proposal_digest(proposal))
    assert not document.is_rejected(2, proposal_digest(filled((LIVER, box(0, 5)))))
    assert document.reject(3, NOTHING, "ab") is None, "there is nothing to reject"
    document.undo()
    assert not document.rejected


def test_absent_takes_the_label_off_the_slice(document: Document) -> None:
    document.paint(2, LIVER, box(0, 2), NOTHING)
    document.paint(2, SPLEEN, box(4, 6), NOTHING)
    document.mark_absent(2, LIVER)

    assert document.slices[2].absent == {LIVER} and document.slices[2].labels == {SPLEEN}
    assert np.array_equal(document.shown(2, filled((LIVER, box(0, 2)))), filled((SPLEEN, box(4, 6))))
    assert document.mark_absent(2, LIVER) is None


def test_a_cleared_slice_says_nothing(document: Document) -> None:
    document.accept(2, filled((LIVER, box(0, 4))))
    document.clear(2)
    assert 2 not in document.slices
    assert document.clear(2) is None


def test_a_cleared_label_is_unknown_and_the_others_stay(document: Document) -> None:
    document.paint(2, LIVER, box(0, 2), NOTHING)
    document.paint(2, SPLEEN, box(4, 6), NOTHING)
    document.clear_label(2, LIVER)
    assert document.slices[2] == GivenSlice(filled((SPLEEN, box(4, 6))), frozenset({SPLEEN}))
    document.clear_label(2, SPLEEN)
    assert 2 not in document.slices


def test_a_label_cleared_from_a_complete_slice_leaves_the_others_spoken_for(document: Document) -> None:
    mask = filled((LIVER, box(0, 2)), (SPLEEN, box(4, 6)))
    document.put_slices({2: GivenSlice(mask, frozenset({LIVER, SPLEEN}), True)}, "import")
    document.clear_label(2, LIVER)

    given = document.slices[2]
    assert [given.speaks_for(label) for label in (LIVER, SPLEEN, AORTA)] == [False, True, True]


def test_proposals_of_unknown_labels_and_beyond_an_extent_are_not_seen(document: Document) -> None:
    document.set_extent(LIVER, (3, 5))
    proposal = filled((LIVER, box(0, 2)), (9, box(2, 4)), (SPLEEN, box(4, 6)))

    assert np.array_equal(document.shown(2, proposal), filled((SPLEEN, box(4, 6))))
    document.accept(2, proposal)
    assert document.slices[2].labels == {SPLEEN}


@pytest.mark.parametrize("z", [-1, 6])
def test_a_slice_outside_the_volume_is_refused(document: Document, z: int) -> None:
    for edit in (
        lambda: document.paint(z, LIVER, box(0, 1), NOTHING),
        lambda: document.erase(z, None, box(0, 1), NOTHING),
        lambda: document.accept(z, NOTHING),
        lambda: document.clear(z),
        lambda: document.reject(z, NOTHING, "ab"),
        lambda: document.mark_absent(z, LIVER),
    ):
        with pytest.raises(InputError, match="0 to 5"):
            edit()
    assert document.revision == 0


def test_pixels_and_proposals_of_another_form_are_refused(document: Document) -> None:
    with pytest.raises(InputError, match="own grid"):
        document.paint(2, LIVER, np.ones((9, 8), bool), NOTHING)
    with pytest.raises(InputError, match="own grid"):
        document.paint(2, LIVER, np.ones(SHAPE[1:], np.uint8), NOTHING)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="own grid"):
        document.accept(2, np.zeros((9, 8), np.uint8))
    with pytest.raises(InputError, match="no such label"):
        document.paint(2, 77, box(0, 1), NOTHING)
    assert document.revision == 0 and not document.can_undo


def test_a_given_slice_cannot_change_and_names_all_that_it_paints() -> None:
    source = filled((LIVER, box(0, 2)))
    given = GivenSlice(source, frozenset({LIVER}))
    source[:] = 9
    assert given.labels == {LIVER}
    with pytest.raises(ValueError, match="read-only"):
        given.mask[0, 0] = 5
    with pytest.raises(InputError, match="not spoken for"):
        GivenSlice(filled((LIVER, box(0, 2))), frozenset({SPLEEN}))
    assert np.array_equal(shown(None, filled((LIVER, box(0, 2))), [LIVER]), filled((LIVER, box(0, 2))))
