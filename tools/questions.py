"""Which slices the pair should look at again: where it missed a structure, and where propagation is in doubt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from propagation_module.suggestion import areas_of, suggest
from reference_module.judgement import is_absent, judge
from volumes.key_slices import KeySlices

if TYPE_CHECKING:
    from propagation_module.session import Session
    from reference_module.choices import SelectionSettings
    from reference_module.segmented import Segmented
    from volumes.labels import LabelTable

THINNEST_MM = 5.0  # structures that are thinner are not looked for between slices
WORTHWHILE = 0.02  # expected share of a structure's volume put right; below it a slice is not worth a look


@dataclass(frozen=True)
class Question:
    """What is on slice `z` of `label`, and why that is asked."""

    z: int
    label: int
    reason: str


def where_seen(
    seen: Segmented, missed: Collection[int], sampled: Collection[int], asked: Mapping[int, Collection[int]]
) -> list[Question]:
    """For each structure without key slices the slice where it is surest of those that were segmented by the way.

    Those that were looked at first are left out: there the strategy has turned it down.

    Args:
        seen: what has been segmented so far.
        missed: labels.
        sampled: slices that were looked at first.
        asked: labels by slice that were asked about.
    """
    found = []
    others = [z for z in seen.slices if z not in sampled]
    for label in missed:
        slices = [z for z in others if seen.area_of(z, label) and label not in asked.get(z, ())]
        if slices:
            z = max(slices, key=lambda z: (round(judge(seen, z, label).worth, 2), seen.area_of(z, label), -z))
            found.append(Question(z, label, f"{seen.table.name_of(label)}: on none of the slices looked at first"))
    return found


def where_missed(seen: Segmented, missed: Collection[int], settings: SelectionSettings) -> list[Question]:
    """For each structure without key slices the middle of the stretch between segmented slices where it is likeliest.

    Where the pair is confident on both sides of a stretch that it is not, it is not asked again.

    Args:
        settings: what confident means.

    Returns:
        The likeliest first.
    """
    found = []
    for label in missed:
        peaks = {z: seen.peak_of(z, label) for z in seen.slices}
        gaps = []
        for low, high in pairwise([-1, *seen.slices, seen.depth]):
            sides = [z for z in (low, high) if z in peaks]
            if high - low > 1 and not all(is_absent(seen, z, label, settings) for z in sides):
                gaps.append((max(peaks[z] for z in sides), sum(peaks[z] for z in sides), -((low + high) // 2)))
        if gaps:
            peak, _, z = max(gaps)
            reason = f"{seen.table.name_of(label)}: missed, with a probability of {peak:.2f} beside this slice"
            found.append((peak, Question(-z, label, reason)))
    return [question for _, question in sorted(found, key=lambda one: -one[0])]


def where_unseen(seen: Segmented, missed: Collection[int], most: int) -> list[Question]:
    """For structures without key slices the middles of the widest stretches between segmented slices.

    Nothing hints at a structure there, but one that is thin may lie between two slices and be on neither.

    Args:
        missed: labels.
        most: slices.
    """
    gaps = [(low, high) for low, high in pairwise(seen.slices) if high - low > 1]
    wide = [gap for gap in gaps if (gap[1] - gap[0]) * seen.spacing > THINNEST_MM]
    found = []
    for low, high in sorted(wide, key=lambda gap: gap[0] - gap[1])[:most]:
        for label in missed:
            reason = f"{seen.table.name_of(label)}: missed, and may lie between slices {low} and {high}"
            found.append(Question((low + high) // 2, label, reason))
    return found


def where_doubtful(
    session: Session,
    confidence: Mapping[int, npt.NDArray[np.float32]],
    asked: Mapping[int, Collection[int]],
    table: LabelTable,
    *,
    confident: float,
    most: int,
) -> list[Question]:
    """Slices where propagation is not confident and an answer should help most.

    Args:
        session: after `propagate`.
        confidence: (D,) of each label.
        asked: labels by slice that need not be asked about again: the pair had no good answer.
        table: for the reasons.
        confident: confidence from which a slice needs no second look.
        most: slices.
    """
    if not session.key_slices.labels:
        return []
    known = _copy(session.key_slices)
    for z, labels in asked.items():
        _add_named(known, z, labels)
    # What is confident enough shall not be asked about, however much of it there is.
    doubts = {label: np.where(one >= confident, np.float32(1.0), one) for label, one in confidence.items()}
    areas, spacing = areas_of(session.labels), session.volume.spacing[0]
    names = {label: table.name_of(label) for label in confidence}
    found: list[Question] = []
    for _ in range(most):
        best = suggest(areas, doubts, known, {}, spacing=spacing, names=names)
        if best is None or best.gain < WORTHWHILE:
            break
        found += [Question(best.z, label, best.reason) for label in best.labels]
        _add_named(known, best.z, best.labels)
    return found


def _copy(keys: KeySlices) -> KeySlices:
    copy = KeySlices(keys.shape_dhw, where=keys.where)
    for z in keys.slices():
        copy.add(z, keys.mask(z), keys.named(z), keys.is_complete(z))
    return copy


def _add_named(keys: KeySlices, z: int, labels: Collection[int]) -> None:
    """Count `labels` as known on slice `z`, whatever is there."""
    mask = keys.mask(z) if z in keys else np.zeros(keys.shape_dhw[1:], np.uint8)
    named = keys.named(z) if z in keys else frozenset[int]()
    keys.add(z, mask, named | frozenset(labels))
