"""Rounds whose members label each case together, and rounds that label all cases anew."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_rounds import NAMES, Fakes, calls_of, label_map

from cps.labelling import JointLabelling, LabelCase, Labelled
from cps.round_state import RoundsState, read_rounds
from cps.rounds import Cases, RoundSettings, run_rounds
from cps.selection import CaseScores, Verdict
from volumes.errors import InputError
from volumes.formats import read_label_map


@dataclass(frozen=True)
class Listed:
    """Accepts cases by name, in each round others."""

    names: tuple[tuple[str, ...], ...]

    def judge(self, cases: Sequence[CaseScores], number: int = 1) -> list[Verdict]:
        return [Verdict(case.case in self.names[number - 1], case.voxel_mm3, "listed or not") for case in cases]


class Together(Fakes):
    """Members that label together, of which one is enough."""

    def open_members(self, weights: Sequence[Path]) -> LabelCase:
        self.begin("open", *(path.read_text(encoding="utf-8").split()[1] for path in weights))

        def label(case: str) -> Labelled:
            self.begin("label", len(weights), case)
            if case == "broken":
                raise InputError(case, found="half a file", expected="a CT", fix="copy it again")
            return Labelled(label_map("all", case, 1), {1: (0.5, 0.7), 2: (1.0, 1.0)})

        return label


def run(folder: Path, fakes: Together, rule: Listed, *, anew: bool, members: int = 1) -> RoundsState:
    images = {name: Path("/images") / f"{name}.nii.gz" for name in NAMES}
    return run_rounds(
        folder,
        Cases(("L1", "L2"), images, {1: "one", 2: "two"}),
        RoundSettings(members=members, rounds=3, last_members=1, minimum_gain=-1.0),
        JointLabelling(fakes.open_members, rule, lambda line: None),
        train_member=fakes.train_member,
        validate=lambda weights: 0.5,
        anew=anew,
    )


def test_members_label_each_case_together(tmp_path: Path) -> None:
    fakes = Together(tmp_path / "calls")
    state = run(tmp_path / "rounds", fakes, Listed((("easy_1",), ("hard_1",))), anew=False, members=3)
    assert "open 1 2 3" in calls_of(fakes.calls) and "label 3 easy_1" in calls_of(fakes.calls)
    scores = state.rounds[1].scores["easy_1"]
    assert scores.agreements == {"one": (0.5, 0.7), "two": (1.0, 1.0)} and scores.voxel_mm3 == 3.0 * 1.5 * 1.5
    assert scores.voxels == {"one": 48, "two": 8} and state.rounds[1].failed.keys() == {"broken"}
    assert list(state.accepted()) == ["easy_1", "hard_1"], "those of the first round stay"
    labels = read_label_map(state.pseudo_label(1, "easy_1"))
    assert (labels.array == label_map("all", "easy_1", 1).array).all()
    assert read_rounds(tmp_path / "rounds").rounds == state.rounds, "the journal says it all"


def test_rounds_that_label_all_cases_anew_replace_what_was_accepted(tmp_path: Path) -> None:
    fakes, rule = Together(tmp_path / "calls"), Listed((("easy_1", "easy_2"), ("hard_1",)))
    state = run(tmp_path / "rounds", fakes, rule, anew=True)
    assert list(state.accepted(before=2)) == ["easy_1", "easy_2"] and list(state.accepted()) == ["hard_1"]
    assert list(state.rounds) == [1, 2, 3] and state.ended == "3 rounds are done"
    assert sorted(state.rounds[2].scores) == sorted(set(NAMES) - {"broken"}), "what failed is left out from then on"
    assert [line for line in calls_of(fakes.calls) if line.startswith("train")] == [
        "train 1 1 0",
        "train 2 1 2",
        "train 3 1 1",
    ]
    before = calls_of(fakes.calls)
    run(tmp_path / "rounds", fakes, rule, anew=True)
    assert calls_of(fakes.calls) == before
    with pytest.raises(InputError, match="begun with anew True, now None"):
        run(tmp_path / "rounds", fakes, rule, anew=False)


def test_no_round_trains_on_nothing(tmp_path: Path) -> None:
    fakes = Together(tmp_path / "calls")
    state = run(tmp_path / "rounds", fakes, Listed((("easy_1",), ())), anew=True)
    assert state.ended == "no case was added" and list(state.rounds) == [1, 2] and not state.accepted()
