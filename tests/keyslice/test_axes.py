"""An array's own order: all 48 of them, and what is refused."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest

import keyslice
from keyslice.sources import read_ct

PAIRS = (("superior", "inferior"), ("posterior", "anterior"), ("left", "right"))
ORDERS = [
    tuple(PAIRS[axis][flip] for axis, flip in zip(order, flips, strict=True))
    for order in permutations(range(3))
    for flips in product(range(2), repeat=3)
]


def laid(canonical: np.ndarray, toward: tuple[str, ...]) -> np.ndarray:
    """A canonical array as somebody else would hold it: axes moved by their words, then flipped."""
    where = [next(at for at, pair in enumerate(PAIRS) if side in pair) for side in toward]
    flips = tuple(slice(None, None, -1 if side == PAIRS[at][1] else 1) for side, at in zip(toward, where, strict=True))
    return canonical.transpose(where)[flips]


@pytest.mark.parametrize("toward", ORDERS)
def test_every_order_is_the_same_volume(toward: tuple[Any, Any, Any]) -> None:
    canonical = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    spacing = dict(zip(PAIRS, (3.0, 2.0, 1.5), strict=True))
    own = tuple(next(step for pair, step in spacing.items() if side in pair) for side in toward)
    axes = keyslice.Axes(toward=toward, spacing=own)  # type: ignore[arg-type]
    source = read_ct(laid(canonical, toward), axes)
    assert np.array_equal(source.volume.array, canonical)
    assert source.volume.spacing == (3.0, 2.0, 1.5)
    order = source.order
    assert np.array_equal(order.view(canonical), laid(canonical, toward))
    assert axes.axial == order.axial == next(at for at, side in enumerate(toward) if side in PAIRS[0])
    for z in range(4):
        own_plane = np.take(laid(canonical, toward), z, axes.axial)
        assert np.array_equal(order.plane(own_plane, z), canonical[order.slice(z)])
        assert order.slice(order.slice(z)) == z


def test_first_and_last_change_places_where_slices_count_from_above() -> None:
    axes = keyslice.Axes(toward=("inferior", "posterior", "left"), spacing=(3, 2, 2))
    order = read_ct(np.zeros((10, 4, 4), np.int16), axes).order
    assert order.extent((2, 5)) == (4, 7)
    assert order.along_slices(np.arange(10)).tolist() == list(range(9, -1, -1))


@pytest.mark.parametrize(
    ("toward", "spacing", "found"),
    [
        (("superior", "posterior"), (1, 1, 1), "three sides"),
        ("SPL", (1, 1, 1), "three sides"),
        (("superior", "posterior", "up"), (1, 1, 1), "'up'"),
        (("superior", "inferior", "left"), (1, 1, 1), "one axis up or down"),
        (("superior", "posterior", "left"), 1.5, "three numbers"),
        (("superior", "posterior", "left"), (1, 1), "three numbers"),
        (("superior", "posterior", "left"), (1, 0, 1), "spacing"),
        (("superior", "posterior", "left"), (1, float("nan"), 1), "spacing"),
    ],
)
def test_axes_that_are_none_are_refused(toward: Any, spacing: Any, found: str) -> None:
    with pytest.raises(keyslice.InputError, match=found):
        keyslice.Axes(toward=toward, spacing=spacing)


def test_the_order_of_axes_that_looks_wrong_is_told() -> None:
    hu = np.full((40, 40, 12), -500, np.int16)  # slices are the last axis, and somebody says the first
    axes = keyslice.Axes(toward=("superior", "posterior", "left"), spacing=(0.8, 0.8, 3.0))
    assert any("axes" in doubt for doubt in read_ct(hu, axes).doubts())
    right = keyslice.Axes(toward=("left", "posterior", "superior"), spacing=(0.8, 0.8, 3.0))
    assert read_ct(hu, right).doubts() == []
