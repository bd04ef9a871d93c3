"""Parts and orders of endless streams."""

from __future__ import annotations

from networks.training.streams import Orders, part_of


def test_ranks_share_the_cases_out() -> None:
    parts = [part_of(list("abcdefg"), rank, 3) for rank in range(3)]
    assert sorted(sum(parts, [])) == list("abcdefg")
    assert part_of(["a"], 1, 2) == ["a"]


def test_every_pass_has_all_in_an_order_of_its_own() -> None:
    passes = [[Orders(1, 0).at(0, number, 20) for number in range(20 * turn, 20 * turn + 20)] for turn in range(2)]
    assert passes[0] != passes[1] and sorted(passes[0]) == sorted(passes[1]) == list(range(20))
    assert passes[0] != [Orders(1, 1).at(0, number, 20) for number in range(20)]


def test_structures_take_turns_and_so_do_their_cases() -> None:
    orders = Orders(3, 0)
    drawn = [orders.by_structure({2: [0, 1], 5: [4]}, number) for number in range(4)]
    assert [label for _, label in drawn] == [2, 5, 2, 5]
    assert {case for case, label in drawn if label == 2} == {0, 1}
