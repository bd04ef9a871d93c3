"""A mask as a person would have drawn it: the key slices that the propagator gets are not exact."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from propagation_module.priors import signed_distance

LEAST_LEFT = 0.5  # of a mask's pixels: what loses more is not what a person would call drawn


def hand_drawn(rng: np.random.Generator, mask: NDArray, pixel: float) -> NDArray[np.bool_]:
    """A mask (H, W) drawn by hand: the outline wavers by 1-2 mm and lies a little too far out or in.

    Now and then the outline is a polygon, a concavity or a corner is rounded off, or a part is missed.
    0.4 ms for 96 x 96 pixels of `pixel` mm. An empty mask stays empty, any other does not become so.
    """
    true = np.asarray(mask) > 0
    if not true.any():
        return true
    drawn = _wavering(rng, true, pixel)
    if rng.random() < 0.25:
        drawn = _rounded(rng, drawn, pixel)
    if rng.random() < 0.4:
        drawn = _polygons(rng, drawn, pixel)
    if rng.random() < 0.12 and drawn.any():  # rounding may have left nothing of a thin one
        drawn = _missing_a_part(rng, drawn)
    return drawn if drawn.sum() >= LEAST_LEFT * true.sum() else true


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], cells: int, amplitude: float) -> NDArray[np.float32]:
    """Normal numbers on `cells` x `cells` places, interpolated to `shape` (H, W)."""
    coarse = rng.normal(0.0, amplitude, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _wavering(rng: np.random.Generator, mask: NDArray[np.bool_], pixel: float) -> NDArray[np.bool_]:
    distance = signed_distance(mask, pixel)
    shift = smooth_field(rng, mask.shape, int(rng.integers(6, 15)), rng.uniform(0.5, 1.3))
    shift += np.float32(rng.normal(0.0, 0.6))
    # Nobody draws a thin vessel so badly that it is gone.
    return distance + np.clip(shift, -0.5 * max(0.0, float(distance.max())), 3.0) > 0


def _rounded(rng: np.random.Generator, mask: NDArray[np.bool_], pixel: float) -> NDArray[np.bool_]:
    radius = max(1, round(rng.uniform(1.5, 4.0) / pixel))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    kind = cv2.MORPH_CLOSE if rng.random() < 0.7 else cv2.MORPH_OPEN
    return cv2.morphologyEx(mask.astype(np.uint8), kind, disc) > 0


def _polygons(rng: np.random.Generator, mask: NDArray[np.bool_], pixel: float) -> NDArray[np.bool_]:
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    coarseness = rng.uniform(0.8, 2.0) / pixel
    straight = [cv2.approxPolyDP(line, min(coarseness, 0.04 * len(line)), True) for line in outlines]
    drawn = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(drawn, straight, 1)  # outlines within outlines are holes
    return drawn > 0


def _missing_a_part(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without its smallest piece, or, of one piece, without a tip."""
    pieces, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if pieces > 2:
        smallest = 1 + int(np.argmin(stats[1:, cv2.CC_STAT_AREA]))
        return mask & (labels != smallest)
    angle = rng.uniform(0.0, 2 * np.pi)
    y, x = np.nonzero(mask)
    along = y * np.sin(angle) + x * np.cos(angle)
    tip = along > np.quantile(along, rng.uniform(0.8, 0.95))
    kept = mask.copy()
    kept[y[tip], x[tip]] = False
    return kept
