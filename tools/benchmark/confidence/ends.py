"""Where structures end: the regression of `confidence.Ending`, fitted on cases whose truth is known.

Structures are followed without marks to the ends of the volume, nothing stopping them. What was known on each slice
beyond the outermost key slices goes to the regression, cross-validated by case; then the rule of the propagation (a
structure that is gone for `ENDED_AFTER_MM` is given up) is played through for each threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from propagation_module.calibration import Examples, folds, regression
from propagation_module.confidence import BY_PRESENCE, Ending, Evidence
from propagation_module.walks import ENDED_AFTER_MM
from tools.benchmark import model
from tools.benchmark.datasets import Case, structures_of
from tools.benchmark.key_slices import key_slices_for

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20)) + (0.97, 0.99)


class Step(NamedTuple):
    """A slice beyond a structure's outermost key slices, on the way outward."""

    case: str
    run: int  # of one structure, from one key slice, in one direction; slices in order
    seen: Evidence
    true: float  # mm2
    spacing: float  # mm


class Outcome(NamedTuple):
    """What a threshold does, as shares of an area."""

    threshold: float
    beyond: float  # of what is labelled beyond the outermost key slices: beyond the true ends
    missed: float  # of the truth beyond the outermost key slices: given up
    overlap: float  # both in one, as a Dice of areas


def fit_ending(
    cases: Sequence[Case], spec: model.ModelSpec, counts: Sequence[int], *, threshold: float | None = None
) -> tuple[Ending, list[Outcome]]:
    """The regression, and what each of `THRESHOLDS` would do.

    Args:
        counts: numbers of key slices to try.
        threshold: None takes the one of the best overlap.

    Returns:
        `BY_PRESENCE` and nothing where fewer than two cases have slices beyond their key slices.
    """
    steps = [step for case in cases for step in walk_on(case, spec, counts)]
    if len({step.case for step in steps}) < 2:
        return BY_PRESENCE, []  # nothing ends before the volume does
    examples = Examples(
        np.array([step.seen.vector() for step in steps]),
        np.ones(len(steps), bool),
        np.array([float(step.true > 0) for step in steps]),
        np.array([step.case for step in steps]),
    )
    left_out = np.empty(len(steps))
    for rows in folds(examples.cases):
        ending = Ending(regression(examples.select(~rows)))
        left_out[rows] = [ending.probability(step.seen) for step, row in zip(steps, rows, strict=True) if row]
    outcomes = [play(steps, left_out, one) for one in THRESHOLDS]
    best = max(outcomes, key=lambda outcome: outcome.overlap).threshold
    return Ending(regression(examples), best if threshold is None else threshold), outcomes


def walk_on(case: Case, spec: model.ModelSpec, counts: Sequence[int]) -> list[Step]:
    """What is seen of a case's structures where nothing stops them."""
    from volumes.formats import read_label_map, read_volume

    label_map = read_label_map(case.labels)
    structures, volume = structures_of(case, label_map), read_volume(case.image)
    dz, dy, dx = volume.spacing
    steps: list[Step] = []
    for count in counts:
        asked: list[Evidence] = []
        propagator = copy(model.load(spec))
        propagator.ending = lambda seen, asked=asked: asked.append(seen) or False  # type: ignore[misc,func-returns-value]
        keys = key_slices_for(volume.shape, structures, count)
        propagator.propagate(volume, keys)
        for one in structures:
            low, high = min(keys.slices_with(one.label)), max(keys.slices_with(one.label))
            for way in (-1, 1):
                run = [
                    seen for seen in asked if seen.label == one.label and (seen.z > high if way > 0 else seen.z < low)
                ]
                number = hash((count, one.label, way))
                for seen in sorted(run, key=lambda seen: way * seen.z):
                    true = float((label_map.array[seen.z] == one.label).sum()) * dy * dx
                    steps.append(Step(f"{case.set_name}/{case.name}", number, seen, true, dz))
    return steps


def play(steps: Sequence[Step], probabilities: NDArray[np.float64], threshold: float) -> Outcome:
    """What is labelled and missed with a threshold."""
    labelled = beyond = missed = true = 0.0
    unseen, before = 0.0, None
    for step, probability in zip(steps, probabilities, strict=True):
        if (step.case, step.run) != before:
            unseen, before = 0.0, (step.case, step.run)
        gone = unseen > ENDED_AFTER_MM or probability < threshold
        unseen = unseen + step.spacing if gone else 0.0
        area = 0.0 if gone else step.seen.area
        labelled, true = labelled + area, true + step.true
        beyond += area if step.true == 0 else 0.0
        missed += step.true if gone else 0.0
    kept = min(labelled - beyond, true - missed)
    return Outcome(
        threshold, beyond / labelled if labelled else 0.0, missed / true if true else 0.0,
        2 * kept / (labelled + true) if labelled + true else 1.0,
    )  # fmt: skip
