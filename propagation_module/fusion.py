"""Two directions into one, many labels into one map, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from propagation_module.grid import Patch, union

TYPICAL = 0.9  # 0.95 scored .693 and .444 where 0.9 scored .700 and .440 (see `refresh`)
LEAST_WEIGHT = 0.05  # of a direction that is not sure at all


def fuse(upward: Patch | None, downward: Patch | None, position: float) -> Patch | None:
    """Two predictions of a slice `position` (0..1) of the way up between its key slices: the nearer and surer counts
    more.

    Three key slices, marks given, training patients held back, mean Dice with distance alone, distance times expected
    Dice, and its cube: head-neck .8689, .8690, .8692; sarcoma .8917, .8911, .8903. Distance does the work.
    """
    if upward is None or downward is None:
        return upward if downward is None else downward
    up = (1.0 - position) * max(LEAST_WEIGHT, expected_dice(upward.probability))
    down = position * max(LEAST_WEIGHT, expected_dice(downward.probability))
    box = union([upward.box, downward.box])
    mixed = (up * upward.cut(box) + down * downward.cut(box)) / (up + down)
    return Patch(mixed.astype(np.float32), box)


def refresh(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """A predicted mask made as sure of itself as a mask should be that the next slice is labelled from.

    Each step is a little less sure than the one before: handed on as it is, a mask fades within some ten slices,
    thin structures first. So logits are scaled until the median inside the mask is `TYPICAL`, at most threefold; a
    mask that is sure already is left alone. One key slice, marks given, mean Dice of half-trained weights without,
    with logits always doubled, and with this: head-neck (6 cases) .655, .681, .700; liver_17 .330, .424, .440.
    """
    inside = probability[probability > 0.5]
    if not inside.size:
        return probability
    median = min(float(np.median(inside)), 1.0 - 1e-6)
    power = float(np.clip(_logit(TYPICAL) / max(_logit(median), 1e-6), 1.0, 3.0))
    odds_for, odds_against = probability**power, (1.0 - probability) ** power
    return (odds_for / (odds_for + odds_against)).astype(np.float32)


def _logit(p: float) -> float:
    return math.log(p / (1.0 - p))


def expected_dice(probability: NDArray[np.float32], threshold: float = 0.5) -> float:
    """The Dice that thresholding would score, were every pixel right as often as its probability says.

    With nothing above the threshold, how sure it is that nothing is there.
    """
    chosen = probability > threshold
    total = float(probability.sum())
    if not chosen.any():
        return float(1.0 - probability.max(initial=0.0))
    return 2.0 * float(probability[chosen].sum()) / (float(chosen.sum()) + total)


def compose(
    shape: tuple[int, int], offers: Iterable[tuple[int, NDArray[np.float32], tuple[slice, slice]]]
) -> NDArray[np.uint8]:
    """One slice's label map: each pixel goes to the label that is likeliest there, if likelier than not.

    Args:
        shape: (H, W).
        offers: labels with their probabilities in a rectangle of the slice. Equal ones go to the lower label, so
            the order in which labels come does not matter.

    Returns:
        (H, W) uint8, 0 where no label is likelier than not.
    """
    labels, best = np.zeros(shape, np.uint8), np.full(shape, 0.5, np.float32)
    for label, probability, window in offers:
        own, likeliest = labels[window], best[window]
        better = (probability > likeliest) | ((probability == likeliest) & (own > label))
        own[better] = label
        likeliest[better] = probability[better]
    return labels
