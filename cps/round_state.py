"""What rounds of pseudo-labelling have done so far: a folder that can be read at any time and gone on from.

    FOLDER/rounds.jsonl                                  the journal: what was begun, and every piece that is done
    FOLDER/rounds.lock                                   held by the process that is at it (networks.locks)
    FOLDER/report.md, report.json                        the same for people and programs (cps.round_report)
    FOLDER/round_01/member_1/training/                   the run of one member, its weights among it
    FOLDER/round_01/member_1/predictions/CASE.nii.gz     what it says of a case without labels
    FOLDER/round_01/pseudo_labels/CASE.nii.gz            the members' aggregate, of accepted and rejected cases

The journal alone says what is done. A label map is written before the line that speaks of it, so a process that dies
between the two does this one piece again, with the same result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from cps.journal import Journal
from cps.selection import CaseScores, Verdict
from networks.training.pseudo_label import PseudoLabel
from volumes.errors import InputError

JOURNAL = "rounds.jsonl"


@dataclass
class Member:
    """One trained member: its weights, and its score on the validation cases where there are any."""

    weights: Path
    validated: bool = False
    score: float | None = None


@dataclass
class Round:
    """What is known of one round.

    Attributes:
        members: by number, from 1.
        scores: of the cases that were scored, by name.
        failed: cases that could not be predicted, and why.
        verdicts: of all cases that were scored, once the round is judged.
    """

    members: dict[int, Member] = field(default_factory=dict)
    scores: dict[str, CaseScores] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, Verdict] | None = None

    @property
    def score(self) -> float | None:
        """Mean of the members' validation scores, None where there is none."""
        scores = [member.score for member in self.members.values() if member.score is not None]
        return fmean(scores) if scores else None

    @property
    def accepted(self) -> list[str]:
        """Cases that join the training after this round."""
        return [case for case, verdict in (self.verdicts or {}).items() if verdict.accepted]


