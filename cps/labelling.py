"""One round's labelling: every member predicts every case, the aggregate becomes the pseudo-label, a rule selects.

One case at a time is in memory; members' label maps wait on the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cps.journal import settle
from cps.round_state import RoundsState
from cps.selection import CaseScores, SelectionRule
from cps.uncertainty import aggregate, agreement, voxel_counts
from volumes.errors import InputError
from volumes.formats import read_label_map, write_label_map
from volumes.label_map import LabelMap

Predict = Callable[[str], LabelMap]
"""From the name of a case to a member's label map of it, on the case's own grid."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Labelling:
    """How cases are labelled.

    Attributes:
        open_member: loads a member from its weights, once for all cases that it has to predict.
        rule: which pseudo-labels are accepted.
        tell: takes a line for each piece that is done.
    """

    open_member: Callable[[Path], Predict]
    rule: SelectionRule
    tell: Tell


def label_cases(state: RoundsState, number: int, labelling: Labelling) -> None:
    """Label and select all cases that round `number` has to judge; what is done already is not done again.

    A case that cannot be read or predicted (InputError) is written down as failed and left out from then on.
    """
    weights = [member.weights for _, member in sorted(state.rounds[number].members.items())]
    cases = state.remaining(number)
    _sweep(state, number, len(weights))
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
            state.scored(number, _score(state, number, len(weights), case))
    if this.verdicts is None:
        judged = [this.scores[case] for case in cases if case in this.scores]
        verdicts = labelling.rule.judge(judged)
        state.judged(number, {one.case: verdict for one, verdict in zip(judged, verdicts, strict=True)})
        labelling.tell(f"round {number}: {len(this.accepted)} of {len(cases)} cases accepted")


def _predict(state: RoundsState, number: int, member: int, case: str, predict: Predict, tell: Tell) -> None:
    try:
        label_map = predict(case)
    except InputError as error:
        state.failed(number, case, str(error))
        tell(f"round {number}: {case} is left out: {error}")
        return
    path = state.prediction(number, member, case)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_label_map(label_map, path)


def _score(state: RoundsState, number: int, members: int, case: str) -> CaseScores:
    """Write the case's pseudo-label, and say how far the members agree."""
    maps = [read_label_map(state.prediction(number, member, case)) for member in range(1, members + 1)]
    arrays = [one.array for one in maps]
    together = aggregate(arrays)
    path = state.pseudo_label(number, case)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_label_map(LabelMap(together, maps[0].geometry, maps[0].table, case), path, overwrite=True)
    settle(path, state.folder)
    names = {int(value): str(name) for value, name in state.about["structures"].items()}
    counts = voxel_counts(together)
    agreements = agreement(arrays, together)
    return CaseScores(
        case,
        {names[label]: values for label, values in agreements.items()},
        {names[label]: int(counts[label]) for label in agreements},
    )


def _sweep(state: RoundsState, number: int, members: int) -> None:
    """Remove what a killed process left half-written; such files are hidden and never looked at otherwise."""
    folders = [state.prediction(number, member, "").parent for member in range(1, members + 1)]
    for folder in [*folders, state.pseudo_label(number, "").parent]:
        for leftover in folder.glob(".keyslice-*"):
            leftover.unlink()
