"""Rounds of pseudo-labels: what they do, why they end, and that they survive being killed."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import fake_rounds
from fake_rounds import SETTINGS, Fakes, calls_of, run, start

from cps.labelling import Predict
from cps.round_state import RoundsState, read_rounds
from cps.rounds import RoundSettings
from cps.selection import AgreementRule
from volumes.errors import InputError, NotEnoughMemory
from volumes.formats import read_label_map
from volumes.label_map import LabelMap


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_paper_s_cycle(tmp_path: Path) -> None:
    fakes = Fakes(tmp_path / "calls")
    state = run(tmp_path / "rounds", fakes)
    assert state.rounds[1].accepted == ["easy_1", "easy_2"]
    assert state.rounds[2].accepted == ["hard_1", "hard_2"]
    assert list(state.accepted()) == ["easy_1", "easy_2", "hard_1", "hard_2"]
    assert state.ended == "no case was added"
    calls = calls_of(fakes.calls)
    assert [call for call in calls if call.startswith("train")] == [
        f"train {number} {member} {pseudo}" for number, pseudo in ((1, 0), (2, 2), (3, 4)) for member in (1, 2, 3)
    ]
    # what was accepted is predicted no more, and what failed once is not tried again
    assert "predict 2 1 easy_1" not in calls
    assert [call for call in calls if call.endswith("broken")] == ["predict 1 1 broken"]
    assert len(calls) == len(set(calls))


def test_pseudo_labels_are_the_aggregates_on_the_case_s_grid(tmp_path: Path) -> None:
    state = run(tmp_path / "rounds", Fakes(tmp_path / "calls"))
    found = read_label_map(state.accepted()["easy_1"].path)
    expected = fake_rounds.label_map("1", "easy_1", 0)
    assert found.geometry.same_grid(expected.geometry)
    assert np.array_equal(found.array, expected.array)
    assert found.table.names() == expected.table.names()
    assert state.prediction(1, 2, "never").is_file() and state.pseudo_label(1, "never").is_file()


def test_the_report_says_who_was_accepted_and_why_not(tmp_path: Path) -> None:
    state = run(tmp_path / "rounds", Fakes(tmp_path / "calls"))
    report = json.loads((state.folder / "report.json").read_text(encoding="utf-8"))
    assert report["ended"] == "no case was added"
    assert report["settings"]["members"] == 3 and report["rule"] == {
        "kind": "AgreementRule",
        "threshold": 0.9,
        "lowest": 0.0,
    }
    first, second, third = report["rounds"]
    assert [len(one["trained_on"]["pseudo_labelled"]) for one in (first, second, third)] == [0, 2, 4]
    assert first["accepted"] == ["easy_1", "easy_2"]
    assert first["validation_score"] == pytest.approx(0.502)
    assert first["cases"]["easy_1"]["structures"]["two"] == {"agreement": 1.0, "members": [1.0] * 3, "voxels": 8}
    hard = first["cases"]["hard_1"]
    assert not hard["accepted"] and hard["score"] < 0.9 and "does not exceed 0.9" in hard["reason"]
    assert "half a file" in first["failed"]["broken"]
    assert report["accepted"]["hard_2"] == "round_02/pseudo_labels/hard_2.nii.gz"
    assert report["best"] == {"weights": "round_03/member_3/training/fake.safetensors", "validation_score": 0.903}
    text = (state.folder / "report.md").read_text(encoding="utf-8")
    assert "Ended: no case was added." in text
    assert "| easy_1 | yes | 1.0000 | 1.000 | 1.000 | mean 1.000 exceeds 0.9 |" in text
    assert "| broken | no |" in text and "## Round 3" in text


def test_a_case_for_which_memory_does_not_suffice_is_not_given_up(tmp_path: Path) -> None:
    fakes = Fakes(tmp_path / "calls")

    def short_of_memory(weights: Path) -> Predict:
        predict = fakes.open_member(weights)

        def full(case: str) -> LabelMap:
            if case == "easy_2":
                raise NotEnoughMemory("a patch", found="not enough memory", expected="less", fix="lower it")
            return predict(case)

        return full

    with pytest.raises(NotEnoughMemory):
        run(tmp_path / "rounds", fakes, open_member=short_of_memory)
    assert run(tmp_path / "rounds", fakes).rounds[1].accepted == ["easy_1", "easy_2"]


def test_a_round_that_selects_no_case_trains_on_nothing(tmp_path: Path) -> None:
    fakes = Fakes(tmp_path / "calls")
    state = run(tmp_path / "rounds", fakes, names=("never", "never_2"))
    assert state.ended == "no case was added"
    assert not any(call.startswith("train 2") for call in calls_of(fakes.calls))
    assert "Ended: no case was added." in (state.folder / "report.md").read_text(encoding="utf-8")


def test_all_cases_used_ends_with_one_more_training(tmp_path: Path) -> None:
    fakes = Fakes(tmp_path / "calls")
    state = run(tmp_path / "rounds", fakes, names=("easy_1", "easy_2"))
    assert state.ended == "all cases without labels are used"
    trained = [call for call in calls_of(fakes.calls) if call.startswith("train 2")]
    assert trained == ["train 2 1 2"]  # last_members: 1, on both


def test_a_score_that_does_not_rise_ends_the_rounds_with_the_best_so_far(tmp_path: Path) -> None:
    fakes = Fakes(tmp_path / "calls")

    def validate(weights: Path) -> float:
        number, member, _ = weights.read_text(encoding="utf-8").split()
        return {"1": 0.8, "2": 0.7}[number] + 0.01 * int(member)

    state = run(tmp_path / "rounds", fakes, validate=validate)
    assert state.ended == "the validation score, 0.7200, did not rise above 0.8200"
    best = state.best()
    assert best is not None and best.weights == state.training_folder(1, 3) / "fake.safetensors"
    assert "predict 2" not in " ".join(calls_of(fakes.calls))


def test_a_gain_that_is_too_small_ends_the_rounds(tmp_path: Path) -> None:
    settings = RoundSettings(members=2, rounds=5, minimum_gain=0.5)
    state = run(tmp_path / "rounds", Fakes(tmp_path / "calls"), settings)
    assert state.ended is not None and state.ended.endswith("by 0.5")


def test_the_last_round_labels_nothing(tmp_path: Path) -> None:
    fakes = Fakes(tmp_path / "calls")
    state = run(tmp_path / "rounds", fakes, RoundSettings(members=2, rounds=2, last_members=1))
    assert state.ended == "2 rounds are done"
    after = [call for call in calls_of(fakes.calls) if call.split()[1] == "2"]
    assert after == ["train 2 1 2", "validate 2 1"]


def test_without_validation_the_rounds_go_on_and_the_last_member_counts(tmp_path: Path) -> None:
    state = run(tmp_path / "rounds", Fakes(tmp_path / "calls"), validate=lambda weights: None)
    assert max(state.rounds) == 3 and state.ended == "no case was added"
    best = state.best()
    assert best is not None and best.weights == state.training_folder(3, 1) / "fake.safetensors"


def test_finished_rounds_do_nothing_when_they_are_started_again(tmp_path: Path) -> None:
    fakes = Fakes(tmp_path / "calls")
    run(tmp_path / "rounds", fakes)
    before, calls = files_of(tmp_path / "rounds"), calls_of(fakes.calls)
    run(tmp_path / "rounds", fakes)
    assert files_of(tmp_path / "rounds") == before
    assert calls_of(fakes.calls) == calls


@pytest.mark.parametrize("how", ["rule", "settings", "cases"])
def test_other_settings_or_cases_are_refused(tmp_path: Path, how: str) -> None:
    fakes = Fakes(tmp_path / "calls")
    run(tmp_path / "rounds", fakes)
    before = files_of(tmp_path / "rounds")
    with pytest.raises(InputError, match=r"begun with .*(threshold 0.9, now 0.8|members 3, now 5|never .*None)"):
        if how == "rule":
            run(tmp_path / "rounds", fakes, rule=AgreementRule(0.8))
        elif how == "settings":
            run(tmp_path / "rounds", fakes, RoundSettings(members=5, rounds=5, last_members=1))
        else:
            run(tmp_path / "rounds", fakes, names=[name for name in fake_rounds.NAMES if name != "never"])
    assert files_of(tmp_path / "rounds") == before


def test_killed_before_every_change_on_the_disk_the_rounds_end_the_same(tmp_path: Path) -> None:
    fake_rounds.few(tmp_path / "whole", tmp_path / "calls")
    whole, calls = files_of(tmp_path / "whole"), calls_of(tmp_path / "calls")
    folders, logs = tmp_path / "killed", tmp_path / "logs"
    folders.mkdir()
    logs.mkdir()
    assert start(folders, logs, "everywhere").wait() == 0
    ends = sorted(folders.iterdir(), key=lambda path: int(path.name))
    assert len(ends) > 40
    for folder in ends:
        assert files_of(folder) == whole, folder.name
        again = calls_of(logs / folder.name)
        assert sorted(set(again)) == sorted(set(calls))
        assert len(again) <= len(calls) + 1, f"{folder.name}: more was done again than the piece in flight"


def test_killed_at_random_times_the_rounds_end_the_same(tmp_path: Path) -> None:
    run(tmp_path / "whole", Fakes(tmp_path / "calls"))
    whole, calls = files_of(tmp_path / "whole"), calls_of(tmp_path / "calls")
    folder, log = tmp_path / "killed", tmp_path / "calls_killed"
    chance = random.Random(4)
    kills = 0
    for _ in range(6):
        process = start(folder, log, "slowly")
        done = len(calls_of(log))
        while len(calls_of(log)) == done and process.poll() is None:  # until it has begun its first piece
            time.sleep(0.005)
        time.sleep(chance.uniform(0.0, 0.2))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 4
    assert start(folder, log, "slowly").wait() == 0
    assert files_of(folder) == whole
    again = calls_of(log)
    assert set(again) == set(calls)
    assert len(again) <= len(calls) + kills


def test_a_torn_last_line_is_dropped_and_a_damaged_one_refused(tmp_path: Path) -> None:
    fakes = Fakes(tmp_path / "calls")
    state = run(tmp_path / "rounds", fakes)
    journal = tmp_path / "rounds" / "rounds.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-7])
    assert run(tmp_path / "rounds", fakes).ended == state.ended
    assert journal.read_bytes() == whole
    journal.write_bytes(b"{]\n" + whole)
    with pytest.raises(InputError, match="no JSON"):
        RoundsState(tmp_path / "rounds")


def test_the_folder_can_be_moved(tmp_path: Path) -> None:
    run(tmp_path / "rounds", Fakes(tmp_path / "calls"))
    (tmp_path / "rounds").rename(tmp_path / "elsewhere")
    state = read_rounds(tmp_path / "elsewhere")
    best = state.best()
    assert best is not None and best.weights.is_file()
    assert all(one.path.is_file() for one in state.accepted().values())


def test_no_rounds_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rounds.jsonl"):
        read_rounds(tmp_path)


@pytest.mark.parametrize("changes", [{"members": 0}, {"rounds": 0}, {"last_members": 0}])
def test_settings_that_cannot_be_meant(changes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="or more"):
        RoundSettings(**changes)


def test_one_member_agrees_with_itself_and_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="members: found 1; expected 2 or more"):
        run(tmp_path / "rounds", Fakes(tmp_path / "calls"), RoundSettings(members=1))
    assert not (tmp_path / "rounds").exists()


def test_nothing_to_select_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no case with no labels"):
        run(tmp_path / "rounds", Fakes(tmp_path / "calls"), SETTINGS, names=())
    assert not (tmp_path / "rounds").exists()
