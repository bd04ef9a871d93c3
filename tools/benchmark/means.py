"""Means of scores over cases and structures, the same in all tables."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Protocol

from volumes.labels import LabelTable


class Scored(Protocol):
    """A case with its scores: `dsc` and `nsd`, in the order of `labels`."""

    @property
    def labels(self) -> tuple[int, ...]:
        """Structures that the case contours."""


def by_structure(lines: Sequence[Scored], kind: str, table: LabelTable) -> dict[int, float]:
    """Mean of `kind` (`dsc` or `nsd`) over the cases that contour a structure, by label."""
    values: dict[int, list[float]] = {label: [] for label in table}
    for line in lines:
        for label, value in zip(line.labels, getattr(line, kind), strict=True):
            values[label].append(value)
    return {label: statistics.fmean(of) for label, of in values.items() if of}


def mean_of(means: Mapping[int, float], labels: Sequence[int]) -> float | None:
    """Mean over those of `labels` that cases contour; None: none of them."""
    found = [means[label] for label in labels if label in means]
    return round(statistics.fmean(found), 4) if found else None
