"""Rounds beside other processes and networks: members that are given, a folder that is taken, what is handed on."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import fake_rounds
from fake_rounds import PROGRAM, RULE, Fakes, calls_of, run, start

from cps.journal import Journal
from cps.round_state import RoundsState, read_rounds
from cps.rounds import RoundSettings, label_once
from cps.selection import AgreementRule
from volumes.errors import InputError


def test_members_that_are_given_label_once(tmp_path: Path) -> None:
    fakes = Fakes(tmp_path / "calls")
    weights = fakes.trained(tmp_path)
    images = {name: Path(f"{name}.nii.gz") for name in fake_rounds.NAMES}
    labelling = fake_rounds.Labelling(fakes.open_member, RULE, lambda line: None)
    for _ in range(2):  # the second time nothing is left to do
        state = label_once(tmp_path / "out", images, {1: "one", 2: "two"}, weights, labelling)
        assert list(state.accepted()) == ["easy_1", "easy_2"]
        assert list(state.rounds[1].failed) == ["broken"]
        assert state.ended is not None
    calls = calls_of(fakes.calls)
    assert len(calls) == len(set(calls))
    weights[0].write_text("1 9 0")
    with pytest.raises(InputError, match="origin.weights"):
        label_once(tmp_path / "out", images, {1: "one", 2: "two"}, weights, labelling)
    with pytest.raises(InputError, match="found 1 member"):
        label_once(tmp_path / "other", images, {1: "one", 2: "two"}, weights[:1], labelling)


def test_members_that_are_given_are_not_asked_again_under_another_rule(tmp_path: Path) -> None:
    fakes = Fakes(tmp_path / "calls")
    weights = fakes.trained(tmp_path)
    images, names = {name: Path(f"{name}.nii.gz") for name in ("easy_1", "hard_1", "broken")}, {1: "one", 2: "two"}

    def label(rule: AgreementRule, given: list[Path] = weights) -> RoundsState:
        labelling = fake_rounds.Labelling(fakes.open_member, rule, lambda line: None)
        return label_once(tmp_path / "out", images, names, given, labelling)

    assert list(label(RULE).accepted()) == ["easy_1"]
    calls = calls_of(fakes.calls)
    assert list(label(AgreementRule(0.1)).accepted()) == ["easy_1", "hard_1"]
    state = read_rounds(tmp_path / "out")
    assert list(state.accepted()) == ["easy_1", "hard_1"] and state.ended is not None
    assert state.about["rule"]["threshold"] == 0.1
    assert "| hard_1 | yes |" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert list(label(RULE).accepted()) == ["easy_1"]
    assert calls_of(fakes.calls) == calls, "all scores were there"
    with pytest.raises(InputError, match=r"origin.weights"):
        label(AgreementRule(0.1), weights[:2])


def test_a_second_process_is_refused_in_one_line(tmp_path: Path) -> None:
    folder, log = tmp_path / "rounds", tmp_path / "calls"
    process = start(folder, log, "slowly")
    try:
        while not (folder / "rounds.jsonl").exists():
            time.sleep(0.02)
        before, fakes = calls_of(log), Fakes(tmp_path / "mine")
        labelling = fake_rounds.Labelling(fakes.open_member, RULE, lambda line: None)
        for attempt in (
            lambda: run(folder, fakes),
            lambda: label_once(folder, {"A": Path("A")}, {1: "one"}, [PROGRAM, PROGRAM], labelling),
        ):
            with pytest.raises(InputError, match=r"found another process at it; .*choose another --out") as told:
                attempt()
            assert str(folder) in str(told.value) and "\n" not in str(told.value)
        assert calls_of(fakes.calls) == [] and process.poll() is None
        assert read_rounds(folder).about, "whoever reads alone is let in"
        assert len(calls_of(log)) >= len(before)
    finally:
        process.kill()
        process.wait()
    assert run(folder, Fakes(log)).ended == "no case was added", "a dead process holds nothing"


def test_what_a_pseudo_label_speaks_for_reaches_training_state_and_report(tmp_path: Path) -> None:
    """The third structure is in nobody's label map, the second is put in different places by each member."""
    fakes, seen = Fakes(tmp_path / "calls"), {}
    places = iter(range(1000))

    def open_member(weights: Path) -> fake_rounds.Predict:
        def predict(case: str) -> fake_rounds.LabelMap:
            found = fake_rounds.label_map("1", case, 1)
            found.array[found.array == 2] = 0
            if case == "easy_1":
                found.array[next(places) % 3, 6:, 6:] = 2
            return found

        return predict

    def train_member(task: fake_rounds.Task) -> Path:
        seen[task.round] = task.pseudo
        return fakes.train_member(task)

    settings, rule = RoundSettings(members=2, rounds=2, last_members=1), AgreementRule(0.4, lowest=0.5)
    changes = {"names": ("easy_1", "easy_2"), "open_member": open_member, "train_member": train_member}
    state = run(tmp_path / "rounds", fakes, settings, rule=rule, **changes)
    assert {case: one.contoured for case, one in seen[2].items()} == {"easy_1": {1}, "easy_2": {1}}
    assert read_rounds(tmp_path / "rounds").accepted() == state.accepted() == seen[2]
    report = json.loads((state.folder / "report.json").read_text(encoding="utf-8"))["rounds"][0]["cases"]
    assert report["easy_1"]["speaks_for"] == report["easy_2"]["speaks_for"] == ["one"]
    text = (state.folder / "report.md").read_text(encoding="utf-8")
    assert "| easy_1 | yes | 0.5000 | 1.000 | (0.000) |" in text and "| easy_2 | yes | 1.0000 | 1.000 | – |" in text


def test_files_are_on_the_disk_before_the_journal_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    real, named = Journal.append, []
    monkeypatch.setattr(os, "fsync", lambda file: synced.add(os.fstat(file).st_ino))
    folder = tmp_path / "rounds"

    def append(self: Journal, line: dict[str, Any]) -> None:
        if line["event"] == "trained":
            named.append(folder / line["weights"])
        if line["event"] == "scored":
            named.append(RoundsState(folder).pseudo_label(line["round"], line["case"]))
        for path in [one for file in named for one in (file, *file.parents) if one.is_relative_to(folder)]:
            assert path.stat().st_ino in synced, path
        real(self, line)

    monkeypatch.setattr(Journal, "append", append)
    run(folder, Fakes(tmp_path / "calls"), RoundSettings(members=2, rounds=2, last_members=1))
    assert len(named) > 6
