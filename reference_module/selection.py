"""Which of the segmented slices become key slices: the strategies, all of one kind (systems.md 1.8).

A strategy is a function of the slices that were looked at first, the settings, and a callable that segments more of
them on demand. One that finds nothing gives an empty list. Whole masks are taken by all but `consistent`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reference_module.choices import Choice, Segment, SelectionSettings
from reference_module.consistent import consistent
from reference_module.segmented import Segmented
from volumes.errors import InputError

Strategy = Callable[[Segmented, SelectionSettings, Segment], list[Choice]]


def largest_area(segmented: Segmented, settings: SelectionSettings, segment: Segment) -> list[Choice]:
    """For each structure the slice where it has most pixels, the lowest of equals: the paper's."""

    def area(z: int, label: int) -> tuple[float, ...]:
        return (segmented.area_of(z, label),)

    return _best_of_each(segmented, area, lambda z, label: f"largest here, {segmented.area_of(z, label)} pixels")


def least_uncertainty(segmented: Segmented, settings: SelectionSettings, segment: Segment) -> list[Choice]:
    """For each structure the slice where the pair's two members agree best on it; of equals, where it is larger."""

    def agreement(z: int, label: int) -> tuple[float, ...]:
        return segmented.agreement_of(z, label), segmented.area_of(z, label)

    return _best_of_each(
        segmented, agreement, lambda z, label: f"members agree best, Dice {segmented.agreement_of(z, label):.2f}"
    )


def non_empty(segmented: Segmented, settings: SelectionSettings, segment: Segment) -> list[Choice]:
    """Every slice with a structure on it."""
    return [Choice(z, None, f"shows {_names(segmented, z)}") for z in _filled(segmented)]


def most_classes(segmented: Segmented, settings: SelectionSettings, segment: Segment) -> list[Choice]:
    """The slices with most structures on them; of equals, those with more pixels of them, then the lower ones."""
    filled = _filled(segmented)
    row = segmented.rows

    def rank(z: int) -> tuple[int, int, int]:
        return -len(segmented.on(z)), -int(segmented.area[row[z]].sum()), z

    best = sorted(filled, key=rank)[: _count(segmented, settings)]
    return [Choice(z, None, f"shows {len(segmented.on(z))} structures") for z in sorted(best)]


def random(segmented: Segmented, settings: SelectionSettings, segment: Segment) -> list[Choice]:
    """Some of the slices with a structure on them, by the seed."""
    filled = _filled(segmented)
    count = min(_count(segmented, settings), len(filled))
    drawn = np.random.default_rng(settings.seed).permutation(len(filled))[:count].tolist()
    return [Choice(filled[place], None, f"drawn by seed {settings.seed}") for place in sorted(drawn)]


STRATEGIES: dict[str, Strategy] = {
    "largest_area": largest_area,
    "non_empty": non_empty,
    "most_classes": most_classes,
    "random": random,
    "least_uncertainty": least_uncertainty,
    "consistent": consistent,
}


def strategy_named(name: str) -> Strategy:
    """The strategy of this name; raises InputError if there is none."""
    if name not in STRATEGIES:
        raise InputError(
            "strategy", found=f"'{name}'", expected=f"one of {', '.join(STRATEGIES)}", fix="name one of them"
        )
    return STRATEGIES[name]


def _best_of_each(
    segmented: Segmented, score: Callable[[int, int], tuple[float, ...]], because: Callable[[int, int], str]
) -> list[Choice]:
    """For each structure that was found the slice of the highest score, the lowest of equals."""
    reasons: dict[int, list[str]] = {}
    for label in segmented.found:
        z = max((z for z in segmented.slices if segmented.area_of(z, label)), key=lambda z: (*score(z, label), -z))
        reasons.setdefault(z, []).append(f"{segmented.table.name_of(label)}: {because(z, label)}")
    return [Choice(z, None, "; ".join(reasons[z])) for z in sorted(reasons)]


def _filled(segmented: Segmented) -> list[int]:
    return [z for z in segmented.slices if segmented.on(z)]


def _names(segmented: Segmented, z: int) -> str:
    return ", ".join(segmented.table.name_of(label) for label in segmented.on(z))


def _count(segmented: Segmented, settings: SelectionSettings) -> int:
    return len(segmented.found) if settings.count is None else settings.count
