"""Folds: labelled cases in parts, of which each member of an ensemble leaves one out (Alves 2.2, nnU-Net)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from baseline3d.recipes.sizes import Sizes

T = TypeVar("T")


def folds_of(names: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """The names in `count` parts as equal as can be, drawn by `seed`."""
    order = np.random.default_rng(seed).permutation(len(names))
    return [[sorted(names)[place] for place in order[number::count]] for number in range(count)]


def without(items: Sequence[T], number: int, count: int) -> list[T]:
    """The items but for each `count`-th of them, from the one at `number` on; all of them where there are too few."""
    if len(items) < count:
        return list(items)
    return [item for place, item in enumerate(items) if place % count != number]


def kept_in_all(folds: Sequence[Sequence[str]], sizes: Sizes) -> dict[str, str]:
    """Cases that no member may leave out, and the structure that nobody would show it otherwise.

    A structure that is in one fold alone would be unknown to the member that leaves this fold out. It then sees the
    first case of the fold that has it.
    """
    kept: dict[str, str] = {}
    structures = dict.fromkeys(name for one in sizes.values() for name in one)
    for structure in structures:
        having = [[case for case in fold if structure in sizes[case]] for fold in folds]
        there = [cases for cases in having if cases]
        if len(there) == 1 and not any(case in kept for case in there[0]):
            kept[there[0][0]] = structure
    return kept
