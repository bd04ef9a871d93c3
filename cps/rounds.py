"""Rounds of self-training: train members, label what has no labels, select, train again with what was selected.

The paper's cycle (Pham et al. 2022, 2.2; systems 1.7). The engine knows no network: what trains, predicts and validates
is given to it, so the 3D recipes run on it too. Every piece that is done is in the folder's journal before the next one
begins; a process that dies, however, loses the piece in flight and nothing else (cps.round_state).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cps.journal import settle
from cps.labelling import JointLabelling, Labelling, Tell, label_cases
from cps.round_report import write_report
from cps.round_state import RoundsState
from networks.locks import locked
from networks.training.pseudo_label import PseudoLabel
from volumes.errors import InputError


@dataclass(frozen=True)
class Task:
    """A member to train.

    Attributes:
        round, member: from 1.
        pseudo: pseudo-labels to train on, by case.
        folder: for the run, not there yet unless it was killed and has to go on.
        before: weights of the same member in the round before, if there was one.
    """

    round: int
    member: int
    pseudo: Mapping[str, PseudoLabel]
    folder: Path
    before: Path | None


LOCK = "rounds.lock"
"""In the folder: held by the process that is at the rounds."""

TrainMember = Callable[[Task], Path]
"""Trains a member and returns its weights; called once more for the same task if it was killed."""

Validate = Callable[[Path], float | None]
"""From weights to a score, the higher the better; None where there is nothing to validate on."""


@dataclass(frozen=True)
class RoundSettings:
    """How many rounds of how many members.

    Attributes:
        members: trained in each round, each with its own seed. Three or more are better: where two differ, nobody
            outvotes either, and the first one's label is taken (`cps.uncertainty`). One agrees with itself: such
            rounds need a rule that goes by something else.
        rounds: the most rounds. The last one trains on all that was accepted and labels nothing.
        last_members: members of the last round, whose agreement nobody needs; None: as many as in the others.
        minimum_gain: by how much the mean validation score has to exceed the best of the rounds before; -1: the rounds
            go on whatever it is.
    """

    members: int = 3
    rounds: int = 4
    last_members: int | None = None
    minimum_gain: float = 0.0

    def __post_init__(self) -> None:
        least = {"members": 1, "rounds": 1, "last_members": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise InputError(name, found=f"{value}", expected=f"{low} or more", fix="correct it")

    def members_of(self, labels: bool) -> int:
        """How many members a round trains; `labels`: whether cases will be labelled by them."""
        return self.members if labels or self.last_members is None else self.last_members


@dataclass(frozen=True)
class Cases:
    """What is trained on.

    Attributes:
        labelled: names of the cases with labels.
        unlabelled: image of each case without, by name.
        structures: names by label number: what a pseudo-label can speak for.
    """

    labelled: Sequence[str]
    unlabelled: Mapping[str, Path]
    structures: Mapping[int, str]


def run_rounds(
    folder: Path,
    cases: Cases,
    settings: RoundSettings,
    labelling: Labelling | JointLabelling,
    *,
    train_member: TrainMember,
    validate: Validate,
    origin: Mapping[str, Any] | None = None,
    anew: bool = False,
) -> RoundsState:
    """Run the rounds in `folder`, or go on with those that stopped there, until they end.

    They end when a round's validation score no longer rises, when no case is added, when all cases without labels are
    used, or after `settings.rounds` rounds. A round that adds no case ends them before anything is trained on nothing.

    Args:
        origin: what else must be the same for the rounds to go on, such as the training's settings; plain values.
        anew: each round labels and judges all cases, and what it accepts takes the place of what earlier ones did.

    Raises:
        InputError: no case of one kind, a single member whose agreement would be the score, rounds in `folder` that
            were begun with something else, or another process that is at them.
    """
    check_cases(cases, folder)
    if isinstance(labelling, Labelling) and settings.members < 2:
        raise InputError("members", found="1", expected="2 or more: their agreement is the score", fix="correct it")
    with locked(folder, name=LOCK, wait=False):
        state = RoundsState(folder)
        about = _about(cases, settings, labelling, origin or {})
        state.begin({**about, "anew": True} if anew else about)
        number = max(state.rounds, default=1)
        while state.ended is None:
            reason = _round(state, number, settings, labelling, train_member, validate)
            if reason is not None:
                labelling.tell(f"round {number}: {reason}")
                state.end(reason)
            write_report(state)
            number += 1
        write_report(state)
    return state


def label_once(
    folder: Path,
    unlabelled: Mapping[str, Path],
    structures: Mapping[int, str],
    weights: Sequence[Path],
    labelling: Labelling | JointLabelling,
) -> RoundsState:
    """Label and select cases by members that are trained already: one round without training, in `folder`.

    Started again with another rule, it judges anew what is scored already.

    Raises:
        InputError: fewer than two members, labelling in `folder` that was begun with something else, or another
            process that is at it.
    """
    if len(weights) < 2:
        raise InputError(
            folder,
            found=f"{len(weights)} member{'' if len(weights) == 1 else 's'}",
            expected="the weights of two or more that were trained apart: their agreement is the score",
            fix="train another with its own seed",
        )
    origin = {"weights": [identity(path) for path in weights]}
    with locked(folder, name=LOCK, wait=False):
        state = RoundsState(folder)
        state.begin(_about(Cases((), unlabelled, structures), None, labelling, origin), judge_anew=True)
        for member, path in enumerate(weights, start=1):
            if 1 not in state.rounds or member not in state.rounds[1].members:
                state.trained(1, member, path.resolve())
        if state.ended is None:
            label_cases(state, 1, labelling)
            state.end("labelled by the members that were given")
        write_report(state)
    return state


def _round(
    state: RoundsState,
    number: int,
    settings: RoundSettings,
    labelling: Labelling | JointLabelling,
    train_member: TrainMember,
    validate: Validate,
) -> str | None:
    """Train, validate, label and select. Returns why the rounds end here, None if they go on."""
    labels = number < settings.rounds and bool(state.remaining(number))
    for member in range(1, settings.members_of(labels) + 1):
        train_one(state, number, member, labelling.tell, train_member, validate)
    write_report(state)
    if reason := _no_gain(state, number, settings):
        return reason
    if not labels:
        return f"{number} rounds are done" if state.remaining(number) else "all cases without labels are used"
    label_cases(state, number, labelling)
    return None if state.rounds[number].accepted else "no case was added"


def train_one(
    state: RoundsState, number: int, member: int, tell: Tell, train_member: TrainMember, validate: Validate
) -> None:
    """Train and validate one member of a round, as far as that is not done."""
    if number not in state.rounds or member not in state.rounds[number].members:
        earlier = state.rounds[number - 1].members.get(member) if number > 1 else None
        task = Task(
            number,
            member,
            state.accepted(before=number),
            state.training_folder(number, member),
            None if earlier is None else earlier.weights,
        )
        weights = train_member(task)
        settle(weights, state.folder)
        state.trained(number, member, weights)
        tell(f"round {number}, member {member}: trained with {len(task.pseudo)} pseudo-labelled cases")
    one = state.rounds[number].members[member]
    if not one.validated:
        state.validated(number, member, validate(one.weights))
        tell(f"round {number}, member {member}: validation {_text(one.score)}")


def _no_gain(state: RoundsState, number: int, settings: RoundSettings) -> str | None:
    """In words, if the score of round `number` is not above that of all rounds before."""
    scores = {n: one.score for n, one in state.rounds.items()}
    before = [one for n, one in scores.items() if n < number and one is not None]
    score = scores[number]
    if not before or score is None or score > max(before) + settings.minimum_gain:
        return None
    margin = f" by {settings.minimum_gain:g}" if settings.minimum_gain else ""
    return f"the validation score, {_text(score)}, did not rise above {_text(max(before))}{margin}"


def _about(
    cases: Cases, settings: RoundSettings | None, labelling: Labelling | JointLabelling, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """What the journal's first line says, and what has to be the same for the rounds to go on."""
    rule = labelling.rule
    return {
        "settings": None if settings is None else asdict(settings),
        "rule": {"kind": type(rule).__name__, **asdict(rule)},  # type: ignore[call-overload]
        "structures": {str(value): name for value, name in sorted(cases.structures.items())},
        "labelled": sorted(cases.labelled),
        "unlabelled": {name: str(path.resolve()) for name, path in sorted(cases.unlabelled.items())},
        "origin": dict(origin),
    }


def check_cases(cases: Cases, folder: Path) -> None:
    """Raise InputError where there is nothing to train on, or nothing to select from."""
    for what, there in (("labels", cases.labelled), ("no labels", cases.unlabelled)):
        if not there:
            raise InputError(
                folder,
                found=f"no case with {what} to begin with",
                expected="cases with labels to train on and cases without to select from",
                fix="check --data: a case without a label file is an unlabelled one",
            )


def identity(path: Path) -> str:
    """A file's path and a digest of what is in it, to know it again."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return f"{path.resolve()} {digest.hexdigest()[:16]}"


def _text(score: float | None) -> str:
    return "none" if score is None else f"{score:.4f}"
