"""Strategies: each chooses the slices that its name says, always the same ones, none where nothing is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from reference_module.choices import Choice, SelectionSettings
from reference_module.keying import OnDemand
from reference_module.segmented import Segmented
from reference_module.selection import STRATEGIES, strategy_named
from volumes.errors import InputError

BIG, MIDDLE, SMALL = (0, 20, 0, 20), (2, 14, 2, 14), (4, 10, 4, 10)
APART = (20, 32, 20, 40)


def refuse(slices: Sequence[int]) -> Segmented:
    raise AssertionError(f"asked for {slices}")


def choose(one, name: str, sampled: Sequence[int] | None = None, **settings) -> list[Choice]:
    """By the strategy, from every fifth slice; `consistent` may look at more."""
    chosen = SelectionSettings(**settings)
    volume = one.volume
    referencer = one.referencer
    first = referencer.segment(volume, list(range(0, volume.shape[0], 5)) if sampled is None else sampled)
    one.pair.batches.clear()
    more = OnDemand(referencer, volume, first, chosen.more) if name == "consistent" else refuse
    return STRATEGIES[name](first, chosen, more)


@pytest.fixture
def two(scene):
    """Liver on 5..40, largest about 20; aorta on 15..60, largest at 50, best agreed on at 30. 71 slices."""
    one = scene((71, 40, 40))
    one.paint(range(5, 41), 2, SMALL)
    one.paint(range(18, 23), 2, BIG)
    one.paint(range(15, 61), 5, APART, second=(20, 32, 22, 42))
    one.paint(range(28, 33), 5, APART)
    one.paint(range(49, 52), 5, (20, 36, 20, 40), second=(20, 36, 25, 40))
    return one


def slices(choices: list[Choice]) -> list[int]:
    return [choice.z for choice in choices]


def test_largest_area(two) -> None:
    choices = choose(two, "largest_area")
    assert slices(choices) == [20, 50]
    assert all(choice.labels is None for choice in choices), "whole masks, as in the paper"
    assert choices[0].reason == "liver: largest here, 400 pixels"
    assert choices[1].reason == "aorta: largest here, 320 pixels"


def test_least_uncertainty(two) -> None:
    choices = choose(two, "least_uncertainty")
    assert slices(choices) == [20, 30], "members agree on the liver everywhere, so the largest of its slices"
    assert choices[1].reason == "aorta: members agree best, Dice 1.00"


def test_non_empty(two) -> None:
    assert slices(choose(two, "non_empty")) == list(range(5, 61, 5))


def test_most_classes(two) -> None:
    assert slices(choose(two, "most_classes")) == [15, 20], "as many as structures"
    assert slices(choose(two, "most_classes", count=1)) == [20], "of equals, where more is seen"
    assert slices(choose(two, "most_classes", count=4)) == [15, 20, 25, 30]


def test_random_is_decided_by_its_seed(two) -> None:
    drawn = {seed: tuple(slices(choose(two, "random", seed=seed, count=3))) for seed in range(6)}
    assert drawn[2] == tuple(slices(choose(two, "random", seed=2, count=3)))
    assert len(set(drawn.values())) > 1
    for some in drawn.values():
        assert len(set(some)) == 3 and set(some) <= set(range(5, 61, 5)) and list(some) == sorted(some)
    assert slices(choose(two, "random", count=99)) == list(range(5, 61, 5))


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_nothing_found_is_nothing_chosen(scene, name: str) -> None:
    assert choose(scene((11, 8, 8)), name) == []


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_smallest_volumes(scene, name: str, depth: int) -> None:
    one = scene((depth, 40, 40))
    one.paint(range(depth), 9, MIDDLE)
    choices = choose(one, name, sampled=sorted({0, depth - 1}))
    assert choices and all(0 <= choice.z < depth and choice.reason for choice in choices)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_twice_the_same(two, name: str) -> None:
    assert choose(two, name) == choose(two, name)


# `consistent`


def test_consistent_spreads_along_the_structure(scene) -> None:
    one = scene((101, 40, 40))
    one.paint(range(10, 91), 5, MIDDLE)
    choices = choose(one, "consistent", per_structure=4)
    assert len(choices) == 4
    assert all(choice.labels == {5} for choice in choices)
    places = slices(choices)
    assert places[0] <= 25 and places[-1] >= 75
    assert min(b - a for a, b in zip(places, places[1:], strict=False)) >= 15
    assert choices[0].reason.startswith("aorta (1 of 4): members agree to Dice 1.00, mean probability 0.99")
    assert "Dice with its neighbours 1.00/1.00" in choices[0].reason


def test_consistent_takes_fewer_of_a_short_structure(scene) -> None:
    one = scene((101, 40, 40))
    one.paint(range(40, 52), 5, MIDDLE)  # sampled at 40, 45, 50: 30 mm
    assert len(choose(one, "consistent", apart_mm=12.0)) == 3
    assert len(choose(one, "consistent", apart_mm=40.0)) == 1


def test_consistent_prefers_what_both_members_see(scene) -> None:
    """The largest mask is one member's alone, and a doubtful one; the paper's strategy takes it."""
    one = scene((61, 40, 40))
    one.paint(range(5, 56), 5, MIDDLE)
    one.paint(range(28, 33), 5, (0, 30, 0, 30), second=MIDDLE)
    one.paint(range(19, 22), 5, (0, 16, 0, 16), sure=1)
    assert slices(choose(one, "largest_area")) == [30]
    chosen = slices(choose(one, "consistent", per_structure=3))
    assert len(chosen) == 3 and not {20, 30} & set(chosen)


def test_consistent_leaves_out_what_flickers(scene) -> None:
    one = scene((61, 40, 40))
    one.paint([10, 30, 50], 5, BIG)  # certain, agreed on, and on single slices
    one.paint(range(20, 45), 2, APART)
    assert {choice.z for choice in choose(one, "largest_area")} & {10, 30, 50}
    choices = choose(one, "consistent")
    assert choices and all(choice.labels == {2} for choice in choices)


def test_consistent_leaves_out_a_mask_unlike_its_neighbours(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(10, 51), 5, SMALL)
    one.paint([30], 5, (0, 40, 0, 40))  # both members, on this slice alone
    chosen = slices(choose(one, "consistent", per_structure=1))
    assert len(chosen) == 1 and chosen != [30] and 20 <= chosen[0] <= 40


def test_consistent_keeps_the_least_doubtful_of_a_doubtful_structure(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(10, 51), 5, MIDDLE, second=(2, 14, 8, 20))
    one.paint(range(24, 27), 5, MIDDLE, second=(2, 14, 6, 18))
    choices = choose(one, "consistent")
    assert slices(choices) == [25] and "aorta (1 of 1, the least doubtful there is)" in choices[0].reason


def test_consistent_leaves_out_a_minor_part_that_lies_apart(scene) -> None:
    one = scene((101, 40, 40))
    one.paint(range(5, 46), 5, BIG)
    one.paint(range(78, 83), 5, SMALL)
    assert max(slices(choose(one, "consistent"))) <= 45
    assert max(slices(choose(one, "consistent", minor_part=0.0))) == 80


def test_consistent_gives_each_large_part_a_slice(scene) -> None:
    one = scene((101, 40, 40))
    one.paint(range(5, 36), 5, BIG)
    one.paint(range(65, 96), 5, BIG)
    chosen = slices(choose(one, "consistent", per_structure=2))
    assert len(chosen) == 2 and chosen[0] <= 35 and chosen[1] >= 65


def test_consistent_shares_slices_and_takes_what_else_is_good_there(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(10, 51), 2, MIDDLE)
    one.paint(range(10, 51), 5, APART)
    one.paint(range(10, 51), 9, (20, 26, 2, 8), second=(20, 26, 4, 10), sure=5)  # Dice .67: not taken but at 20
    one.paint(range(19, 22), 9, (20, 26, 2, 8))
    choices = choose(one, "consistent", per_structure=3)
    assert len(choices) <= 4
    for choice in choices:
        assert choice.labels is not None and {2, 5} <= choice.labels
        assert (9 in choice.labels) == (choice.z == 20)


def test_consistent_takes_one_slice_for_two_structures(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(10, 51), 2, MIDDLE)
    one.paint(range(20, 56), 5, APART)  # its own middle is at 37
    assert slices(choose(one, "consistent", per_structure=1)) == [30]


def test_consistent_does_not_take_a_doubtful_mask_unseen(scene) -> None:
    one = scene((61, 40, 40))
    one.paint(range(10, 51), 5, MIDDLE, second=(2, 14, 8, 20))
    assert choose(one, "consistent", more=2) and not choose(one, "consistent", more=0)


def test_consistent_looks_at_neighbours_only_within_its_budget(scene) -> None:
    one = scene((101, 40, 40))
    one.paint(range(10, 91), 5, MIDDLE)
    one.paint([0, 95], 2, APART)  # flickers
    found = choose(one, "consistent", more=3)
    assert one.slices_seen == 3
    assert [choice for choice in found if choice.labels and 5 in choice.labels], "sure masks are taken unseen"
    none = choose(one, "consistent", more=0)
    assert one.slices_seen == 0 and none


def test_consistent_at_the_end_of_a_structure_has_one_neighbour_like_it(scene) -> None:
    one = scene((31, 40, 40))
    one.paint(range(10, 13), 5, MIDDLE)  # sampled at 10 alone, which is its first
    choices = choose(one, "consistent")
    assert slices(choices) == [10] and "neighbours 0.00/1.00" in choices[0].reason


# Settings


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(InputError, match="strategy: found 'best'; expected one of largest_area, non_empty"):
        strategy_named("best")


@pytest.mark.parametrize(
    "wrong", [{"per_structure": 0}, {"every": 0}, {"minimum_agreement": 1.5}, {"more": -1}, {"count": 0}]
)
def test_wrong_settings_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=rf"selection\.{next(iter(wrong))}: found .*; expected a number from"):
        SelectionSettings(**wrong)  # type: ignore[arg-type]
