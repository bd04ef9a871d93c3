"""Several members' label maps of one case: their aggregate, and how far they agree with it.

The paper's uncertainty estimation (Pham et al. 2022, 2.2 "Pseudo labeling with Uncertainty Estimation", systems 1.7):
members that were trained apart agree where the image leaves no choice. Only structures that a member or the aggregate
contains are scored: a structure that nobody saw says nothing about the case, and counting it as agreement hides one
that is wholly wrong behind ten that are not there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]

_VALUES = 256  # of a uint8


def aggregate(members: Sequence[Labels]) -> Labels:
    """The label that most members give each voxel.

    Ties, as always where two members differ and where three say three things, go to the label of the earliest of the
    members that are in it. So they favour no label: were background always to lose, two members would make their
    union, which is larger than either, and were it always to win, their intersection.

    Args:
        members: uint8 `(D, H, W)` each, all of one shape, at least one, in the order of their numbers.

    Returns:
        uint8 `(D, H, W)`, a new array.

    Raises:
        ValueError: no member, or shapes that differ.
    """
    _check(members)
    result = members[0].copy()
    for z in range(len(result)):  # by slices, so that the votes stay small
        votes = np.stack([member[z] for member in members])  # M x H x W
        disputed = (votes != votes[0]).any(0)
        said = votes[:, disputed]  # M x P
        counts = np.stack([(said == one).sum(0) for one in said])  # M x P: how many say the same as each
        earliest = counts.argmax(0)  # the first of equals
        result[z][disputed] = np.take_along_axis(said, earliest[None], axis=0)[0]
    return result


def agreement(members: Sequence[Labels], aggregated: Labels) -> dict[int, tuple[float, ...]]:
    """How far each member agrees with the others, for every structure that a member or the aggregate contains.

    With three or more members that is Dice with their aggregate, as in `member_scores`. The aggregate of two is the
    first of them, with which it would agree perfectly: both have their Dice with each other.
    """
    if len(members) == 2:
        return {label: values * 2 for label, values in member_scores(members[1:], members[0]).items()}
    return member_scores(members, aggregated)


def member_scores(members: Sequence[Labels], aggregated: Labels) -> dict[int, tuple[float, ...]]:
    """Dice of each member with the aggregate, for every structure that a member or the aggregate contains.

    A member that lacks a structure agrees (1.0) if the aggregate lacks it too.

    Args:
        members: uint8 `(D, H, W)` each.
        aggregated: uint8 `(D, H, W)`.

    Returns:
        By label, in rising order, one value for each member.

    Raises:
        ValueError: no member, or shapes that differ.
    """
    _check([*members, aggregated])
    together = voxel_counts(aggregated)
    sizes = np.stack([voxel_counts(member) for member in members])  # M x 256
    common = np.stack([_common(member, aggregated) for member in members])
    occurring = [int(label) for label in np.flatnonzero(together + sizes.sum(0)) if label]
    return {
        label: tuple(
            2.0 * int(both) / int(size + together[label]) if size + together[label] else 1.0
            for both, size in zip(common[:, label], sizes[:, label], strict=True)
        )
        for label in occurring
    }


def voxel_counts(labels: Labels) -> NDArray[np.int64]:
    """How many voxels of `labels`, uint8 `(D, H, W)`, have each of the 256 values."""
    counts = np.zeros(_VALUES, dtype=np.int64)
    for plane in labels:  # at once, bincount would widen the whole array to int64
        counts += np.bincount(plane.ravel(), minlength=_VALUES)
    return counts


def _common(first: Labels, second: Labels) -> NDArray[np.int64]:
    counts = np.zeros(_VALUES, dtype=np.int64)
    for one, other in zip(first, second, strict=True):
        counts += np.bincount(one[one == other], minlength=_VALUES)
    return counts


def _check(arrays: Sequence[Labels]) -> None:
    if not arrays:
        raise ValueError("no member: an aggregate needs at least one")
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"label maps of different shapes: {sorted({array.shape for array in arrays})}")
