"""Two opinions of every slice into one label map: the pair's, and what propagation carried there from key slices.

The pair sees a slice by itself and errs on each anew; propagation stays with what the key slices say and errs more the
farther it comes. So both are averaged, the pair's also over neighbouring slices (`reference_module.smoothing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from networks.classes import class_values
from reference_module.smoothing import smoothed

if TYPE_CHECKING:
    from networks.upsampling import FilePixels
    from propagation_module.session import Session
    from reference_module.referencer import Referencer

Offer = tuple[NDArray[np.float32], tuple[slice, slice]]
"""Probabilities in a rectangle of a slice, and which one."""


class Blended(NamedTuple):
    """What came of both.

    Args:
        labels: (D, H, W).
        agreement: (D,) of each of the pair's labels: Dice of the two members on each slice.
    """

    labels: NDArray[np.uint8]
    agreement: dict[int, NDArray[np.float32]]


def blended(
    session: Session, referencer: Referencer, share: float, progress: Callable[[int, int], None] | None = None
) -> Blended:
    """Key slices as they were given, elsewhere the likeliest class.

    A structure of the pair's that is on no key slice is on no other: the pair was not sure enough of it anywhere.
    Memory: the label map and a few slices, whatever the number of slices.

    Args:
        session: after `propagate`.
        share: of propagation in the mean of both probabilities; the rest is the pair's.
        progress: called with slices done and slices in all.
    """
    volume, keys = session.volume, session.key_slices
    depth, values = volume.shape[0], np.array(class_values(referencer.table), np.uint8)
    carried = {number: int(label) for number, label in enumerate(values) if label in keys.labels}
    pixels, out = referencer.file_pixels(volume), np.empty(volume.shape, np.uint8)
    agreement = np.empty((len(referencer.table), depth), np.float32)

    def looks() -> Iterator[Tensor]:
        for seen in referencer.look(volume):
            agreement[:, seen.z] = seen.agreement()
            yield seen.mean

    for z, pair in enumerate(smoothed(looks(), depth, volume.spacing[0])):
        offers = {number: offer for number, label in carried.items() if (offer := session.probability(label, z))}
        plane = values[likeliest(_only(pair, list(carried)), pixels, offers, share)]
        if z in keys:
            given = keys.mask(z)
            plane[np.isin(plane, sorted(keys.speaks_for(z)))] = 0
            plane[given > 0] = given[given > 0]
        out[z] = plane
        if progress is not None:
            progress(z + 1, depth)
    return Blended(out, dict(zip(referencer.table, agreement, strict=True)))


def likeliest(pair: Tensor, pixels: FilePixels, offers: Mapping[int, Offer], share: float) -> NDArray[np.uint8]:
    """The class (H, W) of greatest mean probability.

    Args:
        pair: its probabilities (C, h, w) on the inner grid of `pixels`.
        offers: propagation's, by class. Classes are carried each by itself, so they need not sum to 1: background is
            what none of them claims, then all are scaled.
        share: of propagation.
    """
    none, total = np.ones(pixels.native, np.float32), np.zeros(pixels.native, np.float32)
    for own, window in offers.values():
        none[window] *= 1 - own
        total[window] += own
    scale = share / (none + total)
    whole = slice(0, pixels.native[0]), slice(0, pixels.native[1])
    claims: dict[int, Offer] = {0: (none, whole), **offers}

    def mean(some: Tensor) -> Tensor:
        values = pixels.resampled(pair[some]) * (1 - share)
        for row, number in enumerate(some.tolist()):
            if number in claims:
                own, window = claims[number]
                values[(row, *window)] += torch.from_numpy(own * scale[window]).to(values.device)
        return values

    candidates = sorted({*pixels.candidates(pair).tolist(), *claims})
    return pixels.likeliest(torch.tensor(candidates, device=pair.device), mean)[0]


def _only(pair: Tensor, wanted: list[int]) -> Tensor:
    """Probabilities of which those of all other classes count as background."""
    out = torch.zeros_like(pair)
    out[wanted] = pair[wanted]
    out[0] = 1 - out[1:].sum(0)
    return out