class RoundsState:
    """The state of all rounds in one folder.

    Attributes:
        folder: where everything is.
        about: what was begun: settings, rule, structures by label number, cases. Empty before `begin`.
        rounds: by number, from 1.
        ended: why the rounds ended, None while they go on.

    Raises:
        InputError: a journal that is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._journal = Journal(folder / JOURNAL)
        self.about: dict[str, Any] = {}
        self.rounds: dict[int, Round] = {}
        self.ended: str | None = None
        for line in self._journal.lines:
            self._take(line)

    def begin(self, about: Mapping[str, Any], *, judge_anew: bool = False) -> None:
        """Say what the rounds are about, or, if they were begun before, check that it is the same.

        Args:
            judge_anew: another rule than before is taken: the verdicts are forgotten, and what was scored stays.

        Raises:
            InputError: they were begun with other settings or cases.
        """
        if not self.about:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._add({"event": "begun", "about": dict(about)})
            return
        about = json.loads(json.dumps(about))  # as the journal gives it back: tuples are lists
        before = {**self.about, "rule": about["rule"]} if judge_anew else self.about
        if different := _difference(before, about):
            name, then, now = different
            raise InputError(
                self.folder,
                found=f"rounds that were begun with {name} {then}, now {now}",
                expected="the settings and cases that they were begun with",
                fix="go on with those, or begin anew in another folder",
            )
        if before["rule"] != self.about["rule"]:
            self._add({"event": "rule", "rule": about["rule"]})

    def trained(self, number: int, member: int, weights: Path) -> None:
        """A member is trained. Weights in the folder are kept relative to it, so that it can be moved."""
        inside = weights.is_relative_to(self.folder)
        path = weights.relative_to(self.folder) if inside else weights
        self._add({"event": "trained", "round": number, "member": member, "weights": path.as_posix()})

    def validated(self, number: int, member: int, score: float | None) -> None:
        """A member has its score on the validation cases; None where there are none."""
        rounded = None if score is None else round(score, 6)
        self._add({"event": "validated", "round": number, "member": member, "score": rounded})

    def scored(self, number: int, scores: CaseScores) -> None:
        """A case's pseudo-label is on the disk, and the members' agreement on it is known."""
        agreements = {name: [round(one, 6) for one in values] for name, values in scores.agreements.items()}
        entry = {"case": scores.case, "agreements": agreements, "voxels": dict(scores.voxels)}
        self._add({"event": "scored", "round": number, **entry, "voxel_mm3": round(scores.voxel_mm3, 6)})

    def failed(self, number: int, case: str, reason: str) -> None:
        """A case cannot be predicted."""
        self._add({"event": "failed", "round": number, "case": case, "reason": reason})

    def judged(self, number: int, verdicts: Mapping[str, Verdict]) -> None:
        """The round's cases are selected."""
        plain = {case: {**asdict(one), "score": round(one.score, 6)} for case, one in verdicts.items()}
        self._add({"event": "judged", "round": number, "verdicts": plain})

    def end(self, reason: str) -> None:
        """No further round."""
        self._add({"event": "ended", "reason": reason})

    @property
    def anew(self) -> bool:
        """Whether each round judges all cases anew."""
        return bool(self.about.get("anew", False))

    def accepted(self, before: int | None = None) -> dict[str, PseudoLabel]:
        """Accepted cases and their pseudo-labels, in the order of acceptance; `before`: of earlier rounds only.

        Where each round judges all cases anew, those that the latest of these rounds accepted.
        """
        judged = [
            (number, one)
            for number, one in sorted(self.rounds.items())
            if one.verdicts is not None and (before is None or number < before)
        ]
        return {
            case: PseudoLabel(self.pseudo_label(number, case), self._labels_of(one.verdicts[case].structures))
            for number, one in (judged[-1:] if self.anew else judged)
            if one.verdicts
            for case in one.accepted
        }

    def remaining(self, number: int) -> list[str]:
        """Cases without labels that round `number` has to judge: neither accepted nor failed in an earlier one.

        Where each round judges all cases anew, accepted ones are among them.
        """
        done = set() if self.anew else set(self.accepted(before=number))
        for earlier in range(1, number):
            done |= self.rounds[earlier].failed.keys()
        return [case for case in self.about["unlabelled"] if case not in done]

    def best(self) -> Member | None:
        """The member to use: the best one of the best round, the last round's first where nothing was validated."""
        complete = [one for one in self.rounds.values() if one.members]
        if not complete:
            return None
        scored = [one for one in complete if one.score is not None]
        chosen = max(scored, key=lambda one: one.score or 0.0) if scored else complete[-1]
        members = list(chosen.members.values())
        return max(members, key=lambda one: -1.0 if one.score is None else one.score)

    def training_folder(self, number: int, member: int) -> Path:
        """Folder of a member's training run."""
        return self._member(number, member) / "training"

    def prediction(self, number: int, member: int, case: str) -> Path:
        """A member's label map of a case."""
        return self._member(number, member) / "predictions" / f"{case}.nii.gz"

    def pseudo_label(self, number: int, case: str) -> Path:
        """The aggregate of a case."""
        return self.folder / f"round_{number:02d}" / "pseudo_labels" / f"{case}.nii.gz"

    def _labels_of(self, names: Sequence[str] | None) -> frozenset[int] | None:
        """Label numbers of structures; None, all of the table, if it is all of the table."""
        found = frozenset(int(value) for value, name in self.about["structures"].items() if names and name in names)
        return None if names is None or len(found) == len(self.about["structures"]) else found

    def _member(self, number: int, member: int) -> Path:
        return self.folder / f"round_{number:02d}" / f"member_{member}"

    def _add(self, line: dict[str, Any]) -> None:
        self._journal.append(line)
        self._take(self._journal.lines[-1])

    def _take(self, line: Mapping[str, Any]) -> None:
        """Follow one line of the journal."""
        match line["event"]:
            case "begun":
                self.about = line["about"]
            case "trained":
                self._round(line).members[line["member"]] = Member(self.folder / line["weights"])
            case "validated":
                member = self._round(line).members[line["member"]]
                member.validated, member.score = True, line["score"]
            case "scored":
                agreements = {name: tuple(values) for name, values in line["agreements"].items()}
                self._round(line).scores[line["case"]] = CaseScores(
                    line["case"], agreements, line["voxels"], line.get("voxel_mm3", 1.0)
                )
            case "failed":
                self._round(line).failed[line["case"]] = line["reason"]
            case "judged":
                self._round(line).verdicts = {case: _verdict(one) for case, one in line["verdicts"].items()}
            case "rule":
                self.about, self.ended = {**self.about, "rule": line["rule"]}, None
                for one in self.rounds.values():
                    one.verdicts = None
            case "ended":
                self.ended = line["reason"]

    def _round(self, line: Mapping[str, Any]) -> Round:
        return self.rounds.setdefault(line["round"], Round())


def read_rounds(folder: Path) -> RoundsState:
    """The state of rounds that were begun; raises InputError where there are none."""
    state = RoundsState(folder)
    if not state.about:
        raise InputError(
            folder,
            found=f"no {JOURNAL} with rounds in it",
            expected="a folder of `keyslice train rounds`",
            fix="check the path",
        )
    return state


def _verdict(plain: Mapping[str, Any]) -> Verdict:
    names = plain.get("structures")
    return Verdict(**{**plain, "structures": None if names is None else tuple(names)})


def _difference(before: Any, now: Any, name: str = "") -> tuple[str, str, str] | None:
    """The first entry that differs: its name, and both values in short."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(key for key in now if key not in before)]:
            found = _difference(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
            if found:
                return found
        return None
    return None if before == now else (name, _short(before), _short(now))


def _short(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"{len(value)} entries ({', '.join(str(one) for one in value[:3])}, ...)"
    return str(value)
