"""One round's labelling: every member predicts every case, the aggregate becomes the pseudo-label, a rule selects.

One case at a time is in memory; members' label maps wait on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from cps.journal import settle
from cps.round_state import RoundsState
from cps.selection import CaseScores, SelectionRule
from cps.uncertainty import aggregate, agreement, voxel_counts
from volumes.errors import InputError, NotEnoughMemory
from volumes.formats import read_label_map, write_label_map
from volumes.label_map import LabelMap

Predict = Callable[[str], LabelMap]
"""From the name of a case to a member's label map of it, on the case's own grid."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Labelled:
    """A case's pseudo-label, and how far its members agree.

    Attributes:
        label_map: on the case's own grid.
        agreements: by label, for each structure that a member or the pseudo-label shows: values in 0..1.
    """

    label_map: LabelMap
    agreements: Mapping[int, tuple[float, ...]]


LabelCase = Callable[[str], Labelled]
"""From the name of a case to its pseudo-label, made by all members together."""


@dataclass(frozen=True)
class Labelling:
    """How cases are labelled by members one after the other, whose label maps are then brought together.

    Attributes:
        open_member: loads a member from its weights, once for all cases that it has to predict.
        rule: which pseudo-labels are accepted.
        tell: takes a line for each piece that is done.
    """

    open_member: Callable[[Path], Predict]
    rule: SelectionRule
    tell: Tell


@dataclass(frozen=True)
class JointLabelling:
    """How cases are labelled by members that look at each case together, as where their probabilities are averaged.

    Attributes:
        open_members: loads all members of a round from their weights, once for all cases.
        rule, tell: as of `Labelling`.
    """

    open_members: Callable[[Sequence[Path]], LabelCase]
    rule: SelectionRule
    tell: Tell


def label_cases(state: RoundsState, number: int, labelling: Labelling | JointLabelling) -> None:
    """Label and select all cases that round `number` has to judge; what is done already is not done again.

    A case that cannot be read or predicted (InputError) is written down as failed and left out from then on. Not so
    one for which memory does not suffice: started again where more is free, the rounds go on with it.

    Raises:
        NotEnoughMemory: while a member predicts a case.
    """
    weights = [member.weights for _, member in sorted(state.rounds[number].members.items())]
    cases = state.remaining(number)
    _sweep(state, number, len(weights))
    this = state.rounds[number]
    if isinstance(labelling, Labelling):
        _in_turn(state, number, weights, cases, labelling)
    else:
        _together(state, number, weights, cases, labelling)
    if this.verdicts is None:
        judged = [this.scores[case] for case in cases if case in this.scores]
        verdicts = labelling.rule.judge(judged, number)
        state.judged(number, {one.case: verdict for one, verdict in zip(judged, verdicts, strict=True)})
        labelling.tell(f"round {number}: {len(this.accepted)} of {len(cases)} cases accepted")


def _in_turn(
    state: RoundsState, number: int, weights: Sequence[Path], cases: Sequence[str], labelling: Labelling
) -> None:
    """Each member predicts all cases that are due, then the cases are scored."""
    this = state.rounds[number]
    for member, path in enumerate(weights, start=1):
        due = [case for case in cases if case not in this.scores and case not in this.failed]
        due = [case for case in due if not state.prediction(number, member, case).exists()]
        if not due:
            continue
        predict = labelling.open_member(path)
        for count, case in enumerate(due, start=1):
            _predict(state, number, member, case, predict, labelling.tell)
            labelling.tell(f"round {number}, member {member}: {case} ({count} of {len(due)})")
    for case in cases:
        if case not in this.scores and case not in this.failed:
            maps = [read_label_map(state.prediction(number, member, case)) for member in range(1, len(weights) + 1)]
            arrays = [one.array for one in maps]
            together = aggregate(arrays)
            made = LabelMap(together, maps[0].geometry, maps[0].table, case)
            _keep(state, number, case, Labelled(made, agreement(arrays, together)))


def _together(
    state: RoundsState, number: int, weights: Sequence[Path], cases: Sequence[str], labelling: JointLabelling
) -> None:
    """All members label one due case after the other."""
    this = state.rounds[number]
    due = [case for case in cases if case not in this.scores and case not in this.failed]
    label = labelling.open_members(weights) if due else None
    for count, case in enumerate(due, start=1):
        assert label is not None
        try:
            labelled = label(case)
        except NotEnoughMemory:
            raise
        except InputError as error:
            _left_out(state, number, case, error, labelling.tell)
            continue
        _keep(state, number, case, labelled)
        labelling.tell(f"round {number}: {case} ({count} of {len(due)})")


def _predict(state: RoundsState, number: int, member: int, case: str, predict: Predict, tell: Tell) -> None:
    try:
        label_map = predict(case)
    except NotEnoughMemory:
        raise
    except InputError as error:
        _left_out(state, number, case, error, tell)
        return
    path = state.prediction(number, member, case)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_label_map(label_map, path)


def _left_out(state: RoundsState, number: int, case: str, error: InputError, tell: Tell) -> None:
    state.failed(number, case, str(error))
    tell(f"round {number}: {case} is left out: {error}")


def _keep(state: RoundsState, number: int, case: str, labelled: Labelled) -> None:
    """Write the case's pseudo-label, and then how far the members agree on it."""
    path = state.pseudo_label(number, case)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_label_map(labelled.label_map, path, overwrite=True)
    settle(path, state.folder)
    names = {int(value): str(name) for value, name in state.about["structures"].items()}
    counts = voxel_counts(labelled.label_map.array)
    scores = CaseScores(
        case,
        {names[label]: values for label, values in labelled.agreements.items()},
        {names[label]: int(counts[label]) for label in labelled.agreements},
        prod(labelled.label_map.geometry.spacing_xyz),
    )
    state.scored(number, scores)


def _sweep(state: RoundsState, number: int, members: int) -> None:
    """Remove what a killed process left half-written; such files are hidden and never looked at otherwise."""
    folders = [state.prediction(number, member, "").parent for member in range(1, members + 1)]
    for folder in [*folders, state.pseudo_label(number, "").parent]:
        for leftover in folder.glob(".keyslice-*"):
            leftover.unlink()
