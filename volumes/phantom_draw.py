"""What the phantom's organs are drawn with: label numbers, variation of size and place, small helpers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volumes.phantom_shapes import Array, Coords, Ellipsoid, Point, Shape

LIVER, RIGHT_KIDNEY, SPLEEN, PANCREAS, AORTA, CAVA, RIGHT_ADRENAL, LEFT_ADRENAL = range(1, 9)
GALLBLADDER, OESOPHAGUS, STOMACH, DUODENUM, LEFT_KIDNEY = range(9, 14)


@dataclass(frozen=True)
class Sizes:
    """Draws sizes and places of one individual: `scale` about 1, `shift` a jitter in mm."""

    rng: np.random.Generator

    def scale(self, sd: float = 0.07) -> float:
        """A factor about 1, within two standard deviations."""
        return float(1 + sd * np.clip(self.rng.normal(), -2, 2))

    def shift(self, sd: float = 3.0) -> NDArray[np.float64]:
        """(3,) mm, each within two standard deviations."""
        return sd * np.clip(self.rng.normal(size=3), -2, 2)


def ellipsoid(
    center: ArrayLike, radii: ArrayLike, turn: Point = (0, 0, 0), *, k: float, at: NDArray[Any]
) -> Ellipsoid:
    """An ellipsoid scaled by k and moved by `at`."""
    x, y, z = np.asarray(center, float) + at
    a, b, c = np.asarray(radii, float) * k
    return Ellipsoid((x, y, z), (a, b, c), turn)


def level(y: float) -> Shape:
    """Everything in front of y (towards the ceiling): where gas collects in a patient on the back."""

    def field(c: Coords) -> Array:
        return np.asarray(c.rigid[1] - np.float32(y) + np.zeros_like(c.x), np.float32)

    return field
