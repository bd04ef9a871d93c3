"""What a person says: what counts as changed, and what a key slice's digest of a label depends on."""

from __future__ import annotations

import numpy as np
import pytest

from propagation_module.annotations import Annotations
from volumes.errors import InputError

SHAPE = (12, 10, 14)


def _plane(**columns: tuple[int, int]) -> np.ndarray:
    """`l3=(left, right)` paints label 3."""
    plane = np.zeros(SHAPE[1:], np.uint8)
    for name, (left, right) in columns.items():
        plane[2:8, left:right] = int(name[1:])
    return plane


@pytest.fixture
def said() -> Annotations:
    said = Annotations(SHAPE, "test")
    said.annotate(4, _plane(l3=(1, 5), l5=(7, 12)))
    said.set_extent(3, (2, 9))
    return said


def test_distances_are_to_the_nearest_change_and_to_key_slices_when_nothing_changed(said: Annotations) -> None:
    assert said.changed == {2, 4, 9}
    assert said.distances().tolist() == [2, 1, 0, 1, 0, 1, 2, 2, 1, 0, 1, 2]
    said.changed.clear()
    assert said.distances().tolist() == [abs(z - 4) for z in range(12)]
    said.set_extent(3, None)
    assert said.changed == {2, 9}, "taking marks away changes what lay at them"
    said.changed.clear()
    said.set_extent(3, None)
    assert not said.changed, "there were none left"


def test_what_is_refused_has_not_changed_anything(said: Annotations) -> None:
    said.changed.clear()
    before = said.digest(4, 3, with_others=True)
    for refused in (
        lambda: said.annotate(11, _plane(l3=(1, 5))),
        lambda: said.set_extent(3, (5, 9)),
        lambda: said.set_extent(5, (0, 12)),
        lambda: said.mark_absent(12, [3]),
    ):
        with pytest.raises(InputError):
            refused()
    assert not said.changed and said.extents == {3: (2, 9)} and said.key_slices.slices() == [4]
    assert said.digest(4, 3, with_others=True) == before


def test_a_digest_depends_on_its_label_and_on_others_only_where_asked(said: Annotations) -> None:
    alone, among = said.digest(4, 3, with_others=False), said.digest(4, 3, with_others=True)
    said.annotate(4, _plane(l5=(6, 12)), labels=[5])
    assert said.digest(4, 3, with_others=False) == alone
    assert said.digest(4, 3, with_others=True) != among
    said.annotate(4, _plane(l5=(7, 12)), labels=[5])
    assert said.digest(4, 3, with_others=True) == among, "what is said again is the same again"
    said.annotate(4, _plane(l3=(1, 6)), labels=[3])
    assert said.digest(4, 3, with_others=False) != alone


def test_forgetting_some_labels_leaves_the_others(said: Annotations) -> None:
    said.annotate(4, _plane(l5=(7, 12)), labels=[5, 8], complete=True)
    said.forget(4, [3])
    assert said.key_slices.named(4) == {5, 8} and not said.key_slices.is_complete(4)
    assert np.array_equal(said.key_slices.mask(4), _plane(l5=(7, 12)))
    said.forget(4)
    assert 4 not in said.key_slices
