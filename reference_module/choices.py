"""What a strategy for key slices gets and gives: the words that `selection` and `consistent` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from reference_module.segmented import Segmented
from volumes.errors import InputError

Segment = Callable[[Sequence[int]], Segmented]
"""Segments more slices on demand: given some, it returns all that have been segmented so far. Those that come first
are looked at first; once a budget has been spent, slices that were asked for may be missing."""


@dataclass(frozen=True)
class Choice:
    """A key slice.

    Args:
        z: the slice.
        labels: those of the pair's labels on it that are to be taken; None: all of them.
        reason: why, in a sentence for the report.
    """

    z: int
    labels: frozenset[int] | None
    reason: str


@dataclass(frozen=True)
class SelectionSettings:
    """How key slices are chosen; each strategy uses what it needs.

    Args:
        every: distance of the slices that are looked at first, see `sample_slices` (the paper: 5).
        at_most: how many they are at most (the paper: 64).
        count: slices that `most_classes` and `random` choose; None: as many as structures were found, which is what
            `largest_area` and `least_uncertainty` choose at most.
        seed: of `random`.
        per_structure: slices that `consistent` chooses for a structure, at most.
        apart_mm: `consistent` chooses fewer where they would be nearer to each other than this.
        minimum_agreement: Dice of the two members' masks below which `consistent` does not take one, and
        minimum_certainty: mean probability in the mask below which it does not, while the structure has better ones.
        minimum_overlap: Dice of a mask with that on the better of both neighbouring slices below which it flickers.
        minor_part: a part of a structure that lies apart and covers less than this share of the largest one is left
            out.
        absent_below: a structure is absent from a slice where neither member has a pixel of it and its probability is
            nowhere as high as this.
        more: slices that may be segmented on demand, in all, besides those that were looked at first.
    """

    every: int = 5
    at_most: int = 64
    count: int | None = None
    seed: int = 0
    per_structure: int = 4
    apart_mm: float = 12.0
    minimum_agreement: float = 0.7
    minimum_certainty: float = 0.6
    minimum_overlap: float = 0.5
    minor_part: float = 0.1
    absent_below: float = 0.25
    more: int = 96

    def __post_init__(self) -> None:
        least = {"every": 1, "at_most": 1, "count": 1, "per_structure": 1}
        shares = {"minimum_agreement", "minimum_certainty", "minimum_overlap", "minor_part", "absent_below"}
        for name in (field.name for field in fields(self)):
            value, lowest = getattr(self, name), least.get(name, 0)
            if value is not None and (value < lowest or (name in shares and value > 1)):
                raise InputError(
                    f"selection.{name}",
                    found=str(value),
                    expected=f"a number from {lowest}{' to 1' if name in shares else ''}",
                    fix="correct the setting",
                )
