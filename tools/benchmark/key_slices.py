"""Which slices of the truth are given to a method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tools.benchmark.classical import Mask
from tools.benchmark.datasets import Structure
from volumes.key_slices import KeySlices


def choose_key_slices(structure: Mask, count: int) -> list[int]:
    """Key slices of one structure, evenly spaced inside it; the ends are not among them.

    The targets divide the structure's extent into `count + 1` equal parts; each takes the nearest slice
    that holds the structure, the lower one at a tie, so a structure with few slices may get fewer than
    `count`. A single key slice is the one with the largest area. This is the placement that gives the
    published figures of the classical tools on our data sets, to the third decimal.

    Args:
        structure: bool `(D, H, W)`, not empty.
        count: how many, at least 1.

    Returns:
        Slice indices, rising.
    """
    areas = structure.sum(axis=(1, 2))
    filled = np.flatnonzero(areas)
    if count == 1:
        return [int(areas.argmax())]
    targets = np.linspace(filled[0], filled[-1], count + 2)[1:-1]
    return sorted({int(filled[np.abs(filled - target).argmin()]) for target in targets})


def key_slices_for(shape: tuple[int, int, int], structures: Sequence[Structure], n: int) -> KeySlices:
    """Key slices of all structures at once, `n` for each, each speaking only for its own structures."""
    chosen: dict[int, list[Structure]] = {}
    for one in structures:
        for z in choose_key_slices(one.mask, n):
            chosen.setdefault(one.extent[0] + z, []).append(one)
    keys = KeySlices(shape)
    for z, there in sorted(chosen.items()):
        mask = np.zeros(shape[1:], np.uint8)
        for one in there:
            plane = mask[one.box[1:]]
            plane[one.mask[z - one.extent[0]]] = one.label
        keys.add(z, mask, labels=[one.label for one in there])
    return keys
