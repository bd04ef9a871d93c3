"""Tong's recipe: a noisy student of a teacher that labels everything, and structures made of one piece."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from baseline3d.models import load_model
from baseline3d.postprocess_components import ComponentRule
from baseline3d.recipes.run import train_recipe
from baseline3d.recipes.tong import EveryCase, Tong
from cps.round_state import read_rounds
from cps.selection import CaseScores
from volumes.errors import InputError
from volumes.formats import read_label_map

Write = Callable[..., Path]
TONG: dict[str, Any] = {"kind": "tong", "later": {"network": {"dropout": 0.3}, "steps": 2}}


def test_every_case_in_which_something_is_found() -> None:
    shown = CaseScores("A", {"liver": (1.0,), "spleen": (1.0,)}, {"liver": 5, "spleen": 0})
    nothing = CaseScores("B", {}, {})
    first, second = EveryCase().judge([shown, nothing], 3)
    assert first.accepted and first.structures == ("liver",)
    assert not second.accepted and second.reason == "no structure was found"


def test_teacher_student_and_the_students_student(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path
) -> None:
    out, told = tmp_path / "run", []
    config = tiny_recipe(TONG, strong={"noise_share": 1.0, "noise": 0.5})
    weights = train_recipe(config, data=training_set, out=out, start_from=taught_3d, progress=False, tell=told.append)
    state = read_rounds(out / "rounds")
    assert list(state.rounds) == [1, 2, 3] and state.ended == "3 rounds are done"
    assert [state.rounds[number].accepted for number in (1, 2)] == [["U", "V", "W"]] * 2, "labelled anew in each round"
    records = [
        json.loads((state.training_folder(number, 1) / "run.json").read_text(encoding="utf-8")) for number in (1, 2, 3)
    ]
    assert ["dropout" in record["network"] for record in records] == [False, True, True]
    assert records[1]["network"]["dropout"] == 0.3 and records[1]["training"]["strong"]["noise"] == 0.5
    assert [record["start_from"] is None for record in records] == [False, True, True], "students begin anew"
    before = {name: one["labels"] for name, one in records[1]["cases"].items() if one["as"] == "pseudo-labelled"}
    after = {name: one["labels"] for name, one in records[2]["cases"].items() if one["as"] == "pseudo-labelled"}
    assert set(before) == set(after) == {"U", "V", "W"} and all(before[name] != after[name] for name in before)

    shipped = load_model(weights).described.postprocessing
    assert isinstance(shipped, ComponentRule) and set(shipped.shares) == {"left_ball", "right_ball", "tube"}
    whole = [name for name in shipped.single]
    assert whole, "boxes that were drawn whole in all training cases"
    lines = [line for line in told if line.startswith("post-processing: ")]
    assert len(lines) == 3 - len(whole)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["recipe"]["kind"] == "tong" and report["gain"] is not None and len(report["skipped"]) == len(lines)
    last = load_file(state.rounds[3].members[1].weights)
    assert all((load_file(weights)[name] == tensor).all() for name, tensor in last.items())


def test_pseudo_labels_are_made_of_one_piece(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path
) -> None:
    """Of a structure that is of one piece in training, every pseudo-label has one component."""
    from baseline3d.components import components_of

    out = tmp_path / "run"
    train_recipe(
        tiny_recipe({**TONG, "rounds": 2, "least": 0.01}),
        data=training_set,
        out=out,
        start_from=taught_3d,
        progress=False,
    )
    state = read_rounds(out / "rounds")
    several = 0
    for case in ("U", "V", "W"):
        labels = read_label_map(state.pseudo_label(1, case)).array
        found = components_of(labels)
        assert (np.bincount(found.labels[1:], minlength=4)[1:] <= 1).all()
        several += len(found.labels) - 1
    assert several, "something was found"


def test_a_share_that_is_none() -> None:
    with pytest.raises(InputError, match="recipe.least: found 0"):
        Tong(least=0.0)
