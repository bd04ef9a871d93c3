"""The slices that are looked at first: evenly spread, from end to end, never too many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_module.sampling import sample_slices


@pytest.mark.parametrize(
    ("depth", "expected"), [(1, [0]), (2, [0, 1]), (3, [0, 2]), (4, [0, 3]), (6, [0, 5]), (21, [0, 5, 10, 15, 20])]
)
def test_small_volumes_and_a_round_one(depth: int, expected: list[int]) -> None:
    assert sample_slices(depth) == expected


def test_the_paper_s_at_most() -> None:
    slices = sample_slices(1000)
    assert len(slices) == 64 and slices[0] == 0 and slices[-1] == 999


@given(st.integers(1, 3000), st.integers(1, 40), st.integers(2, 200))
def test_spread_evenly_from_end_to_end(depth: int, every: int, at_most: int) -> None:
    slices = sample_slices(depth, every, at_most)
    gaps = {b - a for a, b in zip(slices, slices[1:], strict=False)}
    assert slices[0] == 0 and slices[-1] == depth - 1 and len(slices) <= at_most
    assert all(gap >= 1 for gap in gaps)
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert len(slices) == at_most or not gaps or max(gaps) <= every
    exact = [(depth - 1) * place / max(len(slices) - 1, 1) for place in range(len(slices))]
    assert all(abs(z - place) <= 0.5 for z, place in zip(slices, exact, strict=True)), "the nearest, not the lower"


def test_a_single_slice_is_the_middle() -> None:
    assert sample_slices(9, at_most=1) == [4]


@pytest.mark.parametrize("wrong", [(0, 5, 64), (10, 0, 64), (10, 5, 0)])
def test_nonsense_is_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="from 1"):
        sample_slices(*wrong)
