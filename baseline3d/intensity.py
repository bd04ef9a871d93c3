"""From Hounsfield units to what a 3D network sees: the four papers' three rules."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from networks.configurations import check_values

_SHIFT = 32768  # of HU that index a histogram
_LEAST = 1e-3  # HU: a volume of one value has no deviation to divide by


@dataclass(frozen=True)
class IntensitySettings:
    """Which rule, and its fixed numbers.

    Attributes:
        rule: `percentiles`: clipped to two percentiles of the structures' voxels in the training cases, then by their
            mean and standard deviation (nnU-Net's rule for CT: Alves 2.1, Tong 2.3). `clip`: clipped to [low, high],
            then by the mean and standard deviation of the case's own crop (Zhang 2.1). `range`: what is outside
            [low, high] becomes 0 HU, then low becomes 0 and high 1 (Gao 2.1).
        percentiles: the two of the rule `percentiles`.
        low, high: HU of the other two.
    """

    rule: Literal["percentiles", "clip", "range"]
    percentiles: tuple[float, float] = (0.5, 99.5)
    low: float = -500.0
    high: float = 500.0

    def __post_init__(self) -> None:
        first, last = self.percentiles
        check_values(
            self,
            "input.intensity",
            ("percentiles", 0 <= first < last <= 100, "two rising numbers from 0 to 100"),
            ("low", -_SHIFT <= self.low < self.high < _SHIFT, "less than high, both within 16 bits"),
        )


@dataclass(frozen=True)
class Figures:
    """HU that a rule works with, learnt from data: the training cases', or for `clip` one case's.

    Attributes:
        low, high: limits.
        mean, deviation: what is subtracted, and what is divided by.
    """

    low: float
    high: float
    mean: float
    deviation: float

    def as_dict(self) -> dict[str, float]:
        """For a weights file."""
        return asdict(self)


class Histogram:
    """How often each HU occurs, slice by slice: exact percentiles of any number of voxels in half a megabyte."""

    def __init__(self) -> None:
        self.counts = np.zeros(2 * _SHIFT, np.int64)

    def add(self, hu: NDArray[np.int16]) -> None:
        """Count the voxels of an array of any shape."""
        self.counts += np.bincount(hu.ravel().astype(np.int32) + _SHIFT, minlength=len(self.counts))

    @property
    def empty(self) -> bool:
        """Whether nothing was counted."""
        return not self.counts.any()

    def learnt(self, percentiles: tuple[float, float]) -> Figures:
        """Limits at two percentiles, mean and standard deviation of all that was counted, as nnU-Net learns them."""
        ranks = np.asarray(percentiles) / 100 * (self.counts.sum() - 1)
        low, high = np.searchsorted(self.counts.cumsum(), ranks, side="right") - _SHIFT
        return self._figures(float(low), float(high), self._values())

    def clipped(self, low: float, high: float) -> Figures:
        """Mean and standard deviation of what was counted, clipped to two limits."""
        return self._figures(low, high, np.clip(self._values(), low, high))

    def _values(self) -> NDArray[np.float64]:
        return np.arange(-_SHIFT, _SHIFT, dtype=np.float64)

    def _figures(self, low: float, high: float, values: NDArray[np.float64]) -> Figures:
        mean = float(np.average(values, weights=self.counts))
        variance = float(np.average((values - mean) ** 2, weights=self.counts))
        return Figures(low, high, mean, max(variance**0.5, _LEAST))


def scaled(hu: NDArray, settings: IntensitySettings, figures: Figures | None) -> NDArray[np.float32]:
    """HU, an array of any shape, as the network sees them.

    Args:
        figures: of the training cases for the rule `percentiles`, of the case for `clip`; `range` needs none.
    """
    values = np.asarray(hu, np.float32)
    if settings.rule == "range":
        inside = np.where((values < settings.low) | (values > settings.high), np.float32(0), values)
        return (inside - np.float32(settings.low)) / np.float32(settings.high - settings.low)
    assert figures is not None, f"the rule {settings.rule} needs figures"
    values = np.clip(values, np.float32(figures.low), np.float32(figures.high))
    return (values - np.float32(figures.mean)) / np.float32(figures.deviation)
